"""The ranker's core without gRPC: batcher, caches and models as the service wires them, to be driven directly."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.ranker.batcher import Batcher
from services.ranker.budget import bulk_budget
from services.ranker.caches import Bounds, CacheBounds, Caches
from services.ranker.jobs import Job, ModelScorer, Outcome
from services.ranker.ranking import CacheName, Item, Parts, Ranking
from services.ranker.work import BatchLimits
from shared.clock import SystemClock
from shared.model.text import HistoryText, ItemText
from tests.benchmarks.rank.workload import Workload

QUEUE_TOKENS = 50_000_000
"""So many that a benchmark is never refused."""


class Watcher:
    """A BatchObserver and RankObserver that lets nothing pass that would falsify a figure."""

    def queue_changed(self, tokens: int, jobs: int) -> None:
        """Of no interest here."""

    def batch_cut(self, tokens: int, limit: int) -> None:
        """Of no interest here."""

    def work_dropped(self, cause: str) -> None:
        """Only what the benchmark itself takes back."""
        if cause != "cancelled":
            raise RuntimeError(f"work was dropped: {cause}")

    def items_failed(self, count: int) -> None:
        """Must not be."""
        raise RuntimeError(f"{count} items failed")

    def budget_changed(self, tokens: int) -> None:
        """Must not be."""
        raise RuntimeError("out of memory")

    def health_changed(self, healthy: bool) -> None:
        """Must not be."""
        raise RuntimeError("the device does not answer")

    def looked_up(self, cache: CacheName, hits: int, misses: int) -> None:
        """Of no interest here."""

    def stage(self, name: str, seconds: float) -> None:
        """Of no interest here."""


@dataclass(frozen=True)
class Stand:
    """A running core."""

    ranking: Ranking
    limits: BatchLimits


@asynccontextmanager
async def stand(batch_tokens: int, cache_bytes: int, *, caches_users: bool = True) -> AsyncIterator[Stand]:
    """A core with batches of so many tokens; with 0 bytes nothing is cached but token ids."""
    clock, watcher = SystemClock(), Watcher()
    user_bytes = cache_bytes if caches_users else 0
    caches = Caches(CacheBounds(Bounds(2**28), Bounds(cache_bytes), Bounds(user_bytes)), clock)
    limits = BatchLimits(QUEUE_TOKENS, batch_tokens, bulk_budget(batch_tokens))
    batcher: Batcher[Job, Outcome] = Batcher(ModelScorer(caches), limits, clock, watcher)
    batcher.start()
    ranking = Ranking(Parts(batcher, caches, watcher, clock))
    try:
        yield Stand(ranking, limits)
    finally:
        await batcher.drain(60)
        ranking.close()


def history_of(workload: Workload) -> list[HistoryText]:
    """The workload's user."""
    return [HistoryText(workload.user)]


def items_of(workload: Workload, name: str = "item") -> list[Item]:
    """The workload's candidates; items of the same name and number share what is cached."""
    return [Item(f"{name}-{row}", "r", ItemText(text)) for row, text in enumerate(workload.candidates)]
