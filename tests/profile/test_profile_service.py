"""The profile service as its callers see it, over a real server and a real file."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc
from homepage.types.v1 import event_pb2

from services.profile.settings import ProfileSettings
from shared.clock import ManualClock
from shared.errors import Reason, ServiceError
from shared.metrics import EVENTS_DUPLICATE, EVENTS_RECORDED
from shared.rich_status import from_rpc_error
from shared.server import Runtime
from shared.settings import load
from shared.timestamps import to_timestamp
from tests.profile.samples import DAY, NOW, batch, by, event_message, page_message

Stub = profile_pb2_grpc.ProfileStub
AGGREGATE = profile_pb2.READ_PURPOSE_AGGREGATE


@contextmanager
def fails_with(reason: Reason) -> Iterator[list[ServiceError]]:
    """The one error of the block, as the caller reads it."""
    found: list[ServiceError] = []
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        yield found
    error = from_rpc_error(raised.value)
    assert error is not None
    assert error.reason is reason
    found.append(error)


async def violated(call: Awaitable[Any]) -> set[str]:
    """The fields that a call was refused for."""
    with fails_with(Reason.INVALID_FIELD) as found:
        await call
    return {violation.field for violation in found[0].violations}


async def profile_of(profile: Stub, user_id: str, **fields: Any) -> profile_pb2.UserProfile:
    return (await profile.GetProfile(profile_pb2.GetProfileRequest(user_id=user_id, **fields))).profile


async def read(profile: Stub, cursor: str = "", **fields: Any) -> list[profile_pb2.ReadEventsResponse]:
    request = profile_pb2.ReadEventsRequest(**{"cursor": cursor, "purpose": AGGREGATE, **fields})
    return [message async for message in profile.ReadEvents(request)]


def ids_of(messages: list[profile_pb2.ReadEventsResponse]) -> list[str]:
    return [
        logged.event.event_id or logged.served_page.recommendation_id
        for message in messages
        for logged in message.events
    ]


async def test_a_user_never_seen_has_an_empty_profile_of_version_0(profile: Stub) -> None:
    assert await profile_of(profile, "nobody") == profile_pb2.UserProfile(
        version="0", preferences=profile_pb2.Preferences(), consent=event_pb2.Consent()
    )


async def test_a_profile_holds_what_was_recorded(profile: Stub) -> None:
    click = event_message(
        "e1", category="news", recommendation_id="r", position=4, surface="home", session_id="s", item_id="a"
    )
    hide = event_message("e2", at=NOW - DAY, action=event_pb2.ACTION_HIDE, item_id="b", category="sport")
    answer = await profile.RecordEvents(batch(by("ann", click), by("ann", hide)))
    assert (answer.recorded, answer.duplicates) == (2, 0)
    found = await profile_of(profile, "ann")
    assert list(found.recent_events) == [click, hide]
    assert found.version == "2"
    assert found.updated_at == to_timestamp(NOW)
    assert [(each.category, each.short_term) for each in found.interests] == [("sport", -2.5), ("news", 1.0)]
    assert [(each.action, each.count) for each in found.action_counts] == [
        (event_pb2.ACTION_CLICK, 1),
        (event_pb2.ACTION_HIDE, 1),
    ]
    assert list(found.hidden_item_ids) == ["b"]


async def test_interests_decay_by_the_clock_or_to_the_moment_asked_for(profile: Stub, clock: ManualClock) -> None:
    await profile.RecordEvents(batch(by("ann", event_message("e1", category="news"))))
    asked = await profile_of(profile, "ann", now=to_timestamp(NOW + DAY))
    clock.advance(DAY)
    by_clock = await profile_of(profile, "ann")
    assert by_clock.interests == asked.interests
    assert asked.interests[0].short_term == pytest.approx(0.5)
    assert asked.interests[0].long_term == pytest.approx(0.5 ** (1 / 30))


async def test_at_most_50_interests_are_told_the_strongest(profile: Stub) -> None:
    weak = [by("ann", event_message(f"w{n}", category=f"weak {n}", at=NOW - 90 * DAY)) for n in range(60)]
    strong = by("ann", event_message("s", category="strong"))
    await profile.RecordEvents(batch(*weak, strong))
    interests = (await profile_of(profile, "ann")).interests
    assert len(interests) == 50
    assert interests[0].category == "strong"


async def test_as_many_recent_events_are_told_as_asked_for_and_50_by_default(profile: Stub) -> None:
    await profile.RecordEvents(batch(*(by("ann", event_message(f"e{n}", at=NOW - n)) for n in range(60))))
    assert len((await profile_of(profile, "ann")).recent_events) == 50
    assert [event.event_id for event in (await profile_of(profile, "ann", max_events=2)).recent_events] == ["e0", "e1"]


async def test_with_both_ids_the_user_counts_and_without_one_the_visitor(profile: Stub) -> None:
    event = event_message
    await profile.RecordEvents(
        batch(
            profile_pb2.UserEvent(user_id="x", visitor_id="y", event=event("e1")),
            profile_pb2.UserEvent(visitor_id="y", event=event("e2")),
        )
    )
    visitor = (await profile.GetProfile(profile_pb2.GetProfileRequest(visitor_id="y"))).profile
    assert [event.event_id for event in visitor.recent_events] == ["e2"]
    both = (await profile.GetProfile(profile_pb2.GetProfileRequest(user_id="x", visitor_id="y"))).profile
    assert [event.event_id for event in both.recent_events] == ["e1"]


async def test_recording_again_changes_nothing_and_is_counted(profile: Stub, runtime: Runtime) -> None:
    entries = batch(
        by("ann", event_message("e1", category="news")),
        by("ann", event_message("e1", category="news")),
        profile_pb2.UserEvent(user_id="ann", served_page=page_message("e1")),
    )
    first = await profile.RecordEvents(entries)
    before = await profile_of(profile, "ann")
    second = await profile.RecordEvents(entries)
    assert (first.recorded, first.duplicates) == (2, 1)
    assert (second.recorded, second.duplicates) == (0, 3)
    assert await profile_of(profile, "ann") == before
    assert runtime.metrics.counter(EVENTS_RECORDED, "event")._value.get() == 1
    assert runtime.metrics.counter(EVENTS_RECORDED, "served_page")._value.get() == 1
    assert runtime.metrics.counter(EVENTS_DUPLICATE)._value.get() == 4


async def test_without_consent_to_personalise_an_event_is_logged_and_no_profile_sees_it(profile: Stub) -> None:
    await profile.RecordEvents(batch(by("ann", event_message("e1", category="news"), personalise=False)))
    assert (await profile_of(profile, "ann")).version == "0"
    assert ids_of(await read(profile)) == ["e1"]


async def test_without_consent_to_train_an_entry_is_read_for_counting_but_not_for_training(profile: Stub) -> None:
    await profile.RecordEvents(
        batch(by("ann", event_message("e1"), train=False), by("ann", event_message("e2"), train=True))
    )
    assert ids_of(await read(profile)) == ["e1", "e2"]
    assert ids_of(await read(profile, purpose=profile_pb2.READ_PURPOSE_TRAINING)) == ["e2"]


async def test_the_log_gives_back_events_and_pages_under_a_pseudonym(profile: Stub) -> None:
    event, page = event_message("e1", category="news"), page_message("r1", surface="home", model_version="m")
    await profile.RecordEvents(batch(by("ann", event), profile_pb2.UserEvent(user_id="ann", served_page=page)))
    [message] = await read(profile)
    acted, served = message.events
    assert (acted.event, served.served_page) == (event, page)
    [subject] = {acted.subject, served.subject}
    assert len(subject) == 32
    assert "ann" not in subject


async def test_the_log_is_read_page_by_page_and_goes_on_at_the_cursor(profile: Stub) -> None:
    await profile.RecordEvents(batch(*(by("ann", event_message(f"e{n}")) for n in range(5))))
    messages = await read(profile, page_size=2)
    assert [len(message.events) for message in messages] == [2, 2, 1]
    assert ids_of(await read(profile, messages[0].next_cursor)) == ["e2", "e3", "e4"]
    await profile.RecordEvents(batch(by("bob", event_message("later"))))
    assert ids_of(await read(profile, messages[-1].next_cursor)) == ["later"]


async def test_with_nothing_new_one_message_tells_the_cursor(profile: Stub) -> None:
    [empty] = await read(profile)
    assert empty.next_cursor
    assert not empty.events
    [again] = await read(profile, empty.next_cursor)
    assert again == empty


async def test_pages_too_large_for_a_message_are_cut(profile: Stub) -> None:
    items = [
        event_pb2.ServedItem(item_id=f"{n}".rjust(200, "x"), position=n + 1, score=0.1, propensity=0.1)
        for n in range(1000)
    ]
    for start in range(0, 24, 8):
        pages = (page_message(f"r{start + n}", items=items) for n in range(8))
        await profile.RecordEvents(batch(*(profile_pb2.UserEvent(user_id="ann", served_page=page) for page in pages)))
    messages = await read(profile)
    assert ids_of(messages) == [f"r{n}" for n in range(24)]
    assert max(message.ByteSize() for message in messages) < 4 * 2**20
    assert len(messages) > 2


@pytest.mark.parametrize("cursor", ["x", "0", "-1", "g" * 32 + "-1", "0" * 32 + "-1", "☃"])
async def test_a_cursor_that_is_not_of_this_log_is_refused(profile: Stub, cursor: str) -> None:
    with fails_with(Reason.INVALID_TOKEN):
        await read(profile, cursor)


async def test_a_cursor_ahead_of_the_log_is_refused(profile: Stub) -> None:
    [message] = await read(profile)
    with fails_with(Reason.INVALID_TOKEN):
        await read(profile, message.next_cursor[:-1] + "5")


async def test_the_log_is_read_for_a_purpose_only(profile: Stub) -> None:
    async def consume(request: profile_pb2.ReadEventsRequest) -> None:
        async for _ in profile.ReadEvents(request):
            pass

    assert await violated(consume(profile_pb2.ReadEventsRequest(page_size=5001))) == {"purpose", "page_size"}


async def test_a_bad_request_for_a_profile_is_told_all_that_is_wrong(profile: Stub) -> None:
    request = profile_pb2.GetProfileRequest(max_events=501, now=Timestamp(seconds=-1))
    assert await violated(profile.GetProfile(request)) == {"user_id", "max_events", "now"}


async def test_a_bad_batch_is_told_all_that_is_wrong_and_none_of_it_is_recorded(profile: Stub) -> None:
    bad = event_pb2.Event(
        value=1.0,
        category="c" * 257,
        recommendation_id="r" * 129,
        position=-1,
        surface="s" * 65,
        session_id="s" * 129,
    )
    request = batch(
        by("ann", event_message("good")), profile_pb2.UserEvent(user_id="ann"), profile_pb2.UserEvent(event=bad)
    )
    fields = "event_id action item_id time value category recommendation_id position surface session_id"  # of the event
    assert await violated(profile.RecordEvents(request)) == {
        "events[1].event",
        "events[2].user_id",
        *(f"events[2].event.{field}" for field in fields.split()),
    }
    assert ids_of(await read(profile)) == []


async def test_a_bad_served_page_is_told_all_that_is_wrong(profile: Stub) -> None:
    item = event_pb2.ServedItem(slot_kind=99, score=1.5)  # type: ignore[arg-type]
    page = event_pb2.ServedPage(items=[item])
    request = batch(profile_pb2.UserEvent(user_id="ann", served_page=page))
    assert await violated(profile.RecordEvents(request)) == {
        "events[0].served_page.recommendation_id",
        "events[0].served_page.time",
        *(
            f"events[0].served_page.items[0].{field}"
            for field in ("item_id", "position", "slot_kind", "score", "propensity")
        ),
    }


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("action", {"action": 99}),
        ("value", {"value": float("nan")}),
        ("value", {"action": event_pb2.ACTION_DWELL, "value": float("inf")}),
        ("value", {"action": event_pb2.ACTION_DWELL, "value": -1}),
        ("value", {"action": event_pb2.ACTION_RATE, "value": 5.1}),
        ("value", {"action": event_pb2.ACTION_LIKE, "value": 1}),
        ("event_id", {"event_id": "e" * 129}),
        ("item_id", {"item_id": "i" * 257}),
        ("item_id", {"item_id": "a\0b"}),
        ("time", {"at": NOW + DAY + 1}),
    ],
)
async def test_each_wrong_field_of_an_event_is_named(profile: Stub, field: str, changes: dict[str, Any]) -> None:
    event = event_message(**{"event_id": "e1", **changes})
    assert await violated(profile.RecordEvents(batch(by("ann", event)))) == {f"events[0].event.{field}"}


async def test_what_the_limits_allow_is_recorded(profile: Stub) -> None:
    widest = event_message(
        "e" * 128,
        at=NOW + DAY,
        item_id="é" * 256,
        action=event_pb2.ACTION_PURCHASE,
        value=1e300,
        category="c" * 256,
        surface="s" * 64,
        session_id="s" * 128,
    )
    assert (await profile.RecordEvents(batch(by("u" * 256, widest)))).recorded == 1
    assert list((await profile_of(profile, "u" * 256)).recent_events) == [widest]


async def test_a_batch_has_1_to_1000_entries(profile: Stub) -> None:
    assert await violated(profile.RecordEvents(batch())) == {"events"}
    entries = [by("ann", event_message(f"e{n}")) for n in range(1001)]
    assert await violated(profile.RecordEvents(batch(*entries))) == {"events"}
    assert (await profile.RecordEvents(batch(*entries[:1000]))).recorded == 1000


async def test_what_comes_later_says_so(profile: Stub) -> None:
    async def export() -> None:
        async for _ in profile.ExportUser(profile_pb2.ExportUserRequest(user_id="ann")):
            pass

    calls: dict[str, Awaitable[Any]] = {
        "UpdatePreferences": profile.UpdatePreferences(profile_pb2.UpdatePreferencesRequest(user_id="ann")),
        "SetConsent": profile.SetConsent(profile_pb2.SetConsentRequest(user_id="ann")),
        "ExportUser": export(),
        "EraseUser": profile.EraseUser(profile_pb2.EraseUserRequest(user_id="ann")),
    }
    for name, call in calls.items():
        with fails_with(Reason.NOT_IMPLEMENTED) as found:
            await call
        assert found[0].metadata == {"feature": f"Profile.{name}"}


async def test_a_restarted_service_knows_what_it_knew(
    start_profile: Callable[..., Awaitable[Any]], open_test_channel: Callable[..., grpc.aio.Channel]
) -> None:
    host, _ = await start_profile()
    stub = profile_pb2_grpc.ProfileStub(open_test_channel(host))
    await stub.RecordEvents(batch(by("ann", event_message("e1", category="news"))))
    before, [message] = await profile_of(stub, "ann"), await read(stub)
    await host.stop()
    host, _ = await start_profile()
    stub = profile_pb2_grpc.ProfileStub(open_test_channel(host))
    assert await profile_of(stub, "ann") == before
    [nothing_new] = await read(stub, message.next_cursor)
    assert not nothing_new.events


def test_the_settings_come_from_the_environment_and_have_the_documented_defaults() -> None:
    settings = load(ProfileSettings, {"HOMEPAGE_PROFILE_SHORT_HALF_LIFE_S": "3600"})
    assert settings.short_half_life_s == 3600
    assert (settings.listen, settings.admin_listen) == ("127.0.0.1:50052", "127.0.0.1:50062")
    assert (settings.metrics_listen, settings.database) == ("127.0.0.1:9462", Path("homepage-data/profile.db"))
