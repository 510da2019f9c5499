"""A call to a model: what is cached is looked up, what is missing tokenised and computed through the batcher.

Everything that was computed is kept, whether or not its caller still waits; so a call that ran out of time leaves the
next one less to do. Knows no gRPC.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Literal, Protocol

import numpy as np

from services.ranker.batcher import Batcher
from services.ranker.caches import Caches, ItemKey, KnownItem, context_key
from services.ranker.jobs import ContextSlot, Job, Outcome, Row, cut
from services.ranker.leftovers import Leftovers
from services.ranker.texts import Texts
from services.ranker.work import NO_DEADLINE, BatchFailedError, DeadlinePassedError, Done, Priority, Urgency
from shared.clock import Clock
from shared.model.ranking_model import Group, ItemState, Probabilities, RankingModel, Vectors
from shared.model.text import NEGATIVE_ACTIONS, HistoryText, ItemText, text_of_history, text_of_item
from shared.model.tokens import TokenIds

_WARMED_AT_ONCE, _MOST_WARMED = 64, 10_000
"""More would take minutes on a CPU, and even to list them would hold the event loop up."""
_FIRST_ANSWER_S = 5.0

CacheName = Literal["tokens", "items", "contexts"]


@dataclass(frozen=True, slots=True)
class Item:
    """An item and its text. An empty revision means: do not cache."""

    item_id: str
    revision: str
    text: ItemText


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An item of a call as the model reads it."""

    item_id: str
    revision: str
    text: str


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of a call went, in seconds; the compute time is that of the batches its jobs were in."""

    queue_s: float
    tokenise_s: float
    compute_s: float
    computed_tokens: int
    """Tokens through the whole depth of the model that this call cost."""
    batch_tokens: int
    """The same of the largest batch that held a part of this call."""
    cached_items: int


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """`probabilities` [candidates, actions]; not a number where a candidate cannot be scored."""

    probabilities: Probabilities
    timings: Timings


class RankObserver(Protocol):
    """Told what happens, for metrics."""

    def looked_up(self, cache: CacheName, hits: int, misses: int) -> None:
        """Look-ups of one call in one cache."""

    def stage(self, name: str, seconds: float) -> None:
        """Time of a stage of one Rank call; neither Embed's nor the ranker's own work is told."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What Ranking is made of."""

    batcher: Batcher[Job, Outcome]
    caches: Caches
    observer: RankObserver
    clock: Clock


class Ranking:
    """Answers calls."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._texts = Texts(parts.caches.tokens, partial(parts.observer.looked_up, "tokens"))
        self._leftovers = Leftovers(parts.batcher, parts.caches.items, parts.clock)

    def close(self) -> None:
        """Ends the thread of the tokenizer."""
        self._texts.close()

    async def rank(
        self,
        model: RankingModel,
        history: Sequence[HistoryText],
        candidates: Sequence[Item],
        deadline: float = NO_DEADLINE,
    ) -> Ranked:
        """Probabilities of the candidates for a user with this history, newest first.

        Raises:
            What Batcher.submit and its futures raise. Cancelling takes back what still waits.
        """
        ranked = await self._ranked(model, history, candidates, deadline)
        timings, observer = ranked.timings, self._parts.observer
        observer.stage("queue", timings.queue_s)
        observer.stage("tokenise", timings.tokenise_s)
        observer.stage("compute", timings.compute_s)
        return ranked

    async def _ranked(
        self, model: RankingModel, history: Sequence[HistoryText], candidates: Sequence[Item], deadline: float
    ) -> Ranked:
        read = [text_of_history(entry) for entry in history if entry.action not in NEGATIVE_ACTIONS]
        call = await self._prepared(model, read, _wanted(candidates), Priority.INTERACTIVE)
        urgency = Urgency(Priority.INTERACTIVE, deadline)
        if not model.two_tower:
            jobs = cut(model, call.rows, call.slot, self._limit(urgency), scores=True)
            computed = await self._computed(jobs, urgency)
            _require_context(call.slot)
            probabilities = np.concatenate([part.result.probabilities for part in computed.done])
            return Ranked(probabilities, self._timings(call, computed))
        computed, states = await self._encoded(model, call, urgency)
        _require_context(call.slot)
        timings = self._timings(call, computed)  # now: the products below are no waiting for the device
        return Ranked(_products(model, call.slot, states), timings)

    async def embed(
        self, model: RankingModel, items: Sequence[Item], deadline: float = NO_DEADLINE
    ) -> list[Vectors | None]:
        """Unit vectors [width] of a two-tower model, at bulk priority; None for an item that cannot be encoded.

        Raises: as `rank`.
        """
        call = await self._prepared(model, (), _wanted(items), Priority.BULK)
        _, states = await self._encoded(model, call, Urgency(Priority.BULK, deadline))
        made = [state for state in states if state is not None]
        whole = iter(model.vectors(made) if made else ())
        return [None if state is None else next(whole) for state in states]

    async def answers(self, model: RankingModel) -> bool:
        """Whether a first real call, the way all take, gives finite probabilities. It has a deadline, so that its turn
        comes on a busy device too. Raises: as `rank`."""
        deadline = self._parts.clock.monotonic() + _FIRST_ANSWER_S
        item = Item("", "", ItemText("the first text of the day", "news"))
        ranked = await self._ranked(model, [HistoryText("the last text of yesterday", "news")], [item], deadline)
        return bool(np.isfinite(ranked.probabilities).all())

    async def warm(self, model: RankingModel, like: RankingModel) -> int:
        """Encodes for one model the items that are cached for another, last used first, at bulk priority.

        At most half of the cache is filled, since the other model answers meanwhile. Returns how many there were.

        Raises: as `rank`.
        """
        if model.item_key == like.item_key or not model.caches_items:
            return 0
        cache = self._parts.caches.items
        known = [
            _Wanted(key.item_id, key.revision, item.text)
            for key, item in islice(cache.newest_first(), _MOST_WARMED)
            if key.computed_by == like.item_key
        ]
        room, warmed = cache.most_bytes // 2, list[ItemKey]()
        for start in range(0, len(known), _WARMED_AT_ONCE):
            call = await self._prepared(model, (), known[start : start + _WARMED_AT_ONCE], Priority.BULK)
            _, states = await self._encoded(model, call, Urgency(Priority.BULK))
            for row, state in zip(call.rows, states, strict=True):
                if row.key is not None and state is not None:
                    warmed.append(row.key)
                    room -= cache.cost(row.key, KnownItem(state, row.text))
            if room <= 0:
                break
        for key in reversed(warmed):  # what was used last stays longest
            cache.get(key)
        return len(warmed)

    async def _prepared(
        self, model: RankingModel, history: Sequence[str], items: Sequence[_Wanted], priority: Priority
    ) -> "_Call":
        """Everything known looked up, the rest as tokens."""
        began = self._parts.clock.monotonic()
        texts = [item.text for item in items]
        keys = [_key(model, item) for item in items]
        known = [None if key is None else self._parts.caches.items.get(key) for key in keys]
        unknown = [text for text, found in zip(texts, known, strict=True) if found is None]
        context, plain = await self._texts.read(model.tokeniser, history, unknown, bulk=priority is Priority.BULK)
        rows = [
            Row(text, key, model.tokeniser.candidate(plain[text]))
            if found is None
            else Row(text, key, state=found.state)
            for text, key, found in zip(texts, keys, known, strict=True)
        ]
        slot = self._slot(model, context)
        hits = len(items) - len(unknown)
        if model.caches_items:
            self._parts.observer.looked_up("items", hits, len(unknown))
        return _Call(rows, slot, hits, began, self._parts.clock.monotonic())

    def _slot(self, model: RankingModel, context: TokenIds) -> ContextSlot | None:
        if not context:
            return None
        key = context_key(f"{model.manifest.name}/{model.manifest.version}", context)
        found = self._parts.caches.contexts.get(key)
        self._parts.observer.looked_up("contexts", int(found is not None), int(found is None))
        return ContextSlot(key, context, found)

    async def _encoded(
        self, model: RankingModel, call: "_Call", urgency: Urgency
    ) -> tuple["_Computed", list[ItemState | None]]:
        """The state of every item, those that were missing computed."""
        missing = [row for row in call.rows if row.state is None]
        jobs = cut(model, missing, call.slot, self._limit(urgency), scores=False)
        computed = await self._computed(jobs, urgency)
        new = iter([state for part in computed.done for state in part.result.states])
        return computed, [next(new) if row.state is None else row.state for row in call.rows]

    async def _computed(self, jobs: Sequence[Job], urgency: Urgency) -> "_Computed":
        if not jobs:
            return _Computed(0, ())
        futures = self._parts.batcher.submit(jobs, urgency)
        try:
            return _Computed(sum(job.cost for job in jobs), await asyncio.gather(*futures))
        finally:
            unanswered = [job for job, future in zip(jobs, futures, strict=True) if not _answered(future)]
            for future in futures:  # one failed: the others are not wanted any more
                future.cancel()
            self._leftovers.take(unanswered, urgency, late=any(map(_too_late, futures)))

    def _limit(self, urgency: Urgency) -> int:
        return self._parts.batcher.limits.of(urgency.priority)

    def _timings(self, call: "_Call", computed: "_Computed") -> Timings:
        finished = self._parts.clock.monotonic()
        # Batches run one after another, so distinct intervals do not overlap.
        compute_s = sum(end - start for start, end in {(part.started, part.finished) for part in computed.done})
        return Timings(
            queue_s=max(finished - call.prepared - compute_s, 0.0),
            tokenise_s=call.prepared - call.began,
            compute_s=compute_s,
            computed_tokens=computed.tokens,
            batch_tokens=max((part.batch_tokens for part in computed.done), default=0),
            cached_items=call.hits,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """What a call has to compute; times are monotonic seconds."""

    rows: list[Row]
    slot: ContextSlot | None
    hits: int
    began: float
    prepared: float


@dataclass(frozen=True, slots=True, eq=False)
class _Computed:
    """What the batcher did for a call, and what it cost."""

    tokens: int
    done: Sequence[Done[Outcome]]


def _answered(future: asyncio.Future[Done[Outcome]]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _too_late(future: asyncio.Future[Done[Outcome]]) -> bool:
    return future.done() and not future.cancelled() and isinstance(future.exception(), DeadlinePassedError)


def _wanted(items: Sequence[Item]) -> list[_Wanted]:
    return [_Wanted(item.item_id, item.revision, text_of_item(item.text)) for item in items]


def _key(model: RankingModel, item: _Wanted) -> ItemKey | None:
    return ItemKey(model.item_key, item.item_id, item.revision) if model.caches_items and item.revision else None


def _require_context(slot: ContextSlot | None) -> None:
    if slot is not None and slot.context is None:
        raise BatchFailedError  # the user's own text cannot be encoded


def _products(model: RankingModel, slot: ContextSlot | None, states: Sequence[ItemState | None]) -> Probabilities:
    """[items, actions] of a two-tower model."""
    whole = [row for row, state in enumerate(states) if state is not None]
    scores = np.full((len(states), len(model.manifest.actions)), np.nan, dtype=np.float32)
    if whole:
        group = Group(None if slot is None else slot.context, [state for state in states if state is not None])
        scores[whole] = model.score([group])[0]
    return scores
