"""What only the library's Redis can do: be shared, be the wrong one, be full, be killed, be emptied."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from services.retrieval import redis_store
from services.retrieval.items import Item, Moderation
from services.retrieval.library import Library
from services.retrieval.redis_store import SCHEMA_VERSION, RedisStore
from services.retrieval.store import (
    Changes,
    Progress,
    StoredVector,
    StoreMovedError,
    StoreOpenError,
    StoreReplacedError,
    Tally,
)
from shared.errors import Reason, ServiceError
from shared.ids import random_ids
from shared.store_settings import RedisOptions
from tests.redis_server import RedisServer, running_redis

A, B = Item("a", "t"), Item("b", "t")
OpenStore = Callable[..., RedisStore]


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return f"{tmp_path}:"


@pytest.fixture
def open_store(redis_server: RedisServer, prefix: str) -> Iterator[OpenStore]:
    """`open_store(server=…)`: one more connection to this test's library."""
    opened: list[RedisStore] = []

    def open_(server: RedisServer = redis_server) -> RedisStore:
        store = RedisStore(RedisOptions(server.url, prefix), random_ids())
        store.open()
        opened.append(store)
        return store

    yield open_
    for store in opened:
        store.close()


def vector(item: Item, version: str = "v") -> StoredVector:
    return StoredVector(item.item_id, item.revision, version, np.ones(4, np.float32) / 2)


def refusal(change: Callable[[], object]) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        change()
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    assert caught.value.retry_after_s
    return caught.value


def all_changes(store: RedisStore) -> list[Changes]:
    return list(iter(store.changes, None))


def test_others_are_told_what_has_changed_since_they_opened_and_the_writer_is_not(open_store: OpenStore) -> None:
    first = open_store()
    first.put_items([A])
    second = open_store()
    first.put_items([B, Item("c", "t")])
    first.delete_items(["a", "c"])
    first.put_vectors([vector(B)])
    first.put_counts({"b": Tally(1.0, 2.0), "x": Tally(1.0, 1.0)}, Progress("c1", 2))
    first.put_counts({}, Progress("c2", 2), faded=["x"])
    assert first.changes() is None
    [changes] = all_changes(second)
    assert (changes.items, sorted(changes.deleted)) == ([B], ["a", "c"])
    assert [told.item_id for told in changes.vectors] == ["b"]
    assert (changes.tallies, changes.faded) == ({"b": Tally(1.0, 2.0)}, ["x"])
    assert changes.progress == second.progress() == Progress("c2", 2)


CHANGES: dict[str, Callable[[RedisStore], object]] = {
    "put_items": lambda store: store.put_items([Item("a", "changed")]),
    "put_no_items": lambda store: store.put_items([]),
    "delete_items": lambda store: store.delete_items(["a"]),
    "put_vectors": lambda store: store.put_vectors([vector(A)]),
    "put_counts": lambda store: store.put_counts({}, Progress("c", 1), faded=["a"]),
    "forget_counts": lambda store: store.forget_counts(),
}


def everything(server: RedisServer, prefix: str) -> dict[bytes, object]:
    with server.client() as client:
        return {key: client.dump(key) for key in client.keys(f"{prefix}*")}


@pytest.mark.parametrize("change", CHANGES)
def test_who_has_not_been_told_all_changes_nothing(
    open_store: OpenStore, redis_server: RedisServer, prefix: str, change: str
) -> None:
    first, second = open_store(), open_store()
    first.put_items([A])
    first.put_counts({"a": Tally(1.0, 1.0)}, Progress("c1", 2))
    before = everything(redis_server, prefix)
    with pytest.raises(StoreMovedError):
        CHANGES[change](second)
    assert everything(redis_server, prefix) == before
    assert [changes.items for changes in all_changes(second)] == [[A]]
    CHANGES[change](second)


@pytest.mark.parametrize("late", CHANGES)
@pytest.mark.parametrize("next_", CHANGES)
def test_a_change_that_arrives_after_the_next_was_acknowledged_does_nothing(
    open_store: OpenStore,
    redis_server: RedisServer,
    prefix: str,
    late: str,
    next_: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = open_store()
    store.put_items([A])
    store.put_counts({"a": Tally(1.0, 1.0)}, Progress("c1", 2))
    client = store._open.client
    sent: list[tuple[object, ...]] = []
    with monkeypatch.context() as patch:
        patch.setattr(client, "evalsha", lambda *command: sent.append(command) or [store._open.known, 0])
        CHANGES[late](store)
    CHANGES[next_](store)
    before = everything(redis_server, prefix)
    assert [client.evalsha(*command) for command in sent] == [None]
    assert everything(redis_server, prefix) == before


def test_when_counting_begins_anew_others_see_another_generation_and_none_of_the_old_sums(
    open_store: OpenStore,
) -> None:
    first, second = open_store(), open_store()
    first.put_counts({"old": Tally(1.0, 1.0)}, Progress("c1", 1))
    start = first.forget_counts()
    first.put_counts({"new": Tally(1.0, 1.0)}, Progress("n1", 1, start.generation))
    [changes] = all_changes(second)
    assert (changes.tallies.keys(), changes.faded) == ({"new"}, ["old"])
    assert changes.progress == Progress("n1", 1, 1)
    assert list(first.tallies()) == [("new", Tally(1.0, 1.0))]


def test_a_vector_comes_with_or_after_its_item_wherever_pages_end(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "MOST_CHANGES", 1)
    first, second = open_store(), open_store()
    first.put_items([A])
    first.put_vectors([vector(A)])
    first.put_items([Item("a", "t", summary="changed meanwhile")])
    seen: set[str] = set()
    with_item = []
    for changes in all_changes(second):
        seen |= {item.item_id for item in changes.items}
        with_item += [told.item_id in seen for told in changes.vectors]
    assert with_item[-1]
    first.put_items([Item("a", "t", summary="changed again")])
    assert not any(changes.vectors for changes in all_changes(second)), "known already, so not told again"


def test_tombstones_go_after_a_day_and_who_missed_them_must_load_anew(open_store: OpenStore, prefix: str) -> None:
    store, behind = open_store(), open_store()
    server = store._open.client
    store.put_items([A, B, Item("c", "t")])
    store.put_vectors([vector(A)])
    store.delete_items(["a", "b"])
    for tombstone in ("i:a", "i:b"):
        server.zadd(f"{prefix}gone", {tombstone: 0})
    up_to_date = open_store()
    store.delete_items(["c"])
    assert server.zrange(f"{prefix}changed", 0, -1) == [b"i:c"]
    assert [changes.deleted for changes in all_changes(up_to_date)] == [["c"]]
    with pytest.raises(StoreReplacedError, match="deletions"):
        behind.changes()
    store.put_items([A])
    assert server.zrange(f"{prefix}gone", 0, -1) == [b"i:c"]


def test_a_redis_that_will_not_do_is_named(tmp_path: Path) -> None:
    with running_redis(tmp_path, appendfsync="everysec") as server, pytest.raises(StoreOpenError, match="appendfsync"):
        RedisStore(RedisOptions(server.url, "p:"), random_ids()).open()
    with pytest.raises(StoreOpenError, match=r"redis\.sock \(ConnectionError\)"):
        RedisStore(RedisOptions(server.url, "p:"), random_ids()).open()


def test_a_library_of_a_newer_service_is_refused_and_stays_as_it_is(open_store: OpenStore, prefix: str) -> None:
    store = open_store()
    about = f"{prefix}about"
    store._open.client.hset(about, "schema", SCHEMA_VERSION + 1)
    before = store._open.client.hgetall(about)
    with pytest.raises(StoreOpenError, match=f"schema version {SCHEMA_VERSION + 1}"):
        open_store()
    assert store._open.client.hgetall(about) == before


def test_keys_of_something_else_are_refused_and_stay_as_they_are(
    open_store: OpenStore, redis_server: RedisServer, prefix: str
) -> None:
    with redis_server.client() as client:
        client.hset(f"{prefix}items", "their", "own")
        with pytest.raises(StoreOpenError, match="not a library"):
            open_store()
        assert client.keys(f"{prefix}*") == [f"{prefix}items".encode()]
        client.set(f"{prefix}about", "theirs")
        with pytest.raises(StoreOpenError, match="WRONGTYPE"):
            open_store()


def test_without_memory_a_change_is_refused_whole_and_deleting_makes_room(
    open_store: OpenStore, tmp_path: Path
) -> None:
    with running_redis(tmp_path, maxmemory="4mb") as server:
        store, other = open_store(server), open_store(server)
        acknowledged = 0
        refused = None
        while refused is None and acknowledged < 10_000:
            batch = [Item(f"{acknowledged + i:05}", "t", summary="x" * 5000) for i in range(50)]
            try:
                store.put_items(batch)
                acknowledged += 50
            except ServiceError as error:
                refused = error
        assert refused is not None
        assert refused.reason is Reason.STORE_UNAVAILABLE
        assert sum(len(changes.items) for changes in all_changes(other)) == acknowledged == len(list(store.items()))
        store.delete_items([f"{i:05}" for i in range(100)])
        store.put_items([A])
        assert len(list(store.items())) == acknowledged - 99


def test_a_killed_redis_has_all_it_acknowledged_and_the_same_store_goes_on(
    open_store: OpenStore, tmp_path: Path
) -> None:
    acknowledged: list[str] = []
    enough = threading.Event()

    with running_redis(tmp_path) as server:
        store = open_store(server)

        def write() -> None:
            with suppress(ServiceError):
                while True:
                    store.put_items([Item(str(len(acknowledged)), "t")])
                    acknowledged.append(str(len(acknowledged)))
                    if len(acknowledged) == 100:
                        enough.set()

        writer = threading.Thread(target=write)
        writer.start()
        assert enough.wait(20)
        server.kill()
        writer.join(20)
        assert "again is safe" in refusal(lambda: store.put_items([A])).message
        refusal(store.changes)
        server.start()
        with pytest.raises(StoreReplacedError, match="started anew"):
            store.changes()
        found = {item.item_id for item in store.items()}
        assert set(acknowledged) <= found <= {*acknowledged, str(len(acknowledged))}
        store.put_items([A])
        assert A in store.items()


@pytest.mark.parametrize("change", [*CHANGES, "changes"])
def test_an_emptied_redis_takes_nothing_from_who_loaded_another_library(
    open_store: OpenStore, prefix: str, change: str
) -> None:
    store = open_store()
    store.put_items([A])
    server = store._open.client
    server.delete(*server.keys(f"{prefix}*"))
    with pytest.raises(StoreReplacedError, match="id"):
        {**CHANGES, "changes": RedisStore.changes}[change](store)
    assert server.keys(f"{prefix}*") == [f"{prefix}about".encode()]
    assert (store.items(), store.changes()) == ([], None)
    store.put_items([B])
    assert open_store().items() == [B]


def test_a_redis_that_has_lost_its_latest_changes_is_noticed(open_store: OpenStore, prefix: str) -> None:
    store = open_store()
    store.put_items([A, B])
    store._open.client.hset(f"{prefix}about", "revision", 1)
    with pytest.raises(StoreReplacedError, match="lacks"):
        store.changes()


def test_what_lies_there_after_the_library_was_emptied_is_left_alone(open_store: OpenStore, prefix: str) -> None:
    store = open_store()
    server = store._open.client
    server.delete(f"{prefix}about")
    server.hset(f"{prefix}items", "their", "own")
    for _ in range(2):
        refusal(store.changes)
        refusal(lambda: store.put_items([A]))
    assert server.keys(f"{prefix}*") == [f"{prefix}items".encode()]


@pytest.mark.parametrize("command", ["zadd", "hscan", "unlink", "hdel", "zrange", "time", "info", "zrem"])
def test_a_user_who_may_not_do_all_ends_the_start_before_anything_is_written(
    tmp_path: Path, prefix: str, redis_server: RedisServer, command: str
) -> None:
    with redis_server.client() as client:
        client.acl_setuser(command, enabled=True, passwords=["+p"], keys=["*"], commands=["+@all", f"-{command}"])
        options = RedisOptions(redis_server.url, prefix, username=command, password="p")
        with pytest.raises(StoreOpenError, match=f"can't run this command|no permissions to run the '{command}'"):
            Library(RedisStore(options, random_ids()), 1.0).open()
        if command not in ("hscan", "unlink"):  # which are for reading it all, and for clearing up
            assert client.keys(f"{prefix}*") == []
        client.acl_deluser(command)


def test_a_start_leaves_no_trial_behind_and_a_full_redis_does_not_prevent_it(
    open_store: OpenStore, prefix: str, tmp_path: Path
) -> None:
    with running_redis(tmp_path) as server:
        store = open_store(server)
        store.put_items([A])
        client = store._open.client
        client.config_set("maxmemory", "1mb")
        again = open_store(server)
        refusal(lambda: again.put_items([B]))
        again.delete_items(["a"])
        assert {*client.keys(f"{prefix}*")} == {f"{prefix}{key}".encode() for key in ("about", "changed", "gone")}


def test_a_redis_that_is_away_is_logged_when_it_begins_and_when_it_ends(
    open_store: OpenStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with running_redis(tmp_path) as server:
        store = open_store(server)
        server.kill()
        for _ in range(5):
            refusal(store.changes)
        server.start()
        for _ in range(5):
            with suppress(StoreReplacedError):
                store.changes()
    lines = [record.getMessage() for record in caplog.records if record.name == redis_store.__name__]
    assert lines == ["the Redis of the library failed", "the Redis of the library works again"]


def test_fields_that_a_newer_version_wrote_are_ignored(open_store: OpenStore, prefix: str) -> None:
    store = open_store()
    store._open.client.hset(f"{prefix}items", "a", '{"title":"t","moderation":1,"mood":["new"]}')
    assert store.items() == [Item("a", "t", moderation=Moderation.APPROVED)]
