"""What the stores of profiles and of the library cost in SQLite and in Redis: `python -m tests.benchmarks.stores`.

Both in one run, by turns, each acknowledged write on disk. A row is the median over repeats of what one process does:
events recorded in batches of a thousand, or one by one by so many writers at once; profiles of fifty events read; a
library of items of about 500 bytes put, a thousand a message, and opened with its vectors of 384 dimensions. Redis is a
server of the benchmark's own on a Unix socket, so it has no network to cross, but shares the cores.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from services.profile.events import Entry, Event
from services.profile.interests import HalfLives
from services.profile.redis_store import RedisProfileStore
from services.profile.sqlite_database import SqliteOptions
from services.profile.sqlite_store import SqliteProfileStore
from services.profile.store import ProfileStore
from services.retrieval.items import Item
from services.retrieval.library import Library
from services.retrieval.redis_store import RedisStore
from services.retrieval.sqlite_store import SqliteStore
from services.retrieval.store import LibraryStore, StoredVector
from shared.action import Action
from shared.clock import SystemClock
from shared.ids import random_ids
from shared.store_settings import RedisOptions
from tests.redis_server import RedisServer, running_redis

USERS, ITEMS, CATEGORIES = 500, 5_000, 20
DIMENSIONS, PUT_AT_ONCE = 384, 1_000
NOW = 1_750_000_000.0
MONTH_S = 30 * 86_400.0
HISTORY = 50
ACTIONS = (Action.VIEW, Action.VIEW, Action.CLICK, Action.LIKE)


@dataclass(frozen=True)
class Row:
    """One thing that is measured: `count` calls of `work` by `workers` at once, `per_call` of the unit each."""

    name: str
    unit: str
    workers: int
    count: int
    per_call: int
    work: Callable[[ProfileStore, random.Random], Awaitable[object]]


def event(draw: random.Random) -> Entry:
    """An event as services record them, about 280 bytes as JSON."""
    return Entry(
        f"u:user-{draw.randrange(USERS)}",
        Event(
            event_id=str(uuid.UUID(int=draw.getrandbits(128))),
            time=NOW - draw.random() * MONTH_S,
            action=draw.choice(ACTIONS),
            item_id=f"item-{draw.randrange(ITEMS)}",
            category=f"category-{draw.randrange(CATEGORIES)}",
            recommendation_id=f"{draw.getrandbits(128):032x}",
            position=draw.randrange(24),
            surface="home",
            session_id=f"{draw.getrandbits(64):016x}",
        ),
    )


def recording(size: int) -> Callable[[ProfileStore, random.Random], Awaitable[object]]:
    """Records a batch of new events."""
    return lambda store, draw: store.record([event(draw) for _ in range(size)])


def reading(store: ProfileStore, draw: random.Random) -> Awaitable[object]:
    """Reads a user's profile."""
    return store.profile(f"u:user-{draw.randrange(USERS)}", HISTORY)


ROWS = (
    Row("record, a thousand at once", "events/s", 1, 50, 1000, recording(1000)),  # first: it makes the histories
    Row("record one, 1 writer", "events/s", 1, 200, 1, recording(1)),
    Row("record one, 32 writers", "events/s", 32, 3_000, 1, recording(1)),
    Row("profile of 50 events, 1 reader", "profiles/s", 1, 1_000, 1, reading),
    Row("profile of 50 events, 16 readers", "profiles/s", 16, 2_000, 1, reading),
)


async def rate(store: ProfileStore, row: Row, draw: random.Random) -> float:
    """Units per second."""
    calls = iter(range(row.count))

    async def work() -> None:
        for _ in calls:
            await row.work(store, draw)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(row.workers)))
    return row.count * row.per_call / (time.perf_counter() - began)


async def measure(stores: dict[str, ProfileStore], rows: Iterable[Row], repeats: int) -> dict[tuple[str, str], float]:
    """Medians by row and store."""
    found: dict[tuple[str, str], list[float]] = {}
    for store in stores.values():
        await store.open()
    for repeat in range(repeats):
        for row in rows:
            for name, store in stores.items():
                found.setdefault((row.name, name), []).append(
                    await rate(store, row, random.Random(f"{row.name} {repeat}"))
                )
    for store in stores.values():
        await store.close()
    return {key: statistics.median(values) for key, values in found.items()}


def library_of(count: int) -> tuple[list[Item], list[StoredVector]]:
    """Items and their vectors."""
    draw = np.random.default_rng(7)
    values = draw.standard_normal((count, DIMENSIONS)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    items = [
        Item(
            item_id=f"item-{number}",
            title=f"Title number {number} of about sixty characters, as titles are",
            summary="A summary of the item. " * 13,
            category=f"category-{number % CATEGORIES}",
            publisher=f"publisher-{number % 97}",
            published_at=NOW - number,
            url=f"https://example.com/{number}",
        )
        for number in range(count)
    ]
    vectors = [StoredVector(item.item_id, item.revision, "model", row) for item, row in zip(items, values, strict=True)]
    return items, vectors


def measure_library(
    makers: dict[str, Callable[[int], LibraryStore]], count: int, repeats: int
) -> dict[str, list[float]]:
    """Items put a second, and seconds to open, by store; each repeat fills a store of its own."""
    items, vectors = library_of(count)
    found: dict[str, list[list[float]]] = {name: [] for name in makers}
    for repeat in range(repeats):
        for name, make in makers.items():
            library = Library(make(repeat), MONTH_S)
            library.open()
            began = time.perf_counter()
            for first in range(0, count, PUT_AT_ONCE):
                library.put(items[first : first + PUT_AT_ONCE])
            put_per_s = count / (time.perf_counter() - began)
            for first in range(0, count, PUT_AT_ONCE):
                library.put_vectors(vectors[first : first + PUT_AT_ONCE])
            library.close()
            library = Library(make(repeat), MONTH_S)
            began = time.perf_counter()
            library.open()
            found[name].append([put_per_s, time.perf_counter() - began])
            library.close()
    return {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}


def used_memory(server: RedisServer) -> int:
    """Bytes that the Redis has in use."""
    with server.client() as client:
        return int(client.info("memory")["used_memory"])


def profile_table(server: RedisServer, folder: Path, repeats: int) -> Table:
    """Measures the store of profiles."""
    given = (HalfLives(), SystemClock(), random_ids())
    stores: dict[str, ProfileStore] = {
        "SQLite": SqliteProfileStore(SqliteOptions(folder / "profile.db"), *given),
        "Redis": RedisProfileStore(RedisOptions(server.url, "profile:"), 16, *given),
    }
    empty = used_memory(server)
    medians = asyncio.run(measure(stores, ROWS, repeats))
    table = Table("profiles", *stores, "")
    for row in ROWS:
        table.add_row(row.name, *(f"{medians[row.name, name]:,.0f}" for name in stores), row.unit)
    with server.client() as client:
        per_event = (used_memory(server) - empty) / client.xlen("profile:log")
    table.add_row("memory of an event", "", f"{per_event:,.0f}", "bytes")
    return table


def library_table(server: RedisServer, folder: Path, count: int, repeats: int) -> Table:
    """Measures the store of the library."""
    makers: dict[str, Callable[[int], LibraryStore]] = {
        "SQLite": lambda repeat: SqliteStore(folder / f"library-{repeat}.db"),
        "Redis": lambda repeat: RedisStore(RedisOptions(server.url, f"library-{repeat}:"), random_ids()),
    }
    empty = used_memory(server)
    found = measure_library(makers, count, repeats)
    table = Table(f"library of {count:,} items", *makers, "")
    table.add_row("put, a thousand a message", *(f"{found[name][0]:,.0f}" for name in makers), "items/s")
    table.add_row("open, with all vectors", *(f"{found[name][1]:.2f}" for name in makers), "s")
    table.add_row("memory of an item", "", f"{(used_memory(server) - empty) / count / repeats:,.0f}", "bytes")
    return table


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--items", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, running_redis(Path(name)) as server:
        Console().print(profile_table(server, Path(name), options.repeats))
        Console().print(library_table(server, Path(name), options.items, options.repeats))


if __name__ == "__main__":
    main()
