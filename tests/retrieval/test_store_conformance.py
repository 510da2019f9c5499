"""What every store of the library must keep to; runs against each backend."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from services.retrieval.items import Item, Moderation, Price
from services.retrieval.sqlite_store import SCHEMA_VERSION, SqliteStore
from services.retrieval.store import LibraryStore, Progress, StoredVector, StoreOpenError, Tally
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


def test_faded_sums_go_and_all_go_with_the_cursor_when_counting_starts_over(reopen: Reopen) -> None:
    store = reopen()
    store.put_counts({"a": Tally(1.0, 1.0), "b": Tally(1.0, 1.0)}, Progress("c1", 2))
    store.put_counts({"c": Tally(1.0, 9.0)}, Progress("c2", 3), faded=["a"])
    store = reopen()
    assert dict(store.tallies()) == {"b": Tally(1.0, 1.0), "c": Tally(1.0, 9.0)}
    store.forget_counts()
    store = reopen()
    assert (list(store.tallies()), store.progress()) == ([], Progress())
    store.put_counts({"d": Tally(1.0, 1.0)}, Progress("n1", 1))
    assert store.progress() == Progress("n1", 1)


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
    before = path.read_bytes()
    with pytest.raises(StoreOpenError, match=f"schema version {SCHEMA_VERSION + 1}"):
        SqliteStore(path).open()
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION])
def test_a_database_of_something_else_is_refused_and_stays_as_it_is(tmp_path: Path, version: int) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreOpenError, match="not a library"):
        SqliteStore(path).open()
    assert path.read_bytes() == before


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("something else entirely, and long enough to be looked at" * 100)
    with pytest.raises(StoreOpenError, match=r"file \(SQLITE_NOTADB\)"):
        SqliteStore(tmp_path / "file").open()
    with pytest.raises(StoreOpenError, match="cannot open or make"):
        SqliteStore(tmp_path / "file" / "library.db").open()


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
