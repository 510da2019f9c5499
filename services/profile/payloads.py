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
    """The event of a JSON object that `to_json` wrote, already decoded; the object is used up.

    Fields that a newer version wrote are ignored: replicas of two versions may share a store for a while.
    """
    named["action"] = _ACTIONS[named["action"]]
    try:
        return Event(**named)
    except TypeError:
        return Event(**_known(named, _EVENT_FIELDS))


def _page_of(named: dict[str, Any]) -> ServedPage:
    items = tuple(ServedItem(**_known(item, _ITEM_FIELDS)) for item in named["items"])
    return ServedPage(items=items, **_known(named, _PAGE_FIELDS))


def _known(named: dict[str, Any], fields_: tuple[str, ...]) -> dict[str, Any]:
    return {name: named[name] for name in fields_ if name in named}
