"""Two libraries over one Redis, interleaved at every step of their changes, end up as one."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.retrieval import redis_store
from services.retrieval.behaviour import CountedEvent
from services.retrieval.items import Item
from services.retrieval.library import Library
from services.retrieval.popularity import CountsMovedError, EventPage
from services.retrieval.redis_store import RedisStore
from services.retrieval.store import Progress, StoredVector, Tally
from shared.ids import random_ids
from shared.store_settings import RedisOptions
from tests.redis_server import RedisServer

NOW = 1_750_000_000.0
HALF_LIFE_S = 86_400.0
IDS = "abcdef"


class _Interrupted(RedisStore):
    """A store whose server does something else before each script, now and then."""

    def __init__(self, options: RedisOptions, interrupt: Callable[[], None]) -> None:
        super().__init__(options, random_ids())
        self._interrupt = interrupt

    def _run(self, script: str, arguments: Sequence[str | int | bytes]) -> Any:
        self._interrupt()
        return super()._run(script, arguments)


@dataclass
class _World:
    """Two libraries that do random things, an event log, and a model."""

    options: RedisOptions
    random: random.Random
    version: str = "v1"
    log_name: str = "first"
    log: list[CountedEvent] = field(default_factory=list)
    depth: int = 0

    def __post_init__(self) -> None:
        self.libraries = [self.opened(), self.opened()]

    def opened(self) -> Library:
        library = Library(_Interrupted(self.options, self._interrupt), HALF_LIFE_S, self.random)
        library.open()
        return library

    def _interrupt(self) -> None:
        # The library that is interrupted is in the middle of a change: only the other one may act.
        if self.depth == 1 and self.random.random() < 0.3:
            self.act(self.libraries[1 - self.acting])

    def step(self) -> None:
        self.acting = self.random.randrange(2)
        self.act(self.libraries[self.acting])

    def act(self, library: Library) -> None:
        self.depth += 1
        acts = [self.put, self.delete, self.embed, self.log_and_count, self.count, Library.follow]
        self.random.choices(acts, (2, 1, 2, 1, 2, 1))[0](library)
        self.depth -= 1

    def put(self, library: Library) -> None:
        ids = self.random.sample(IDS, 3)
        library.put([Item(i, self.random.choice("tu"), summary=self.random.choice("xy")) for i in ids])

    def delete(self, library: Library) -> None:
        library.delete(self.random.sample(IDS, 2))

    def embed(self, library: Library) -> None:
        probe = library.any_item()
        items = library.pending(2) or (() if probe is None else (probe,))
        vectors = [StoredVector(item.item_id, item.revision, self.version, direction(item)) for item in items]
        library.put_vectors(vectors)

    def log_and_count(self, library: Library) -> None:
        self.log.append(CountedEvent(self.random.choice(IDS), 1.0, NOW))
        self.count(library)

    def count(self, library: Library) -> None:
        at = library.progress
        name, _, position = (at.cursor or f"{self.log_name}-0").partition("-")
        try:
            if name == self.log_name:
                start = int(position)
                page = self.log[start : start + 3]
                library.count(EventPage(tuple(page), f"{name}-{start + len(page)}"), at)
            else:
                library.forget_counts(at)
        except CountsMovedError:
            pass

    def begin_another_log(self) -> None:
        self.log_name, self.log = "second", []

    def settle(self) -> None:
        """Everything that is there to do is done."""
        self.acting, self.depth = 0, 1_000
        for _ in range(3):
            for library in self.libraries:
                self.embed(library)
                while library.pending(1):
                    self.embed(library)
                while library.progress.cursor != f"{self.log_name}-{len(self.log)}":
                    self.count(library)
        for library in self.libraries:
            library.follow()


def direction(item: Item) -> Any:
    values = np.random.default_rng(int(item.revision[:8], 16)).standard_normal(8).astype(np.float32)
    return values / np.linalg.norm(values)


def contents(library: Library) -> tuple[dict[str, Item], dict[str, Tally], Progress, str]:
    catalogue = library.snapshot.catalogue
    items = {item.item_id: item for item in catalogue.items if item is not None}
    return items, dict(library._sums.tallies), library.progress, library.snapshot.index.version


@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_interleaving_replicas_end_up_with_the_same_library_and_every_event_counted_once(
    seed: int, redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "MOST_CHANGES", 3)
    world = _World(RedisOptions(redis_server.url, f"{tmp_path}:"), random.Random(seed))
    for step in range(150):
        world.step()
        if step == 60:
            world.version = "v2"
        if step == 90:
            world.begin_another_log()
        if step % 40 == 39:
            world.libraries[step % 2].close()
            world.libraries[step % 2] = world.opened()
    world.settle()
    first, second = map(contents, world.libraries)
    fresh = world.opened()
    assert first == second == contents(fresh)
    items, tallies, progress, version = first
    assert version.startswith("v2/") or not items
    assert progress.counted == len(world.log)
    assert {i: tally.total for i, tally in tallies.items()} == {
        i: n for i in IDS if (n := float(sum(event.item_id == i for event in world.log)))
    }
    for library in (*world.libraries, fresh):
        index = library.snapshot.index
        assert len(index) == len(items)
        for item_id, item in items.items():
            [values] = index.vectors_of(library.snapshot.catalogue.rows_of([item_id]))
            assert np.allclose(values, direction(item))
        library.close()


def test_a_late_vector_of_the_serving_model_does_not_throw_its_successor_away(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    options = RedisOptions(redis_server.url, f"{tmp_path}:")
    library, late = Library(RedisStore(options, random_ids()), HALF_LIFE_S), RedisStore(options, random_ids())
    library.open()
    items = [Item(name, "t") for name in "ab"]
    library.put(items)
    vectors = {v: [StoredVector(i.item_id, i.revision, v, direction(i)) for i in items] for v in ("old", "new")}
    library.put_vectors(vectors["old"])
    late.open()
    library.put_vectors(vectors["new"][:1])
    assert late.changes()
    late.put_vectors(vectors["old"][1:])
    library.follow()
    library.put_vectors(vectors["new"][1:])
    status = library.status()
    assert (status.embedding_version, status.indexed, status.pending) == ("new", 2, 0)
    library.close()
    late.close()
