"""What the profile store costs in SQLite and in Redis: `python -m tests.benchmarks.stores`.

Both in one run, by turns, each acknowledged write on disk. A row is the median over repeats of what one process does:
events recorded one by one, by so many writers at once; in batches of a thousand; and profiles of fifty events read.
Redis is a server of the benchmark's own on a Unix socket, so it has no network to cross, but shares the cores.
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

from rich.console import Console
from rich.table import Table

from services.profile.events import Entry, Event
from services.profile.interests import HalfLives
from services.profile.redis_store import RedisProfileStore
from services.profile.sqlite_database import SqliteOptions
from services.profile.sqlite_store import SqliteProfileStore
from services.profile.store import ProfileStore
from shared.action import Action
from shared.clock import SystemClock
from shared.ids import random_ids
from shared.redis_settings import RedisOptions
from tests.redis_server import RedisServer, running_redis

USERS, ITEMS, CATEGORIES = 500, 5_000, 20
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


def bytes_per_event(server: RedisServer, empty: int) -> float:
    """Memory that the Redis takes for an event and all that hangs on it."""
    with server.client() as client:
        return float((client.info("memory")["used_memory"] - empty) / client.xlen("benchmark:log"))


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder)) as server:
        with server.client() as client:
            empty = client.info("memory")["used_memory"]
        given = (HalfLives(), SystemClock(), random_ids())
        stores: dict[str, ProfileStore] = {
            "SQLite": SqliteProfileStore(SqliteOptions(Path(folder) / "profile.db"), *given),
            "Redis": RedisProfileStore(RedisOptions(server.url, "benchmark:"), 16, *given),
        }
        medians = asyncio.run(measure(stores, ROWS, repeats))
        table = Table("", *stores, "")
        for row in ROWS:
            table.add_row(row.name, *(f"{medians[row.name, name]:,.0f}" for name in stores), row.unit)
        Console().print(table)
        Console().print(f"Redis: {bytes_per_event(server, empty):.0f} bytes of memory an event")


if __name__ == "__main__":
    main()
