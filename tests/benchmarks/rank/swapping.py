"""Calls while a model is swapped for another version of itself, loaded and warmed up beside them."""

import asyncio
import copy
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model

from services.ranker.models import Models, Served
from services.ranker.ranking import Ranking
from services.ranker.switching import Switching, Workshop
from shared.clock import SystemClock
from shared.model.adapter import import_peft
from shared.model.base import Base
from shared.model.heads import Heads
from shared.model.packed import PackedBert
from shared.model.ranking_model import RankingModel
from shared.model.versions import write_version
from shared.model.zero_shot import zero_shot_model
from tests.benchmarks.rank.measuring import Figure, percentile
from tests.benchmarks.rank.scheduling import Plan, Sides, longer
from tests.benchmarks.rank.stand import history_of, items_of, stand
from tests.benchmarks.rank.workload import Workload

_NAME = "swapped"
_LOAD = 0.5
_CACHE_BYTES = 2**30


async def swap(base: Base, packed: PackedBert, like: RankingModel, workload: Workload, plan: Plan) -> list[Figure]:
    """Paced calls before and during swaps between two versions whose adapters touch every layer: no state is shared,
    so the items that are cached have to be encoded anew."""
    registry = Path(tempfile.mkdtemp(prefix="homepage-benchmark-"))
    try:
        for version in ("one", "two"):
            _write(registry, base, like, version)
        async with stand(plan.batch_tokens, _CACHE_BYTES) as core:
            models, clock = Models(), SystemClock()
            models.begin(Served(zero_shot_model(base, packed), clock.now()))
            import_peft()
            switching = Switching(Workshop(registry, base, packed, 3600.0), models, core.ranking, clock, lambda _: None)
            try:
                return await _measured(switching, models, core.ranking, workload, plan)
            finally:
                await switching.end()
    finally:
        shutil.rmtree(registry)


def _write(registry: Path, base: Base, like: RankingModel, version: str) -> None:
    adapted = get_peft_model(copy.deepcopy(base.bert), LoraConfig(r=8, target_modules=["query", "value"]))
    generator = torch.Generator().manual_seed(len(version))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.01)
    with tempfile.TemporaryDirectory() as adapter:
        adapted.save_pretrained(adapter)
        manifest = replace(like.manifest, name=_NAME, version=version, adapted=True)
        write_version(registry / _NAME, manifest, Heads(torch.zeros(1), torch.ones(1, base.width)), Path(adapter))


async def _measured(
    switching: Switching, models: Models, ranking: Ranking, workload: Workload, plan: Plan
) -> list[Figure]:
    await switching.activate(_NAME, "one", "")
    calm: list[float] = []
    during: list[float] = []
    swaps = 0
    calling = _Calling(ranking, models, workload)
    pace = await calling.pace()
    while len(during) < plan.calls:
        plan.progress(f"swaps: {swaps}, calls during them: {len(during)} of {plan.calls}")
        switched = asyncio.create_task(switching.activate(_NAME, "two" if swaps % 2 == 0 else "one", ""))
        during += await calling.paced(pace, until=switched)
        swaps += 1
        calm += await calling.paced(pace, count=max(len(during) - len(calm), 1))
    model = models.get(_NAME).model
    many, name = len(workload.candidates), f"during {swaps} swaps"
    median = Sides(f"median {name}", "before and after", statistics.median(during), statistics.median(calm))
    p99 = Sides(f"p99 {name}", "before and after", percentile(during, 0.99), percentile(calm, 0.99))
    return [longer(model, many, median), longer(model, many, p99)]


class _Calling:
    """Calls of one user for the same items, always to the version that answers now."""

    def __init__(self, ranking: Ranking, models: Models, workload: Workload) -> None:
        self._ranking, self._models = ranking, models
        self._history, self._items = history_of(workload), items_of(workload)

    async def pace(self) -> float:
        """Seconds between two calls."""
        taken = [await self._call(time.perf_counter()) for _ in range(6)]
        return statistics.median(taken[1:]) / _LOAD

    async def paced(self, pace: float, *, count: int = 0, until: asyncio.Task[Served] | None = None) -> list[float]:
        """Seconds of `count` calls that begin every `pace` seconds, or of as many as begin before `until` is done."""
        calls: list[asyncio.Task[float]] = []
        due = time.perf_counter()
        while len(calls) < count or (until is not None and not until.done()):
            calls.append(asyncio.create_task(self._call(due)))
            due += pace
            await asyncio.sleep(due - time.perf_counter())
        if until is not None:
            await until
            calls.append(asyncio.create_task(self._call(time.perf_counter())))  # the first that the new one answers
        return await asyncio.gather(*calls)

    async def _call(self, due: float) -> float:
        await self._ranking.rank(self._models.get(_NAME).model, self._history, self._items)
        return time.perf_counter() - due
