"""Entries for tests: each function gives a valid one, with whatever the test says otherwise."""

from typing import Any

from homepage.profile.v1 import profile_pb2
from homepage.types.v1 import event_pb2

from services.profile.events import Entry, Event, ServedItem, ServedPage
from shared.action import Action
from shared.timestamps import to_timestamp

NOW = 1_700_000_000.0
DAY = 86_400.0


def an_event(event_id: str, **fields: Any) -> Event:
    return Event(**{"event_id": event_id, "time": NOW, "action": Action.CLICK, "item_id": "item", **fields})


def a_page(recommendation_id: str, **fields: Any) -> ServedPage:
    items = (ServedItem("item", 1, 1, 0.5, 0.25), ServedItem("other", 2, 3, 0.25, 1.0))
    return ServedPage(**{"recommendation_id": recommendation_id, "time": NOW, "items": items, **fields})


def an_entry(event_id: str, user: str = "u:ann", **fields: Any) -> Entry:
    return Entry(user, an_event(event_id, **fields))


def event_message(event_id: str, *, at: float = NOW, **fields: Any) -> event_pb2.Event:
    given = {"action": event_pb2.ACTION_CLICK, "item_id": "item", "time": to_timestamp(at), **fields}
    return event_pb2.Event(event_id=event_id, **given)


def page_message(recommendation_id: str, **fields: Any) -> event_pb2.ServedPage:
    item = event_pb2.ServedItem(
        item_id="item", position=1, slot_kind=event_pb2.SLOT_KIND_ORGANIC, score=0.5, propensity=0.25
    )
    given = {"time": to_timestamp(NOW), "items": [item], **fields}
    return event_pb2.ServedPage(recommendation_id=recommendation_id, **given)


def by(user_id: str, event: event_pb2.Event, **consent: bool) -> profile_pb2.UserEvent:
    return profile_pb2.UserEvent(user_id=user_id, event=event, consent=event_pb2.Consent(**consent))


def batch(*entries: profile_pb2.UserEvent) -> profile_pb2.RecordEventsRequest:
    return profile_pb2.RecordEventsRequest(events=entries)
