"""What the batcher costs and what it is good for: overhead, company, bulk work beside calls."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from services.ranker.ranking import Item, Ranking
from shared.model.ranking_model import RankingModel
from tests.benchmarks.rank.bench_model import read_items, read_user, score
from tests.benchmarks.rank.measuring import Figure, percentile
from tests.benchmarks.rank.stand import history_of, items_of, stand
from tests.benchmarks.rank.workload import Workload

_CACHE_BYTES = 2**30
_EMBED_ITEMS = 256
"""Of one Embed call: the contract's limit."""
_LOAD = 0.5
"""Share of the device that paced calls take when nothing else runs."""
_BLOCK = 20
"""Calls of one side before it is the other's turn."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure; `calls` of each side where a 99th percentile is wanted."""

    batch_tokens: int
    repeats: int
    calls: int
    progress: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sides:
    """What is compared with what, and the seconds of a call either way."""

    way: str
    against: str
    seconds: float
    other_seconds: float


def longer(model: RankingModel, candidates: int, sides: Sides) -> Figure:
    """How many times as long a call takes this way."""
    ratio = sides.seconds / sides.other_seconds
    return replace(faster(model, candidates, sides), ratio=ratio, unit="times as long")


def faster(model: RankingModel, candidates: int, sides: Sides) -> Figure:
    """How many times as fast a call is this way."""
    k, dtype, seconds = model.manifest.layout.split_depth, model.bert.placement.dtype, sides.seconds
    ratio = sides.other_seconds / seconds
    return Figure(sides.way, candidates, k, dtype, ratio, candidates / seconds, seconds * 1e3, sides.against)


async def overhead(model: RankingModel, workloads: Sequence[Workload], plan: Plan) -> Figure:
    """One call at a time through the batcher against the model called directly; items cached, users new."""
    items, texts = items_of(workloads[0]), workloads[0].candidates
    states = read_items(model, texts)
    direct: list[float] = []
    through: list[float] = []
    async with stand(plan.batch_tokens, _CACHE_BYTES) as core:
        await core.ranking.rank(model, (), items)
        for turn, workload in enumerate(workloads):
            plan.progress(f"overhead, {len(items)} candidates, turn {turn}")
            started = time.perf_counter()
            score(model, read_user(model, workload.user), states)
            between = time.perf_counter()
            await core.ranking.rank(model, history_of(workload), items)
            direct.append(between - started)
            through.append(time.perf_counter() - between)
    seconds = statistics.median(through[1:]), statistics.median(direct[1:])
    return longer(model, len(items), Sides("one call at a time through the batcher", "the model itself", *seconds))


async def company(model: RankingModel, workloads: Sequence[Workload], plan: Plan) -> Figure:
    """All calls at once through the batcher against one after another; nothing is cached but token ids."""
    calls = [(history_of(each), items_of(each, f"of-{number}")) for number, each in enumerate(workloads)]
    apart: list[float] = []
    together: list[float] = []
    async with stand(plan.batch_tokens, 0) as core:
        for turn in range(1 + plan.repeats):
            plan.progress(f"{len(calls)} calls of {len(calls[0][1])} candidates, turn {turn} of {plan.repeats}")
            started = time.perf_counter()
            for history, items in calls:
                await core.ranking.rank(model, history, items)
            between = time.perf_counter()
            await asyncio.gather(*(core.ranking.rank(model, history, items) for history, items in calls))
            apart.append(between - started)
            together.append(time.perf_counter() - between)
    seconds = statistics.median(together[1:]) / len(calls), statistics.median(apart[1:]) / len(calls)
    return faster(model, len(calls[0][1]), Sides(f"{len(calls)} calls at once", "one after another", *seconds))


@dataclass(frozen=True, slots=True)
class Beside:
    """Paced calls without and with other work beside them; the figures of both percentiles, and one bulk batch."""

    median: Figure
    p99: Figure
    bulk_batch_s: float


async def beside_bulk(
    model: RankingModel, embedder: RankingModel, workload: Workload, library: list[Item], plan: Plan
) -> Beside:
    """Paced calls, items and user cached, without and with an Embed of a whole library; sides take turns."""
    async with stand(plan.batch_tokens, _CACHE_BYTES) as core:
        pace = await _pace(core.ranking, model, workload)
        embedding = _Embedding(core.ranking, embedder, library)
        without: list[float] = []
        beside: list[float] = []
        while len(beside) < plan.calls:
            plan.progress(f"beside bulk work: {len(beside)} of {plan.calls} calls, {embedding.done} items embedded")
            without += await _paced(core.ranking, model, workload, pace)
            async with embedding.going_on():
                beside += await _paced(core.ranking, model, workload, pace)
        seconds = await _bulk_batch(core.ranking, embedder, library, core.limits.bulk_tokens)
    many, name = len(workload.candidates), f"beside an Embed of {len(library)} items"
    median = Sides(f"median {name}", "without", statistics.median(beside), statistics.median(without))
    p99 = Sides(f"p99 {name}", "without", percentile(beside, 0.99), percentile(without, 0.99))
    return Beside(longer(model, many, median), longer(model, many, p99), seconds)


async def _pace(ranking: Ranking, model: RankingModel, workload: Workload) -> float:
    """Seconds between two calls."""
    taken = []
    for _ in range(6):
        started = time.perf_counter()
        await ranking.rank(model, history_of(workload), items_of(workload))
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:]) / _LOAD


async def _paced(ranking: Ranking, model: RankingModel, workload: Workload, pace: float) -> list[float]:
    """Seconds of a block of calls that begin every `pace` seconds, whether or not the one before has ended."""
    history, items = history_of(workload), items_of(workload)

    async def call(due: float) -> float:
        await asyncio.sleep(due - time.perf_counter())
        await ranking.rank(model, history, items)
        return time.perf_counter() - due

    begin = time.perf_counter() + pace
    return await asyncio.gather(*(call(begin + number * pace) for number in range(_BLOCK)))


class _Embedding:
    """An Embed of a library that can be interrupted, and begins anew when it is through."""

    def __init__(self, ranking: Ranking, model: RankingModel, library: list[Item]) -> None:
        self._ranking, self._model, self._library = ranking, model, library
        self.done = 0

    @contextlib.asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Works while the context is open."""
        task = asyncio.create_task(self._work())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            start = self.done % len(self._library)
            items = [Item(item.item_id, "", item.text) for item in self._library[start : start + _EMBED_ITEMS]]
            await self._ranking.embed(self._model, items)
            self.done += len(items)


async def _bulk_batch(ranking: Ranking, model: RankingModel, library: list[Item], tokens: int) -> float:
    """Seconds of one bulk batch, the median of a few."""
    count = max(1, tokens // 25)
    items = [Item("", "", item.text) for item in library[:count]]
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        await ranking.embed(model, items)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)
