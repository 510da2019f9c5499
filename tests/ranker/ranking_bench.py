"""Calls to tiny models through the real batcher and caches; the models count, wait and fail as the test says."""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from services.ranker.batcher import Batcher
from services.ranker.caches import Bounds, CacheBounds, Caches
from services.ranker.jobs import Job, ModelScorer, Outcome
from services.ranker.ranking import CacheName, Item, Parts, Ranking
from services.ranker.work import BatchLimits
from shared.clock import ManualClock
from shared.model.base import Base
from shared.model.isolation import Reference, encode, mean_by_segment, pack
from shared.model.item_key import lower_key
from shared.model.packed import PackedBert
from shared.model.ranking_model import Group, ItemState, Probabilities, RankingModel, UserContext, Vectors
from shared.model.text import HistoryText, ItemText, text_of_history, text_of_item
from shared.model.tokens import TokenIds, Tokeniser
from shared.model.zero_shot import zero_shot_model
from tests.ranker.batcher_bench import NOW, SOON, Observed
from tests.shared.model.made_version import LAYOUT, manifest_for, random_heads

DEPTHS = (0, 1, 3)
"""Of the tiny base's three layers: items that always meet the user, from the middle on, and never."""
HISTORY = [HistoryText("bicycle race", "sport")]
LIMITS = BatchLimits(10_000, interactive_tokens=40, bulk_tokens=20)
IDLE_S = 300.0
POISON = "poison"
_NO_SUCH_TOKEN = 1_000_000


def items(count: int, revision: str = "r1", first: int = 0) -> list[Item]:
    """Items of about 12 tokens each."""
    texts = [ItemText(f"race number {row}", "sport") for row in range(first, first + count)]
    return [Item(f"item-{row}", revision, text) for row, text in enumerate(texts, first)]


class WatchedTokeniser(Tokeniser):
    """Remembers the texts; one that holds POISON becomes a token that no model knows."""

    def __init__(self, base: Base, clock: ManualClock, **layout: Any) -> None:
        super().__init__(base.tokenizer, replace(LAYOUT, **layout))
        self.texts: list[str] = []
        self.takes_s = 0.0
        self._clock = clock

    def plain(self, texts: Sequence[str]) -> list[TokenIds]:
        self.texts += texts
        self._clock.advance(self.takes_s)
        known = super().plain(texts)
        return [(_NO_SUCH_TOKEN,) if POISON in text else ids for text, ids in zip(texts, known, strict=True)]


class WatchedModel(RankingModel):
    """The real model, which remembers what it computes, and can be held, slowed or short of memory."""

    def __init__(self, base: Base, packed: PackedBert, clock: ManualClock, **fields: Any) -> None:
        """`fields`: split_depth, and any field of the manifest."""
        layout = {"split_depth": fields.pop("split_depth")}
        manifest = manifest_for(base, layout=replace(LAYOUT, **layout), **fields)
        heads = random_heads(manifest, base)
        super().__init__(base, packed, manifest, heads, lower_key(base, base.bert, manifest, packed.placement))
        self.tokeniser: WatchedTokeniser = WatchedTokeniser(base, clock, **layout)
        self.reference = Reference(base.bert, manifest, heads)
        self.texts: list[TokenIds] = []
        self.users: list[TokenIds] = []
        self.memory_tokens = 1_000_000
        self.dead = False
        self.takes_s = 0.0
        self.begun, self.gate = threading.Event(), threading.Event()
        self.gate.set()
        self._clock = clock

    def encode_items(self, texts: Sequence[TokenIds]) -> list[ItemState]:
        self._compute(sum(map(len, texts)))
        states = super().encode_items(texts)
        self.texts += texts
        return states

    def encode_contexts(self, texts: Sequence[TokenIds]) -> list[UserContext]:
        contexts = super().encode_contexts(texts)
        self.users += texts
        return contexts

    def score(self, groups: Sequence[Group]) -> list[Probabilities]:
        if not self.two_tower:
            self._compute(sum(len(state) for group in groups for state in group.items))
        elif groups:  # products, on the event loop
            self._clock.advance(self.takes_s)
        return super().score(groups)

    def _compute(self, tokens: int) -> None:
        self.begun.set()
        if not self.gate.wait(SOON):
            raise TimeoutError
        if self.dead:
            raise RuntimeError
        if tokens > self.memory_tokens:
            raise torch.OutOfMemoryError
        if tokens:
            self._clock.advance(self.takes_s)

    def _ids(self, history: Sequence[HistoryText], wanted: Sequence[Item]) -> tuple[TokenIds, list[TokenIds]]:
        plain = Tokeniser(self.base.tokenizer, self.manifest.layout)
        context = plain.context_of([text_of_history(entry) for entry in history])
        return context, plain.candidates([text_of_item(item.text) for item in wanted])

    def expected(self, history: Sequence[HistoryText], wanted: Sequence[Item]) -> Probabilities:
        """What the reference says, in which nothing is cached, batched or split."""
        return self.reference.score(*self._ids(history, wanted))

    def expected_vectors(self, wanted: Sequence[Item]) -> Vectors:
        """Unit vectors of the items by the reference."""
        layout = self.manifest.layout
        packed = pack((), self._ids((), wanted)[1], layout)
        with torch.inference_mode():
            means = mean_by_segment(encode(self.base.bert, packed, layout.split_depth), packed)[1:].numpy()
        unit: Vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
        return unit

    def tokens(self, history: Sequence[HistoryText], wanted: Sequence[Item]) -> tuple[int, int]:
        """Of the context, and of all items together."""
        context, candidates = self._ids(history, wanted)
        return len(context), sum(map(len, candidates))


@dataclass
class Told:
    """A RankObserver that remembers."""

    look_ups: Counter[tuple[CacheName, str]] = field(default_factory=Counter)
    stages: list[tuple[str, float]] = field(default_factory=list)

    def looked_up(self, cache: CacheName, hits: int, misses: int) -> None:
        self.look_ups[cache, "hit"] += hits
        self.look_ups[cache, "miss"] += misses

    def stage(self, name: str, seconds: float) -> None:
        self.stages.append((name, seconds))


class ObservedQueue(Observed):
    """Lets a test wait for what is queued."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    def queue_changed(self, tokens: int, jobs: int) -> None:
        super().queue_changed(tokens, jobs)
        self._changed.set()

    async def until(self, jobs: int) -> None:
        """Waits until exactly so many jobs are queued."""
        while self.waiting[1] != jobs:
            await self._change()

    async def filled(self) -> int:
        """Waits until something is queued; how many jobs."""
        while not self.waiting[1]:
            await self._change()
        return self.waiting[1]

    async def _change(self) -> None:
        self._changed.clear()
        await asyncio.wait_for(self._changed.wait(), SOON)


class Bench:
    """Ranking over tiny models with small batches, on a clock that stands still."""

    def __init__(self, base: Base, packed: PackedBert, item_cache_bytes: int = 1_000_000) -> None:
        self.clock = ManualClock(NOW)
        self.observed, self.told = ObservedQueue(), Told()
        room = Bounds(1_000_000)
        bounds = CacheBounds(room, Bounds(item_cache_bytes), Bounds(1_000_000, IDLE_S))
        self.caches = Caches(bounds, self.clock)
        self.scorer = ModelScorer(self.caches)
        self.scorer.watch(zero_shot_model(base, packed))
        self.batcher: Batcher[Job, Outcome] = Batcher(self.scorer, LIMITS, self.clock, self.observed)
        self.ranking = Ranking(Parts(self.batcher, self.caches, self.told, self.clock))
        self.base, self.packed = base, packed
        self._models: list[WatchedModel] = []
        self.batcher.start()

    def model(self, split_depth: int, **manifest: Any) -> WatchedModel:
        """A model with random heads; `manifest` replaces fields of its manifest."""
        self._models.append(WatchedModel(self.base, self.packed, self.clock, split_depth=split_depth, **manifest))
        return self._models[-1]

    async def scores(
        self, model: RankingModel, history: Sequence[HistoryText], wanted: Sequence[Item]
    ) -> Probabilities:
        """The probabilities of a call without a deadline."""
        return (await asyncio.wait_for(self.ranking.rank(model, history, wanted), SOON)).probabilities

    @contextlib.asynccontextmanager
    async def held(self, model: WatchedModel) -> AsyncIterator[None]:
        """Keeps the compute thread busy inside, so that what is called queues up."""
        model.begun.clear()
        model.gate.clear()
        first = asyncio.create_task(self.ranking.rank(model, (), items(1, revision="", first=900)))
        assert await asyncio.to_thread(model.begun.wait, SOON)
        try:
            yield
        finally:
            model.gate.set()
            await asyncio.wait_for(first, SOON)

    async def close(self) -> None:
        for model in self._models:
            model.gate.set()
        await self.batcher.drain(SOON)
        self.ranking.close()
