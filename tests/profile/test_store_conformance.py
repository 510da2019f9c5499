"""What every profile store must do, whatever it is made of."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from services.profile.events import Entry
from services.profile.interests import HalfLives, added
from services.profile.redis_store import RedisProfileStore
from services.profile.sqlite_database import SqliteOptions
from services.profile.sqlite_store import SqliteProfileStore
from services.profile.store import ActionCount, LogPage, LogQuery, ProfileStore, Recorded, StoredProfile
from shared.action import Action
from shared.clock import ManualClock
from shared.errors import Reason, ServiceError
from shared.ids import random_ids, seeded_ids
from shared.store_settings import RedisOptions
from tests.profile.samples import DAY, NOW, a_page, an_entry, an_event

Reopen = Callable[..., ProfileStore]


def sqlite(request: pytest.FixtureRequest, folder: Path, clock: ManualClock, half_lives: HalfLives) -> ProfileStore:
    return SqliteProfileStore(SqliteOptions(folder / "profile.db"), half_lives, clock, seeded_ids(7))


def in_redis(request: pytest.FixtureRequest, folder: Path, clock: ManualClock, half_lives: HalfLives) -> ProfileStore:
    server = request.getfixturevalue("redis_server")
    return RedisProfileStore(RedisOptions(server.url, f"{folder}:"), 4, half_lives, clock, random_ids())


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture(params=[sqlite, in_redis])
def reopen(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Reopen:
    """`reopen(half_lives=None)`: another store object over the same data."""
    return lambda half_lives=None: request.param(request, tmp_path, clock, half_lives or HalfLives())


@pytest.fixture
async def store(reopen: Reopen) -> AsyncIterator[ProfileStore]:
    opened = reopen()
    await opened.open()
    yield opened
    await opened.close()


async def read(store: ProfileStore, after: int = 0, **fields: object) -> LogPage:
    given = {"log_id": await store.log_id(), "most_entries": 1000, "most_bytes": 2**20, "for_training": False, **fields}
    return await store.read_log(LogQuery(after=after, **given))  # type: ignore[arg-type]


async def test_an_unknown_user_has_an_empty_profile(store: ProfileStore) -> None:
    assert await store.profile("u:nobody", 10) == StoredProfile()


async def test_a_recorded_event_is_in_the_profile_and_in_the_log(store: ProfileStore) -> None:
    entry = an_entry("e1", category="news", value=0.0, surface="home", session_id="s", position=3)
    assert await store.record([entry]) == Recorded(events=1)
    profile = await store.profile("u:ann", 10)
    assert profile.recent_events == (entry.record,)
    assert profile.updated_at == NOW
    assert profile.action_counts == (ActionCount(Action.CLICK, 1),)
    page = await read(store)
    assert [logged.record for logged in page.entries] == [entry.record]
    assert page.next_after == profile.version
    assert page.caught_up


async def test_a_served_page_is_in_the_log_and_leaves_the_profile_alone(store: ProfileStore) -> None:
    page = a_page("r1", surface="home", model_version="m", session_id="s")
    assert await store.record([Entry("u:ann", page)]) == Recorded(served_pages=1)
    assert [logged.record for logged in (await read(store)).entries] == [page]
    assert await store.profile("u:ann", 10) == StoredProfile()


async def test_a_known_id_of_a_user_changes_nothing_and_is_another_event_for_another_user(store: ProfileStore) -> None:
    await store.record([an_entry("e1", category="news")])
    before = await store.profile("u:ann", 10)
    again, of_bob = an_entry("e1", category="sport"), an_entry("e1", user="u:bob")
    assert await store.record([again, of_bob]) == Recorded(events=1, duplicates=1)
    assert await store.profile("u:ann", 10) == before
    assert (await store.profile("u:bob", 10)).version > 0


async def test_an_id_twice_in_one_batch_is_recorded_once(store: ProfileStore) -> None:
    assert await store.record([an_entry("e1"), an_entry("e1")]) == Recorded(events=1, duplicates=1)
    assert len((await read(store)).entries) == 1


async def test_an_event_and_a_served_page_may_have_the_same_id(store: ProfileStore) -> None:
    assert await store.record([an_entry("x"), Entry("u:ann", a_page("x"))]) == Recorded(events=1, served_pages=1)


async def test_an_entry_without_personalisation_is_logged_but_no_profile_sees_it(store: ProfileStore) -> None:
    seen = an_entry("e1", category="news")
    unseen = replace(an_entry("e2", category="news", action=Action.HIDE), personalise=False)
    await store.record([seen])
    before = await store.profile("u:ann", 10)
    assert await store.record([unseen]) == Recorded(events=1)
    assert await store.profile("u:ann", 10) == before
    assert len((await read(store)).entries) == 2


async def test_readers_for_training_do_not_get_what_was_recorded_without_consent(store: ProfileStore) -> None:
    kept, left_out = an_entry("e1"), replace(an_entry("e2"), train=False)
    await store.record([kept, left_out])
    page = await read(store, for_training=True)
    assert [logged.record for logged in page.entries] == [kept.record]
    assert (await read(store, page.next_after, for_training=True)).entries == ()
    assert page.next_after == (await read(store)).next_after


async def test_recent_events_come_newest_first_by_their_own_time(store: ProfileStore) -> None:
    times = {"late": NOW - 3 * DAY, "new": NOW, "old": NOW - DAY}
    await store.record([an_entry(name, time=times[name]) for name in ("new", "old")])
    await store.record([an_entry("late", time=times["late"])])
    assert [event.event_id for event in (await store.profile("u:ann", 10)).recent_events] == ["new", "old", "late"]
    assert [event.event_id for event in (await store.profile("u:ann", 1)).recent_events] == ["new"]


async def test_the_version_grows_with_every_recorded_event(store: ProfileStore, clock: ManualClock) -> None:
    versions = []
    for number in range(3):
        clock.advance(10)
        await store.record([an_entry(f"e{number}", time=NOW - number * DAY)])
        versions.append((await store.profile("u:ann", 10)).version)
    assert versions == sorted(set(versions))
    assert (await store.profile("u:ann", 10)).updated_at == NOW + 30


async def test_hidden_items_come_newest_first_and_once_each(store: ProfileStore) -> None:
    hides = [("a", 1), ("b", 2), ("c", 3), ("a", 4), ("c", 0)]
    for number, (item_id, time) in enumerate(hides):
        await store.record([an_entry(f"e{number}", action=Action.HIDE, item_id=item_id, time=NOW + time)])
    assert (await store.profile("u:ann", 10)).hidden_item_ids == ("a", "c", "b")


async def test_at_most_a_thousand_hidden_items_are_told(store: ProfileStore) -> None:
    await store.record(
        [an_entry(f"e{n}", action=Action.HIDE, item_id=f"i{n}", time=NOW - n) for n in range(1001)],
    )
    hidden = (await store.profile("u:ann", 1)).hidden_item_ids
    assert hidden == tuple(f"i{n}" for n in range(1000))


async def test_actions_are_counted(store: ProfileStore) -> None:
    actions = [Action.VIEW, Action.CLICK, Action.VIEW]
    await store.record([an_entry(f"e{n}", action=action) for n, action in enumerate(actions)])
    counts = (await store.profile("u:ann", 1)).action_counts
    assert counts == (ActionCount(Action.VIEW, 2), ActionCount(Action.CLICK, 1))


async def test_interests_are_summed_by_category_and_events_without_one_do_not_count(store: ProfileStore) -> None:
    await store.record([an_entry("e1", category="news"), an_entry("e2", category="news"), an_entry("e3")])
    await store.record([an_entry("e4", category="sport", action=Action.DISLIKE, time=NOW - DAY)])
    interests = {each.category: each for each in (await store.profile("u:ann", 1)).interests}
    assert interests.keys() == {"news", "sport"}
    assert interests["news"].short_term == 2.0
    assert interests["sport"].long_term == -3.0


async def test_sums_are_kept_to_the_last_digit(store: ProfileStore) -> None:
    events = [an_event(f"e{n}", category='"n\u00e9ws"', time=NOW - n * 12345.678901) for n in range(7)]
    interest = None
    for event in events:
        interest = added(interest, event, HalfLives())
        await store.record([Entry("u:ann", event)])
    assert (await store.profile("u:ann", 1)).interests == (interest,)


async def test_other_half_lives_sum_up_the_log_anew(store: ProfileStore, reopen: Reopen) -> None:
    entries = [an_entry("e1", category="news", time=NOW - DAY), an_entry("e2", category="news"), an_entry("e3")]
    await store.record([*entries, Entry("u:bob", a_page("r1"))])
    assert (await store.profile("u:ann", 1)).interests[0].short_term == 1.5
    before = await store.profile("u:ann", 10)
    await store.close()
    changed = reopen(HalfLives(short_s=DAY / 2, long_s=DAY))
    await changed.open()
    profile = await changed.profile("u:ann", 10)
    assert replace(profile, interests=()) == replace(before, interests=())
    assert [(each.short_term, each.long_term) for each in profile.interests] == [(1.25, 1.5)]
    assert len((await changed.profile("u:ann", 1)).recent_events) == 1
    await changed.record([an_entry("e4", category="news"), an_entry("b1", user="u:bob", category="news")])
    assert [(each.short_term, each.long_term) for each in (await changed.profile("u:ann", 1)).interests] == [
        (2.25, 2.5)
    ]
    assert (await changed.profile("u:bob", 1)).interests[0].short_term == 1.0
    await changed.close()


async def test_users_and_visitors_of_one_name_are_different(store: ProfileStore) -> None:
    await store.record([an_entry("e1", user="u:x"), an_entry("e2", user="v:x")])
    assert [event.event_id for event in (await store.profile("v:x", 10)).recent_events] == ["e2"]
    subjects = [logged.subject for logged in (await read(store)).entries]
    assert len(set(subjects)) == 2


async def test_a_subject_is_stable_and_does_not_tell_the_user(store: ProfileStore, reopen: Reopen) -> None:
    await store.record([an_entry("e1")])
    await store.close()
    again = reopen()
    await again.open()
    await again.record([an_entry("e2")])
    subjects = {logged.subject for logged in (await read(again)).entries}
    await again.close()
    assert len(subjects) == 1
    assert "ann" not in subjects.pop()


async def test_what_was_recorded_is_there_after_reopening(store: ProfileStore, reopen: Reopen) -> None:
    await store.record([an_entry("e1", category="news"), Entry("v:x", a_page("r1"))])
    profile, log, log_id = await store.profile("u:ann", 10), await read(store), await store.log_id()
    await store.close()
    again = reopen()
    await again.open()
    assert (await again.profile("u:ann", 10), await read(again), await again.log_id()) == (profile, log, log_id)
    await again.close()


async def test_the_log_is_read_in_stretches_without_gap_or_repeat(store: ProfileStore) -> None:
    ids = [f"e{n}" for n in range(25)]
    await store.record([an_entry(event_id) for event_id in ids])
    seen: list[str] = []
    page = await read(store, most_entries=10)
    sizes = [len(page.entries)]
    while not page.caught_up:
        seen += [logged.record.entry_id for logged in page.entries]
        page = await read(store, page.next_after, most_entries=10)
        sizes.append(len(page.entries))
    seen += [logged.record.entry_id for logged in page.entries]
    assert seen == ids
    assert sizes == [10, 10, 5]


async def test_a_stretch_ends_before_it_grows_too_large_but_holds_one_entry_at_least(store: ProfileStore) -> None:
    await store.record([an_entry(f"e{n}", category="x" * 200) for n in range(3)])
    page = await read(store, most_bytes=1)
    assert [logged.record.entry_id for logged in page.entries] == ["e0"]
    assert not page.caught_up


async def test_a_full_last_stretch_knows_that_it_is_the_last(store: ProfileStore) -> None:
    await store.record([an_entry("e1"), an_entry("e2")])
    assert (await read(store, most_entries=2)).caught_up


async def test_an_empty_log_can_be_read(store: ProfileStore) -> None:
    assert await read(store) == LogPage((), 0, caught_up=True)


async def test_a_position_beyond_the_log_is_refused(store: ProfileStore) -> None:
    await store.record([an_entry("e1")])
    with pytest.raises(ServiceError) as raised:
        await read(store, 2)
    assert raised.value.reason is Reason.INVALID_TOKEN


async def test_a_position_in_another_log_is_refused(store: ProfileStore) -> None:
    await store.record([an_entry("e1")])
    with pytest.raises(ServiceError) as raised:
        await read(store, log_id="0" * 32)
    assert raised.value.reason is Reason.INVALID_TOKEN


async def test_a_wrong_entry_undoes_its_whole_batch_and_no_other(store: ProfileStore) -> None:
    wrong = an_entry("wrong", time=float("nan"))
    outcomes = await asyncio.gather(
        store.record([an_entry("a")]),
        store.record([an_entry("b"), wrong]),
        store.record([an_entry("c")]),
        return_exceptions=True,
    )
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, True, False]
    assert {logged.record.entry_id for logged in (await read(store)).entries} == {"a", "c"}


async def test_many_at_once_are_each_recorded_once(store: ProfileStore) -> None:
    batches = [[an_entry(f"e{n}"), an_entry(f"e{n + 1}")] for n in range(100)]
    outcomes = await asyncio.gather(*(store.record(entries) for entries in batches))
    assert sum(outcome.events for outcome in outcomes) == 101
    assert sum(outcome.duplicates for outcome in outcomes) == 99
    profile = await store.profile("u:ann", 500)
    assert profile.action_counts == (ActionCount(Action.CLICK, 101),)


async def test_every_field_comes_back_as_it_was(store: ProfileStore) -> None:
    event = an_event("é\t☃", time=NOW + 0.123456, action=Action.RATE, value=4.7, item_id="物", category="c", position=9)
    event = replace(event, recommendation_id="r", surface="s", session_id="t")
    await store.record([Entry("u:ann", event)])
    assert (await store.profile("u:ann", 1)).recent_events == (event,)


async def test_a_store_that_is_not_open_refuses_and_can_be_closed(reopen: Reopen) -> None:
    closed = reopen()
    await closed.close()
    with pytest.raises(ServiceError) as raised:
        await closed.profile("u:ann", 1)
    assert raised.value.reason is Reason.NOT_READY
