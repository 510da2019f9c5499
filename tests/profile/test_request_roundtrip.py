"""Whatever passes the checks of a request is kept and told as it was sent."""

import contextlib
import math
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from homepage.profile.v1 import profile_pb2
from homepage.types.v1 import event_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.profile.payloads import from_json, to_json
from services.profile.request_checks import check_record_events
from services.profile.store import LoggedEntry
from services.profile.translation import from_logged, to_entry
from shared.errors import Reason, ServiceError
from tests.profile.samples import DAY, NOW, batch

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
times = st.builds(
    Timestamp,
    seconds=st.integers(0, int(NOW + DAY) - 1),
    nanos=st.integers(0, 999_999).map(lambda micros: micros * 1000),
)
shares = st.floats(0, 1, exclude_min=True, width=32)
values = {
    event_pb2.ACTION_DWELL: st.floats(0),
    event_pb2.ACTION_PURCHASE: st.floats(0),
    event_pb2.ACTION_RATE: st.floats(0, 5),
}


@st.composite
def events(draw: st.DrawFn) -> event_pb2.Event:
    action = draw(st.sampled_from(event_pb2.Action.values()[1:]))
    return event_pb2.Event(
        event_id=draw(names),
        action=action,
        item_id=draw(names),
        time=draw(times),
        value=draw(values.get(action, st.just(0.0)).filter(math.isfinite)),
        category=draw(texts),
        recommendation_id=draw(texts),
        position=draw(st.integers(0, 2**31 - 1)),
        surface=draw(texts),
        session_id=draw(texts),
    )


items = st.builds(
    event_pb2.ServedItem,
    item_id=names,
    position=st.integers(1, 2**31 - 1),
    slot_kind=st.sampled_from(event_pb2.SlotKind.values()),
    score=st.floats(0, 1, width=32),
    propensity=shares,
)
pages = st.builds(
    event_pb2.ServedPage,
    recommendation_id=names,
    surface=texts,
    time=times,
    items=st.lists(items, max_size=3),
    model_version=texts,
    session_id=texts,
)


@given(events() | pages)
def test_what_passes_the_checks_comes_back_as_it_was(message: event_pb2.Event | event_pb2.ServedPage) -> None:
    kind = "event" if isinstance(message, event_pb2.Event) else "served_page"
    entry = profile_pb2.UserEvent(user_id="ann", **{kind: message})
    check_record_events(batch(entry), NOW)
    record = to_entry(entry).record
    kept = from_json(record.kind, to_json(record))
    told = from_logged(LoggedEntry("subject", kept))
    assert getattr(told, kind) == message


broken = st.fixed_dictionaries(
    {},
    optional={
        "event_id": st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
        "action": st.integers(-(2**31), 2**31 - 1),
        "item_id": st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
        "time": st.builds(Timestamp, seconds=st.integers(-(2**63), 2**63 - 1), nanos=st.integers(-(2**31), 2**31 - 1)),
        "value": st.floats(),
        "position": st.integers(-(2**31), 2**31 - 1),
    },
)


@given(broken)
def test_a_refused_event_names_only_fields_that_it_has(fields: dict[str, Any]) -> None:
    entry = profile_pb2.UserEvent(user_id="ann", event=event_pb2.Event(**fields))
    with contextlib.suppress(ServiceError):
        check_record_events(batch(entry), NOW)
        assert to_entry(entry).record.entry_id == fields["event_id"]
        return
    with pytest.raises(ServiceError) as raised:
        check_record_events(batch(entry), NOW)
    assert raised.value.reason is Reason.INVALID_FIELD
    known = {f"events[0].event.{name}" for name in event_pb2.Event.DESCRIPTOR.fields_by_name}
    assert {violation.field for violation in raised.value.violations} <= known


@pytest.mark.parametrize("given_", [None, True, False])
def test_consent_that_is_not_set_means_yes(given_: bool | None) -> None:
    consent = event_pb2.Consent(personalise=given_, train=given_)
    entry = to_entry(profile_pb2.UserEvent(user_id="ann", event=event_pb2.Event(action=1), consent=consent))
    assert (entry.personalise, entry.train) == (given_ is not False, given_ is not False)
