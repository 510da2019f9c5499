"""What only the library's file can do: be a wrong one, or find its disk full."""

import sqlite3
from pathlib import Path

import pytest

from services.retrieval.items import Item
from services.retrieval.sqlite_store import SCHEMA_VERSION, SqliteStore
from services.retrieval.store import StoreOpenError
from shared.errors import Reason, ServiceError


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
