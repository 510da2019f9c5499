"""What every store of the library must keep to; runs against each backend."""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.retrieval.items import Item, Moderation, Price
from services.retrieval.redis_store import RedisStore
from services.retrieval.sqlite_store import SqliteStore
from services.retrieval.store import LibraryStore, Progress, StoredVector, Tally, Vector
from shared.errors import Reason, ServiceError
from shared.ids import random_ids
from shared.store_settings import RedisOptions
from tests.redis_server import RedisServer

FULL = Item(
    item_id="é/full",
    title="title",
    summary="summary",
    category="c",
    tags=("a", "b"),
    publisher="p",
    published_at=0.0,
    domain="d",
    language="en",
    price=Price("EUR", 5),
    duration_s=0.0,
    url="u",
    image_url="i",
    moderation=Moderation.REJECTED,
    unavailable=True,
    expires_at=1_700_000_000.123456,
)

Reopen = Callable[[], LibraryStore]


@pytest.fixture(params=["sqlite", "redis"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopen]:
    """Opens the test's store, after closing it where it is open."""
    opened: list[LibraryStore] = []
    server: RedisServer | None = request.getfixturevalue("redis_server") if request.param == "redis" else None

    def open_() -> LibraryStore:
        for store in opened:
            store.close()
        store: LibraryStore = SqliteStore(tmp_path / "folder" / "library.db")
        if server is not None:
            store = RedisStore(RedisOptions(server.url, f"{tmp_path}:"), random_ids())
        store.open()
        opened.append(store)
        return store

    yield open_
    for store in opened:
        store.close()


def test_a_new_store_is_empty(reopen: Reopen) -> None:
    store = reopen()
    assert (list(store.items()), list(store.vectors()), list(store.tallies())) == ([], [], [])
    assert store.progress() == Progress("", 0)
    assert store.changes() is None


def test_items_survive_with_every_field_in_the_order_of_their_ids(reopen: Reopen) -> None:
    plain = [Item(item_id, "plain") for item_id in ("a b", "b", "z", "\U0001f6b2")]
    reopen().put_items([FULL, *reversed(plain)])
    assert list(reopen().items()) == [*plain[:3], FULL, plain[3]]


def test_putting_again_replaces(reopen: Reopen) -> None:
    store = reopen()
    store.put_items([FULL])
    store.put_items([Item(FULL.item_id, "new")])
    assert list(store.items()) == [Item(FULL.item_id, "new")]


def test_vectors_survive_to_the_bit_and_go_with_their_item(reopen: Reopen) -> None:
    store = reopen()
    values = np.random.default_rng(1).standard_normal(384).astype(np.float32)
    items = [Item(name, "t") for name in "ab"]
    changed = Item("a", "t2")
    store.put_items(items)
    store.put_vectors([vector_of(item, "v", values) for item in items])
    store.put_items([changed])
    store.put_vectors([vector_of(changed, "v\n2", -values)])
    a, b = reopen().vectors()
    assert (a.item_id, a.revision, a.embedding_version) == ("a", changed.revision, "v\n2")
    assert np.array_equal(a.values, -values)
    assert np.array_equal(b.values, values)
    store = reopen()
    store.delete_items(["a", "unknown"])
    assert [vector.item_id for vector in store.vectors()] == ["b"]
    assert [item.item_id for item in store.items()] == ["b"]
    store.put_items(items)
    assert [vector.item_id for vector in store.vectors()] == ["b"]


def test_counts_and_cursor_survive_together(reopen: Reopen) -> None:
    store = reopen()
    store.put_counts({"a": Tally(1.5, 10.0), "b": Tally(-2.0, 20.0)}, Progress("c1", 3))
    store.put_counts({"a": Tally(0.1 + 0.2, 1e9 / 3)}, Progress("c2", 4))
    store = reopen()
    assert dict(store.tallies()) == {"a": Tally(0.1 + 0.2, 1e9 / 3), "b": Tally(-2.0, 20.0)}
    assert store.progress() == Progress("c2", 4)


def test_faded_sums_go_and_all_go_with_the_cursor_when_counting_starts_over(reopen: Reopen) -> None:
    store = reopen()
    store.put_counts({"a": Tally(1.0, 1.0), "b": Tally(1.0, 1.0)}, Progress("c1", 2))
    store.put_counts({"c": Tally(1.0, 9.0)}, Progress("c2", 3), faded=["a", "unknown"])
    store = reopen()
    assert dict(store.tallies()) == {"b": Tally(1.0, 1.0), "c": Tally(1.0, 9.0)}
    start = store.forget_counts()
    assert (start.cursor, start.counted) == ("", 0)
    store = reopen()
    assert (list(store.tallies()), store.progress()) == ([], start)
    first = replace(start, cursor="n1", counted=1)
    store.put_counts({"d": Tally(1.0, 1.0)}, first)
    assert store.progress() == first


def test_a_change_that_fails_leaves_nothing_behind(reopen: Reopen) -> None:
    store = reopen()
    wrong = {"a": Tally(1.0, 1.0), "b": Tally(None, 1.0)}  # type: ignore[arg-type]
    with pytest.raises((sqlite3.Error, TypeError)):
        store.put_counts(wrong, Progress("c", 1))
    assert list(store.tallies()) == []
    assert store.progress() == Progress("", 0)
    store.put_counts({"a": Tally(1.0, 1.0)}, Progress("c", 1))
    assert store.progress() == Progress("c", 1)


def test_a_store_that_is_not_open_says_so(reopen: Reopen) -> None:
    store = reopen()
    store.close()
    with pytest.raises(ServiceError) as caught:
        store.put_items([FULL])
    assert caught.value.reason is Reason.NOT_READY


def vector_of(item: Item, version: str, values: Vector) -> StoredVector:
    return StoredVector(item.item_id, item.revision, version, values)
