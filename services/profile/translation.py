"""Between the messages of the contract and the values that the profile service works with. Messages were checked."""

from homepage.profile.v1 import profile_pb2
from homepage.types.v1 import event_pb2

from services.profile.events import Entry, Event, ServedItem, ServedPage
from services.profile.interests import Interest
from services.profile.store import LoggedEntry, StoredProfile
from shared.action import Action
from shared.timestamps import to_seconds, to_timestamp


def user_name(user_id: str, visitor_id: str) -> str:
    """The name a user has in the store; with both ids, user_id counts."""
    return f"u:{user_id}" if user_id else f"v:{visitor_id}"


def to_entry(message: profile_pb2.UserEvent) -> Entry:
    """One entry for the log. Consent that is not set means yes: no stored choice exists yet."""
    consent = message.consent
    return Entry(
        user_name(message.user_id, message.visitor_id),
        _to_event(message.event) if message.HasField("event") else _to_served_page(message.served_page),
        personalise=consent.personalise if consent.HasField("personalise") else True,
        train=consent.train if consent.HasField("train") else True,
    )


def from_profile(profile: StoredProfile, interests: list[Interest]) -> profile_pb2.UserProfile:
    """The profile, with its interests as of the moment asked for."""
    return profile_pb2.UserProfile(
        version=str(profile.version),
        updated_at=None if profile.updated_at is None else to_timestamp(profile.updated_at),
        recent_events=[_from_event(event) for event in profile.recent_events],
        interests=[
            profile_pb2.Interest(category=each.category, short_term=each.short_term, long_term=each.long_term)
            for each in interests
        ],
        action_counts=[
            profile_pb2.ActionCount(action=event_pb2.Action.ValueType(each.action), count=each.count)
            for each in profile.action_counts
        ],
        preferences=profile_pb2.Preferences(),
        consent=event_pb2.Consent(),
        hidden_item_ids=profile.hidden_item_ids,
    )


def from_logged(entry: LoggedEntry) -> profile_pb2.LoggedEvent:
    """An entry of the log as readers see it."""
    if isinstance(entry.record, Event):
        return profile_pb2.LoggedEvent(subject=entry.subject, event=_from_event(entry.record))
    return profile_pb2.LoggedEvent(subject=entry.subject, served_page=_from_served_page(entry.record))


def _to_event(message: event_pb2.Event) -> Event:
    return Event(
        event_id=message.event_id,
        time=to_seconds(message.time),
        action=Action(message.action),
        item_id=message.item_id,
        value=message.value,
        category=message.category,
        recommendation_id=message.recommendation_id,
        position=message.position,
        surface=message.surface,
        session_id=message.session_id,
    )


def _from_event(event: Event) -> event_pb2.Event:
    return event_pb2.Event(
        event_id=event.event_id,
        action=event_pb2.Action.ValueType(event.action),
        item_id=event.item_id,
        time=to_timestamp(event.time),
        value=event.value,
        category=event.category,
        recommendation_id=event.recommendation_id,
        position=event.position,
        surface=event.surface,
        session_id=event.session_id,
    )


def _to_served_page(message: event_pb2.ServedPage) -> ServedPage:
    return ServedPage(
        recommendation_id=message.recommendation_id,
        time=to_seconds(message.time),
        surface=message.surface,
        items=tuple(
            ServedItem(item.item_id, item.position, item.slot_kind, item.score, item.propensity)
            for item in message.items
        ),
        model_version=message.model_version,
        session_id=message.session_id,
    )


def _from_served_page(page: ServedPage) -> event_pb2.ServedPage:
    return event_pb2.ServedPage(
        recommendation_id=page.recommendation_id,
        surface=page.surface,
        time=to_timestamp(page.time),
        items=[
            event_pb2.ServedItem(
                item_id=item.item_id,
                position=item.position,
                slot_kind=event_pb2.SlotKind.ValueType(item.slot_kind),
                score=item.score,
                propensity=item.propensity,
            )
            for item in page.items
        ],
        model_version=page.model_version,
        session_id=page.session_id,
    )
