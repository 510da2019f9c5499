"""The library by itself: what becomes of its index while the embedding model changes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.retrieval.items import Item
from services.retrieval.library import Library
from services.retrieval.sqlite_store import SqliteStore
from services.retrieval.store import StoredVector


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    """Three items with vectors of model "old"."""
    opened = Library(SqliteStore(tmp_path / "library.db"), 86_400.0)
    opened.open()
    items = [Item(name, "t") for name in "abc"]
    opened.put(items)
    opened.put_vectors([vector(item, "old") for item in items])
    yield opened
    opened.close()


def vector(item: Item, version: str) -> StoredVector:
    return StoredVector(item.item_id, item.revision, version, np.array([1, 0, 0, 0], np.float32))


def serving(library: Library) -> tuple[str, int, int]:
    status = library.status()
    return status.embedding_version, status.indexed, status.pending


def test_a_new_model_serves_once_it_has_every_item(library: Library) -> None:
    for name in "ab":
        library.put_vectors([vector(Item(name, "t"), "new")])
        assert serving(library)[:2] == ("old", 3)
    library.put_vectors([vector(Item("c", "t"), "new")])
    assert serving(library) == ("new", 3, 0)


def test_a_new_model_whose_only_item_goes_does_not_take_over_without_any(library: Library) -> None:
    library.put_vectors([vector(Item("a", "t"), "new")])
    library.delete(["a"])
    assert serving(library) == ("old", 2, 2)
    library.put_vectors([vector(Item(name, "t"), "new") for name in "bc"])
    assert serving(library) == ("new", 2, 0)


def test_a_new_model_whose_first_vectors_come_too_late_does_not_take_over_without_any(library: Library) -> None:
    library.put([Item("a", "changed meanwhile")])
    library.put_vectors([vector(Item("a", "t"), "new")])
    assert serving(library) == ("old", 2, 3)
