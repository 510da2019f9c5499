"""What requests to the profile service must look like, beyond what the wire format says (see the contract)."""

from collections.abc import Container

from homepage.profile.v1 import profile_pb2
from homepage.types.v1 import event_pb2

from shared.contract_checks import MOST_AHEAD_S, check_act
from shared.validation import Checks

MOST_ENTRIES = 1000
MOST_EVENTS = 500
MOST_LOGGED = 5000
MOST_SERVED_ITEMS = 1000
_SLOT_KINDS = frozenset(event_pb2.SlotKind.values())
_PURPOSES = frozenset(profile_pb2.ReadPurpose.values()) - {profile_pb2.READ_PURPOSE_UNSPECIFIED}


def check_get_profile(request: profile_pb2.GetProfileRequest) -> None:
    """Raises ServiceError(INVALID_FIELD) with every violation."""
    checks = Checks()
    checks.user(request.user_id, request.visitor_id)
    checks.number("max_events", request.max_events, 0, MOST_EVENTS)
    if request.HasField("now"):
        checks.timestamp("now", request.now)
    checks.done()


def check_record_events(request: profile_pb2.RecordEventsRequest, now: float) -> None:
    """Raises ServiceError(INVALID_FIELD) with every violation; `now` in unix seconds."""
    checks = Checks()
    checks.size("events", request.events, MOST_ENTRIES, least=1)
    for index, entry in enumerate(request.events[:MOST_ENTRIES]):
        _check_entry(checks, f"events[{index}]", entry, now + MOST_AHEAD_S)
    checks.done()


def check_read_events(request: profile_pb2.ReadEventsRequest) -> None:
    """Raises ServiceError(INVALID_FIELD) with every violation; the cursor is judged by the log it belongs to."""
    checks = Checks()
    checks.number("page_size", request.page_size, 0, MOST_LOGGED)
    _known(checks, "purpose", request.purpose, _PURPOSES)
    checks.done()


def _check_entry(checks: Checks, path: str, entry: profile_pb2.UserEvent, latest: float) -> None:
    checks.text(f"{path}.user_id", entry.user_id, 256)
    checks.text(f"{path}.visitor_id", entry.visitor_id, 256)
    if not entry.user_id and not entry.visitor_id:
        checks.fail(f"{path}.user_id", "one of user_id and visitor_id is required")
    kind = entry.WhichOneof("kind")
    if kind == "event":
        _check_event(checks, f"{path}.event", entry.event, latest)
    elif kind == "served_page":
        _check_served_page(checks, f"{path}.served_page", entry.served_page, latest)
    else:
        checks.fail(f"{path}.event", "one of event and served_page is required")


def _check_event(checks: Checks, path: str, event: event_pb2.Event, latest: float) -> None:
    checks.text(f"{path}.event_id", event.event_id, 128, least=1)
    checks.text(f"{path}.item_id", event.item_id, 256, least=1)
    _check_time(checks, f"{path}.time", event, latest)
    check_act(checks, path, event.action, event.value)
    checks.text(f"{path}.category", event.category, 256)
    checks.text(f"{path}.recommendation_id", event.recommendation_id, 128)
    if event.position < 0:
        checks.fail(f"{path}.position", "must be 0 or more")
    checks.text(f"{path}.surface", event.surface, 64)
    checks.text(f"{path}.session_id", event.session_id, 128)


def _check_served_page(checks: Checks, path: str, page: event_pb2.ServedPage, latest: float) -> None:
    checks.text(f"{path}.recommendation_id", page.recommendation_id, 128, least=1)
    checks.text(f"{path}.surface", page.surface, 64)
    _check_time(checks, f"{path}.time", page, latest)
    checks.size(f"{path}.items", page.items, MOST_SERVED_ITEMS)
    for index, item in enumerate(page.items[:MOST_SERVED_ITEMS]):
        _check_served_item(checks, f"{path}.items[{index}]", item)
    checks.text(f"{path}.model_version", page.model_version, 256)
    checks.text(f"{path}.session_id", page.session_id, 128)


def _check_served_item(checks: Checks, path: str, item: event_pb2.ServedItem) -> None:
    checks.text(f"{path}.item_id", item.item_id, 256, least=1)
    if item.position < 1:
        checks.fail(f"{path}.position", "must be 1 or more")
    _known(checks, f"{path}.slot_kind", item.slot_kind, _SLOT_KINDS)
    checks.number(f"{path}.score", item.score, 0, 1)
    if not 0 < item.propensity <= 1:
        checks.fail(f"{path}.propensity", "must be over 0, to 1")


def _check_time(checks: Checks, path: str, timed: event_pb2.Event | event_pb2.ServedPage, latest: float) -> None:
    if timed.HasField("time"):
        checks.timestamp(path, timed.time, latest=latest)
    else:
        checks.fail(path, "is required")


def _known(checks: Checks, path: str, value: int, known: Container[int]) -> None:
    if value not in known:
        checks.fail(path, f"must be set to a value of the contract, is {value}")
