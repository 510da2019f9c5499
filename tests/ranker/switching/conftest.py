"""A registry of real versions, made once, and one ranker over a copy of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.model.base import Base
from shared.model.packed import PackedBert
from tests.ranker.switching.bench import Bench, Store, make_store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_base: Base, tiny_packed: PackedBert) -> Store:
    """Nobody changes it: a test that writes takes a copy."""
    return make_store(tmp_path_factory.mktemp("switching") / "store", tiny_base, tiny_packed)


@pytest.fixture
async def bench(store: Store, tmp_path: Path) -> AsyncIterator[Bench]:
    """Not begun."""
    bench = Bench(store, store.registry(tmp_path))
    yield bench
    await bench.end()
