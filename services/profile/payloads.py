"""Records as JSON for stores, by named fields: one added later finds its default in what was written before."""

import json
from dataclasses import fields
from typing import Any

from services.profile.events import Event, Kind, ServedItem, ServedPage
from shared.action import Action

_EVENT_FIELDS = tuple(field.name for field in fields(Event))
_PAGE_FIELDS = tuple(field.name for field in fields(ServedPage) if field.name != "items")
_ITEM_FIELDS = tuple(field.name for field in fields(ServedItem))
_ACTIONS = {int(action): action for action in Action}  # a fifth of the time that Action(number) takes
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def to_json(record: Event | ServedPage) -> str:
    """The record as a JSON object; raises ValueError for a number that is not finite."""
    if isinstance(record, Event):
        return _encode({name: getattr(record, name) for name in _EVENT_FIELDS})
    page: dict[str, object] = {name: getattr(record, name) for name in _PAGE_FIELDS}
    page["items"] = [{name: getattr(item, name) for name in _ITEM_FIELDS} for item in record.items]
    return _encode(page)


def from_json(kind: Kind, payload: str | bytes) -> Event | ServedPage:
    """What `to_json` wrote."""
    named = json.loads(payload)
    return event_of(named) if kind is Kind.EVENT else _page_of(named)


def event_of(named: dict[str, Any]) -> Event:
    """The event of a JSON object that `to_json` wrote, already decoded; the object is used up."""
    named["action"] = _ACTIONS[named["action"]]
    return Event(**named)


def _page_of(named: dict[str, Any]) -> ServedPage:
    named["items"] = tuple(ServedItem(**item) for item in named["items"])
    return ServedPage(**named)
