"""What every store of the library must keep to; runs against each backend."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from services.retrieval.items import Item, Moderation, Price
from services.retrieval.sqlite_store import SCHEMA_VERSION, SqliteStore
from services.retrieval.store import LibraryStore, Progress, StoredVector, StoreVersionError, Tally
from shared.errors import Reason, ServiceError

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


@pytest.fixture(params=["sqlite"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopen]:
    """Opens the test's store, after closing it where it is open."""
    opened: list[LibraryStore] = []

    def open_() -> LibraryStore:
        for store in opened:
            store.close()
        store = SqliteStore(tmp_path / "folder" / "library.db")
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


def test_items_survive_with_every_field(reopen: Reopen) -> None:
    reopen().put_items([FULL, Item("b", "plain")])
    assert list(reopen().items()) == [Item("b", "plain"), FULL]


def test_putting_again_replaces(reopen: Reopen) -> None:
    store = reopen()
    store.put_items([FULL])
    store.put_items([Item(FULL.item_id, "new")])
    assert list(store.items()) == [Item(FULL.item_id, "new")]


def test_vectors_survive_to_the_bit_and_go_with_their_item(reopen: Reopen) -> None:
    store = reopen()
    values = np.random.default_rng(1).standard_normal(384).astype(np.float32)
    store.put_items([Item("a", "t"), Item("b", "t")])
    store.put_vectors([StoredVector(name, "r", "v", values) for name in "ab"])
    store.put_vectors([StoredVector("a", "r2", "v2", -values)])
    a, b = reopen().vectors()
    assert (a.item_id, a.revision, a.embedding_version) == ("a", "r2", "v2")
    assert np.array_equal(a.values, -values)
    assert np.array_equal(b.values, values)
    store = reopen()
    store.delete_items(["a", "unknown"])
    assert [vector.item_id for vector in store.vectors()] == ["b"]
    assert [item.item_id for item in store.items()] == ["b"]


def test_counts_and_cursor_survive_together(reopen: Reopen) -> None:
    store = reopen()
    store.put_counts({"a": Tally(1.5, 10.0), "b": Tally(-2.0, 20.0)}, Progress("c1", 3))
    store.put_counts({"a": Tally(2.5, 30.0)}, Progress("c2", 4))
    store = reopen()
    assert dict(store.tallies()) == {"a": Tally(2.5, 30.0), "b": Tally(-2.0, 20.0)}
    assert store.progress() == Progress("c2", 4)


def test_a_change_that_fails_leaves_nothing_behind(reopen: Reopen) -> None:
    store = reopen()
    wrong = {"a": Tally(1.0, 1.0), "b": Tally(None, 1.0)}  # type: ignore[arg-type]
    with pytest.raises((sqlite3.Error, ServiceError)):
        store.put_counts(wrong, Progress("c", 1))
    assert list(store.tallies()) == []
    assert store.progress() == Progress("", 0)
    store.put_counts({"a": Tally(1.0, 1.0)}, Progress("c", 1))
    assert store.progress() == Progress("c", 1)


def test_a_file_of_a_newer_service_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "newer.db"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(StoreVersionError, match="newer service"):
        SqliteStore(path).open()


def test_a_full_disk_refuses_the_change_and_says_to_try_again(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "small.db")
    store.open()
    store.put_items([Item("a", "t")])
    store._open.execute("PRAGMA max_page_count = 8")
    with pytest.raises(ServiceError) as caught:
        store.put_items([Item(str(i), "t", summary="x" * 5000) for i in range(20)])
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    assert caught.value.retry_after_s
    assert [item.item_id for item in store.items()] == ["a"]
    store.close()
