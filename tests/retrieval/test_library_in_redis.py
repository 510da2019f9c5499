"""Libraries over one Redis that others change in the middle of a change, or that is replaced under them."""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.retrieval import library as library_module
from services.retrieval.behaviour import CountedEvent
from services.retrieval.items import Item
from services.retrieval.library import Library, PutResult
from services.retrieval.popularity import CountsMovedError, EventPage
from services.retrieval.redis_store import RedisStore
from services.retrieval.store import Progress, StoredVector, StoreOpenError
from shared.errors import Reason, ServiceError
from shared.ids import random_ids
from shared.store_settings import RedisOptions
from tests.redis_server import RedisServer, running_redis

NOW = 1_750_000_000.0
A, B, C = (Item(name, "t") for name in "abc")
CLICK = EventPage((CountedEvent("a", 1.0, NOW),), "c1")


class HookedStore(RedisStore):
    """Before each write, and before reading the vectors, something else happens."""

    before_write: Callable[[], object] = staticmethod(lambda: None)
    before_vectors: Callable[[], object] = staticmethod(lambda: None)

    def _write(self, script: str, arguments: Sequence[str | int | bytes]) -> list[Any]:
        self.before_write()
        return super()._write(script, arguments)

    def vectors(self) -> list[StoredVector]:
        self.before_vectors()
        return super().vectors()


class Hooked(Library):
    def __init__(self, options: RedisOptions) -> None:
        self.store = HookedStore(options, random_ids())
        super().__init__(self.store, 86_400.0)

    def contents(self) -> tuple[set[Item], dict[str, float], Progress, str]:
        items = {item for item in self.snapshot.catalogue.items if item}
        sums = {item_id: tally.total for item_id, tally in self._sums.tallies.items()}
        return items, sums, self.progress, self.snapshot.index.version.partition("/")[2]


OpenLibrary = Callable[..., Hooked]


@pytest.fixture
def open_library(redis_server: RedisServer, tmp_path: Path) -> Iterator[OpenLibrary]:
    """`open_library(server=…, username=…)`: one more replica of this test's library."""
    opened: list[Hooked] = []

    def open_(server: RedisServer = redis_server, username: str = "") -> Hooked:
        library = Hooked(RedisOptions(server.url, f"{tmp_path}:", username, username))
        library.open()
        opened.append(library)
        return library

    yield open_
    for library in opened:
        library.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of this test's own, with its data in `redis`."""
    folder = tmp_path / "redis"
    folder.mkdir()
    with running_redis(folder) as running:
        yield running


def vector(item: Item) -> StoredVector:
    values = np.random.default_rng(int(item.revision[:8], 16)).standard_normal(8).astype(np.float32)
    return StoredVector(item.item_id, item.revision, "v", values / np.linalg.norm(values))


def once(act: Callable[[], object]) -> Callable[[], None]:
    left = [act]
    return lambda: left and left.pop()()  # type: ignore[func-returns-value]


def confirmed(change: Callable[[], object]) -> bool:
    try:
        change()
    except ServiceError:
        return False
    return True


def all_the_same(*libraries: Hooked) -> bool:
    for library in libraries:
        library.follow()
    return all(library.contents() == libraries[0].contents() for library in libraries)


def test_a_change_is_worked_out_anew_when_another_comes_between(open_library: OpenLibrary) -> None:
    first, second = open_library(), open_library()
    first.put([A])
    first.store.before_write = once(lambda: second.delete(["a"]))
    assert first.put([A]) == PutResult(stored=1, unchanged=0)
    first.store.before_write = once(lambda: second.put([B]))
    assert first.delete(["b"]) == 1
    first.store.before_write = once(lambda: second.put([Item("a", "another text")]))
    first.put_vectors([vector(A)])
    assert first.status().indexed == 0
    first.store.before_write = once(lambda: second.count(CLICK, second.progress))
    with pytest.raises(CountsMovedError):
        first.count(CLICK, Progress())
    first.store.before_write = once(lambda: second.forget_counts(Progress("c1", 1)))
    with pytest.raises(CountsMovedError):
        first.forget_counts(Progress("c1", 1))
    assert all_the_same(first, second, open_library())
    assert first.contents()[:2] == ({Item("a", "another text")}, {})


def test_a_change_that_others_always_come_before_is_given_up_as_one_to_send_again(open_library: OpenLibrary) -> None:
    first, second = open_library(), open_library()
    tries: list[str] = []

    def come_between() -> None:
        tries.append(str(len(tries)))
        second.put([Item(tries[-1], "t")])

    first.store.before_write = come_between
    with pytest.raises(ServiceError) as caught:
        first.put([A])
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    assert caught.value.retry_after_s
    assert len(tries) == 40
    assert all_the_same(first, second)
    assert "a" not in {item.item_id for item in second.contents()[0]}


@pytest.mark.parametrize("change", [Library.follow, lambda library: library.put([C])])
def test_an_emptied_redis_is_one_library_again_for_all_and_takes_changes(
    open_library: OpenLibrary,
    redis_server: RedisServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Library], object],
) -> None:
    first, second = open_library(), open_library()
    first.put([A, B])
    first.put_vectors([vector(A)])
    first.count(CLICK, first.progress)
    second.follow()
    with redis_server.client() as client:
        client.delete(*client.keys(f"{tmp_path}:*"))
    caplog.clear()
    assert first.put([A, C]) == PutResult(stored=2, unchanged=0)
    change(second)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.name for record in errors] == [library_module.__name__] * 2
    assert all("another library now: loading it" in record.getMessage() for record in errors)
    second.put_vectors([vector(A)])
    second.count(CLICK, second.progress)
    assert all_the_same(first, second, open_library())
    assert first.contents()[:3] == ({A, C}, {"a": 1.0}, Progress("c1", 1))


def test_a_redis_restored_from_an_older_copy_is_noticed_also_when_more_has_been_written_than_was_lost(
    open_library: OpenLibrary, server: RedisServer, tmp_path: Path
) -> None:
    data, copy = tmp_path / "redis" / "appendonlydir", tmp_path / "copy"
    first, second = open_library(server), open_library(server)
    first.put([A])
    shutil.copytree(data, copy)
    first.put([B])
    first.count(CLICK, first.progress)
    second.follow()
    server.kill()
    shutil.rmtree(data)
    copy.rename(data)
    server.start()
    third = open_library(server)
    third.put([Item(str(n), "t") for n in range(20)])
    assert second.put([C]) == PutResult(stored=1, unchanged=0)
    assert all_the_same(first, second, third, open_library(server))
    items, sums, progress, _ = first.contents()
    assert (len(items), B in items, sums, progress) == (22, False, {}, Progress())


def test_a_redis_that_goes_while_its_library_is_loaded_anew_breaks_nothing(
    open_library: OpenLibrary, server: RedisServer
) -> None:
    library = open_library(server)
    library.put([A, B])
    library.put_vectors([vector(A)])
    before = library.contents()
    server.kill()
    server.start()
    library.store.before_vectors = once(server.kill)
    for _ in range(3):
        with pytest.raises(ServiceError) as caught:
            library.follow()
        assert caught.value.reason is Reason.STORE_UNAVAILABLE
        assert library.contents() == before
    server.start()
    with server.client() as client:
        client.flushall()
    library.put([C])
    assert all_the_same(library, open_library(server))
    assert library.contents()[0] == {C}


def test_a_redis_that_goes_while_it_is_loaded_at_the_start_ends_it_with_one_line(
    server: RedisServer, tmp_path: Path
) -> None:
    library = Hooked(RedisOptions(server.url, f"{tmp_path}:"))
    library.store.before_vectors = server.kill
    with pytest.raises(StoreOpenError, match="failed while it was loaded") as caught:
        library.open()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("command", ["hset", "hdel", "zadd", "zrem", "unlink"])
def test_a_change_that_fails_half_way_leaves_nothing_that_others_do_not_learn_of(
    open_library: OpenLibrary, redis_server: RedisServer, command: str
) -> None:
    user = f"without-{command}"
    with redis_server.client() as client:
        client.acl_setuser(user, enabled=True, passwords=[f"+{user}"], keys=["*"], commands=["+@all"])
        first, second = open_library(), open_library(username=user)
        first.put([A, B])
        first.put_vectors([vector(A), vector(B)])
        first.count(CLICK, first.progress)
        client.acl_setuser(user, commands=[f"-{command}"])
        outcomes = []
        for change in (
            lambda: second.put([C, Item("b", "changed")]),
            lambda: second.delete(["a"]),
            lambda: second.put_vectors([vector(C)]),
            lambda: second.forget_counts(Progress("c1", 1)),
        ):
            outcomes.append(confirmed(change))
            assert all_the_same(first, open_library())
        assert not all(outcomes)
        client.acl_setuser(user, commands=["+@all"])
        second.put([A, C])
        assert second.contents()[0] == {A, *first.contents()[0], C}
        assert all_the_same(first, second, open_library())
        client.acl_deluser(user)
