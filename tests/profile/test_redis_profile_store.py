"""What is particular to the Redis store: the server it takes, what becomes of its failures, and being shared."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.profile.grouped_writes import MOST_ENTRIES_PER_WRITE, Batch, GroupedWrites
from services.profile.interests import HalfLives
from services.profile.redis_store import SCHEMA_VERSION, RedisProfileStore
from services.profile.store import ActionCount, LogPage, LogQuery, Recorded, StoredProfile, StoreOpenError
from shared.action import Action
from shared.clock import ManualClock
from shared.errors import Reason, ServiceError
from shared.ids import random_ids
from shared.store_settings import RedisOptions
from tests.profile.samples import DAY, NOW, an_entry
from tests.redis_server import RedisServer, running_redis


@asynccontextmanager
async def opened(
    server: RedisServer, prefix: str, half_lives: HalfLives | None = None, **options: Any
) -> AsyncIterator[RedisProfileStore]:
    given = RedisOptions(server.url, prefix, **{"timeout_s": 5.0, **options})
    store = RedisProfileStore(given, 4, half_lives or HalfLives(), ManualClock(NOW), random_ids())
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return f"{tmp_path}:"


async def everything(store: RedisProfileStore) -> LogPage:
    return await store.read_log(LogQuery(await store.log_id(), 0, 5000, 2**20, for_training=False))


async def recorded_ids(store: RedisProfileStore) -> list[str]:
    return [logged.record.entry_id for logged in (await everything(store)).entries]


async def refused(work: Any) -> ServiceError:
    with pytest.raises(ServiceError) as raised:
        await work
    assert raised.value.reason is Reason.STORE_UNAVAILABLE
    assert raised.value.retry_after_s
    return raised.value


async def test_two_stores_on_one_server_are_one_store(redis_server: RedisServer, prefix: str) -> None:
    async with opened(redis_server, prefix) as one, opened(redis_server, prefix) as other:
        assert await one.log_id() == await other.log_id()
        entries = [[an_entry(f"e{n}"), an_entry(f"e{n + 1}")] for n in range(60)]
        outcomes = await asyncio.gather(*(store.record(pair) for pair in entries for store in (one, other)))
        assert sum(outcome.events for outcome in outcomes) == 61
        assert (await one.profile("u:ann", 100)) == (await other.profile("u:ann", 100))
        assert (await one.profile("u:ann", 1)).action_counts == (ActionCount(Action.CLICK, 61),)
        assert sorted(await recorded_ids(one)) == sorted(f"e{n}" for n in range(61))


async def test_stores_of_other_prefixes_know_nothing_of_each_other(redis_server: RedisServer, prefix: str) -> None:
    async with opened(redis_server, prefix) as one, opened(redis_server, f"{prefix}b:") as other:
        await one.record([an_entry("e1")])
        assert await other.profile("u:ann", 1) == StoredProfile()
        assert await one.log_id() != await other.log_id()


async def test_replicas_of_different_half_lives_each_see_interests_by_their_own(
    redis_server: RedisServer, prefix: str
) -> None:
    async with (
        opened(redis_server, prefix) as slow,
        opened(redis_server, prefix, HalfLives(DAY / 2, DAY)) as fast,
    ):
        await slow.record([an_entry("e1", category="news", time=NOW - DAY)])
        for number in range(3):
            await fast.record([an_entry(f"f{number}", category="news")])
            await slow.record([an_entry(f"s{number}", category="news")])
            count = 2 * (number + 1)
            assert (await fast.profile("u:ann", 1)).interests[0].short_term == count + 0.25
            assert (await slow.profile("u:ann", 1)).interests[0].short_term == count + 0.5


async def test_what_was_acknowledged_survives_kill_9_of_the_server(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        async with opened(server, "p:") as store:
            acknowledged: set[str] = set()
            sent: set[str] = set()

            async def write(writer: int) -> None:
                for number in range(10_000):
                    pair = {f"a{writer}-{number}", f"b{writer}-{number}"}
                    sent.update(pair)
                    try:
                        await store.record([an_entry(event_id) for event_id in pair])
                    except ServiceError:
                        return
                    acknowledged.update(pair)
                    if len(acknowledged) >= 400:
                        server.kill()

            await asyncio.gather(*(write(writer) for writer in range(8)))
            server.start()
            ids = await recorded_ids(store)
            assert len(ids) == len(set(ids))
            assert acknowledged <= set(ids) <= sent
            assert len(acknowledged) >= 400
            firsts, seconds = ({each[1:] for each in ids if each[0] == letter} for letter in "ab")
            assert firsts == seconds, "a batch is there as a whole or not at all"
            assert (await store.profile("u:ann", 1)).action_counts == (ActionCount(Action.CLICK, len(ids)),)
            again = await store.record([an_entry(event_id) for event_id in sent])
            assert again == Recorded(events=len(sent) - len(ids), duplicates=len(ids))


async def test_while_the_server_is_away_calls_are_refused_and_afterwards_work_goes_on(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        async with opened(server, "p:") as store:
            await store.record([an_entry("before")])
            server.kill()
            await refused(store.record([an_entry("e1")]))
            await refused(store.profile("u:ann", 1))
            await refused(everything(store))
            server.start()
            assert await store.record([an_entry("e1")]) == Recorded(events=1)
            assert await recorded_ids(store) == ["before", "e1"]


async def test_out_of_memory_nothing_is_half_written_and_afterwards_work_goes_on(tmp_path: Path) -> None:
    with running_redis(tmp_path, maxmemory="3mb") as server:
        async with opened(server, "p:") as store:
            await store.record([an_entry("before")])
            batches = [[an_entry(f"e{n}-{m}", surface="x" * 60) for m in range(50)] for n in range(200)]
            errors = [outcome for batch in batches if isinstance(outcome := await tried(store, batch), ServiceError)]
            assert errors
            assert {error.reason for error in errors} == {Reason.STORE_UNAVAILABLE}
            ids = await recorded_ids(store)
            assert len(ids) == 1 + 50 * (200 - len(errors))
            async with opened(server, "p:") as again:
                assert (await again.profile("u:ann", 1)).version > 0, "a full one can be read, also after a restart"
            with server.client() as client:
                client.config_set("maxmemory", "0")
            for batch in batches:
                await store.record(batch)
            assert await store.record([an_entry(each) for each in ids]) == Recorded(duplicates=len(ids))


async def tried(store: RedisProfileStore, batch: list[Any]) -> Recorded | ServiceError:
    try:
        return await store.record(batch)
    except ServiceError as error:
        return error


async def test_an_emptied_server_begins_another_log(redis_server: RedisServer, prefix: str) -> None:
    async with opened(redis_server, prefix) as store, opened(redis_server, prefix) as other:
        await store.record([an_entry("e1")])
        before = await store.log_id()
        with redis_server.client() as client:
            client.delete(*client.keys(f"{prefix}*"))
        assert await store.profile("u:ann", 1) == StoredProfile()
        assert await store.record([an_entry("e2"), an_entry("e3")]) == Recorded(events=2)
        assert await store.log_id() == await other.log_id() != before
        with pytest.raises(ServiceError) as raised:
            await other.read_log(LogQuery(before, 1, 10, 2**20, for_training=False))
        assert raised.value.reason is Reason.INVALID_TOKEN
        assert await recorded_ids(other) == ["e2", "e3"]


async def test_a_log_whose_beginning_is_lost_is_refused(redis_server: RedisServer, prefix: str) -> None:
    async with opened(redis_server, prefix) as store:
        await store.record([an_entry("e1")])
    with redis_server.client() as client:
        client.delete(f"{prefix}about")
    with pytest.raises(StoreOpenError, match="about is gone, though its log is there"):
        async with opened(redis_server, prefix):
            pass


async def test_an_erased_user_leaves_the_log_readable_for_all(redis_server: RedisServer, prefix: str) -> None:
    async with opened(redis_server, prefix) as store:
        users = ("u:ann", "u:bob", "u:ann")
        await store.record([an_entry(f"e{n}", user=user, category="news") for n, user in enumerate(users)])
        with redis_server.client() as client:
            subject = client.hget(f"{prefix}user:u:ann", "subject").decode()
            kinds = ("entries", "events", "interests", "hidden")
            client.delete(f"{prefix}user:u:ann", *(f"{prefix}{kind}:{subject}" for kind in kinds))
            assert not any(subject.encode() in key for key in client.keys(f"{prefix}*"))
        page = await everything(store)
        assert [logged.record.entry_id for logged in page.entries] == ["e1"]
        assert (page.next_after, page.caught_up) == (3, True)
        assert await store.profile("u:ann", 1) == StoredProfile()


@pytest.mark.parametrize("command", ["zadd", "xrange", "hget"])
async def test_a_user_who_may_not_do_all_of_it_ends_the_start(tmp_path: Path, command: str) -> None:
    with running_redis(tmp_path) as server:
        with server.client() as client:
            client.acl_setuser("app", enabled=True, passwords=["+p"], keys=["p:*"], commands=["+@all", f"-{command}"])
        with pytest.raises(StoreOpenError, match=r"refuses: .*(permission|can't run this command)"):
            async with opened(server, "p:", username="app", password="p"):
                pass
        with server.client() as client:
            client.acl_setuser("app", enabled=True, passwords=["+p"], keys=["p:*"], commands=["+@all"])
            async with opened(server, "p:", username="app", password="p") as store:
                assert await store.record([an_entry("e1")]) == Recorded(events=1)
            assert not client.keys("p:trial*")


async def test_a_log_of_a_newer_version_is_refused_and_stays_as_it_is(redis_server: RedisServer, prefix: str) -> None:
    with redis_server.client() as client:
        client.hset(f"{prefix}about", mapping={"schema": SCHEMA_VERSION + 1, "log_id": "x"})
        with pytest.raises(StoreOpenError, match=f"schema version {SCHEMA_VERSION + 1}"):
            async with opened(redis_server, prefix):
                pass
        assert client.hgetall(f"{prefix}about") == {b"schema": b"%d" % (SCHEMA_VERSION + 1), b"log_id": b"x"}


async def test_a_server_that_may_lose_data_is_refused(tmp_path: Path) -> None:
    with running_redis(tmp_path, appendfsync="everysec") as server:
        with pytest.raises(StoreOpenError, match="appendfsync is everysec, and only with always"):
            async with opened(server, "p:"):
                pass
        async with opened(server, "p:", must_be_durable=False) as store:
            assert await store.record([an_entry("e1")]) == Recorded(events=1)


async def test_more_calls_than_connections_wait_for_one(redis_server: RedisServer, prefix: str) -> None:
    async with opened(redis_server, prefix) as store:
        await store.record([an_entry("e1")])
        profiles = await asyncio.gather(*(store.profile("u:ann", 1) for _ in range(100)))
    assert {profile.version for profile in profiles} == {1}


async def test_a_users_name_stands_in_one_place_only(redis_server: RedisServer, prefix: str) -> None:
    async with opened(redis_server, prefix) as store:
        await store.record([an_entry("e1", user="u:whoever", category="news", action=Action.HIDE)])
    with redis_server.client() as client:
        keys = client.keys(f"{prefix}*")
        assert [key for key in keys if b"whoever" in key] == [f"{prefix}user:u:whoever".encode()]
        assert len(keys) == 7
        assert not any(b"whoever" in client.dump(key) for key in keys)


class Sending:
    """Takes note of what is sent together, once it may go on."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.began = asyncio.Event()
        self.may_go_on = asyncio.Event()

    async def __call__(self, arguments: list[str]) -> str:
        self.sizes.append(len(arguments))
        self.began.set()
        await self.may_go_on.wait()
        if "wrong" in arguments:
            raise ServiceError(Reason.STORE_UNAVAILABLE, "away")
        return "1" * len(arguments)


def a_batch(*arguments: str) -> Batch:
    return Batch(arguments, [True] * len(arguments))


async def test_what_waits_during_one_write_is_written_together() -> None:
    sending = Sending()
    writes = GroupedWrites(sending)
    first = asyncio.create_task(writes.write(a_batch("a")))
    await sending.began.wait()
    rest = [asyncio.create_task(writes.write(a_batch("b", "c"))) for _ in range(20)]
    gone = asyncio.create_task(writes.write(a_batch("gone")))
    await asyncio.sleep(0)
    gone.cancel()
    sending.may_go_on.set()
    assert await first == Recorded(events=1)
    assert await asyncio.gather(*rest) == [Recorded(events=2)] * 20
    assert sending.sizes == [1, 40]


async def test_a_group_is_cut_by_its_size() -> None:
    sending = Sending()
    writes = GroupedWrites(sending)
    half = a_batch(*"x" * (MOST_ENTRIES_PER_WRITE // 2))
    tasks = [asyncio.create_task(writes.write(half)) for _ in range(6)]
    sending.may_go_on.set()
    await asyncio.gather(*tasks)
    assert max(sending.sizes) == MOST_ENTRIES_PER_WRITE


async def test_a_write_that_fails_fails_its_group_and_the_next_goes_on() -> None:
    sending = Sending()
    sending.may_go_on.set()
    writes = GroupedWrites(sending)
    outcomes = await asyncio.gather(writes.write(a_batch("wrong")), writes.write(a_batch("b")), return_exceptions=True)
    assert all(isinstance(outcome, ServiceError) for outcome in outcomes)
    assert await writes.write(a_batch("c")) == Recorded(events=1)


async def test_closing_writes_what_waits() -> None:
    sending = Sending()
    writes = GroupedWrites(sending)
    tasks = [asyncio.create_task(writes.write(a_batch("a"))) for _ in range(5)]
    await asyncio.sleep(0)
    sending.may_go_on.set()
    await writes.close()
    assert await asyncio.gather(*tasks) == [Recorded(events=1)] * 5
