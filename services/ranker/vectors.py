"""Vectors of texts through the batcher, with a cache in front: each distinct text of a call is computed once.

Items and user contexts are cached alike, so a page of an unchanged profile and known items costs no forward pass. A
call is cut into pieces no larger than a batch. Every piece that was computed goes into the cache, whether or not its
caller still waits; so a call that ran out of time leaves the next one less to do.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from services.ranker.batcher import Batcher
from services.ranker.instruments import Instruments
from services.ranker.vector_cache import ItemKey, VectorCache, VectorKey, context_key
from services.ranker.work import BatchLimits, Done, Urgency, Work
from shared.clock import Clock
from shared.model.encoder import Vectors
from shared.model.text import HistoryText, ItemText
from shared.model.tokens import TokenIds
from shared.model.zero_shot import ZeroShotModel

_CONTEXT_ROW, _FIRST_ITEM_ROW = 0, 1
"""One array holds a call's vectors: the user context's, then the items'."""


@dataclass(frozen=True, slots=True)
class Item:
    """An item and its text. An empty revision means: do not cache."""

    item_id: str
    revision: str
    text: ItemText


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of a call went, in seconds; the compute time is that of the batches its pieces were in."""

    queue_s: float
    tokenise_s: float
    compute_s: float
    computed_tokens: int
    cached_items: int


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Unit vectors: `items` [items, width], and `context` [width] unless there was no history."""

    context: Vectors | None
    items: Vectors
    timings: Timings


@dataclass(frozen=True, slots=True)
class EncodeJob:
    """Texts for one piece, and for each the keys under which its vector is kept."""

    texts: tuple[TokenIds, ...]
    keys: tuple[tuple[VectorKey, ...], ...]


@dataclass(frozen=True, slots=True)
class _Missing:
    """A distinct text that has to be computed: the rows that want its vector, and the keys it is kept under."""

    rows: list[int] = field(default_factory=list)
    keys: list[VectorKey] = field(default_factory=list)


class CachingEncoder:
    """The batcher's Scorer: encodes all texts of a batch together, and keeps the vectors."""

    def __init__(self, model: ZeroShotModel, cache: VectorCache) -> None:
        self._model = model
        self._cache = cache

    def score(self, batch: Sequence[EncodeJob]) -> Sequence[Vectors]:
        """Unit vectors [texts, width] of each job."""
        vectors = self._model.vectors([text for job in batch for text in job.texts])
        ends = np.cumsum([len(job.texts) for job in batch])[:-1]
        return np.split(vectors, ends)

    def keep(self, job: EncodeJob, result: Vectors) -> None:
        """Puts copies into the cache: a row of `result` would keep its whole batch alive."""
        for keys, vector in zip(job.keys, result, strict=True):
            for key in keys:
                self._cache.put(key, vector.copy())


@dataclass(frozen=True, slots=True)
class Parts:
    """What VectorSource is made of."""

    model: ZeroShotModel
    cache: VectorCache
    batcher: Batcher[EncodeJob, Vectors]
    limits: BatchLimits
    instruments: Instruments


class VectorSource:
    """Gives vectors; has a thread of its own for tokenising, since tokenizers bear one thread only."""

    def __init__(self, parts: Parts, clock: Clock) -> None:
        self._parts = parts
        self._clock = clock
        self._version = parts.model.manifest.embedding_version
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ranker-tokenise")

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown()

    async def find(self, history: Sequence[HistoryText], items: Sequence[Item], urgency: Urgency) -> Found:
        """Vectors of a user context and of items.

        Raises:
            What Batcher.submit and its futures raise. Cancelling takes back what still waits.
        """
        vectors = np.empty((1 + len(items), self._parts.model.width), dtype=np.float32)
        missing = self._look_up(items, vectors)
        began = self._clock.monotonic()
        context, texts = await self._tokenised(history, list(missing))
        tokenised = self._clock.monotonic()
        wanted = list(missing.values())
        if context:
            key = context_key(self._version, context)
            known = self._parts.cache.get(key)
            if known is not None:
                vectors[_CONTEXT_ROW] = known
            else:
                texts, wanted = [context, *texts], [_Missing([_CONTEXT_ROW], [key]), *wanted]
        pieces = _pieces(texts, [tuple(each.keys) for each in wanted], self._parts.limits.of(urgency.priority))
        done = await self._computed(pieces, urgency)
        finished = self._clock.monotonic()
        for each, vector in zip(wanted, (vector for part in done for vector in part.result), strict=True):
            vectors[each.rows] = vector
        # Batches run one after another, so distinct intervals do not overlap.
        compute_s = sum(end - start for start, end in {(part.started, part.finished) for part in done})
        timings = Timings(
            queue_s=max(finished - tokenised - compute_s, 0.0),
            tokenise_s=tokenised - began,
            compute_s=compute_s,
            computed_tokens=sum(piece.tokens for piece in pieces),
            cached_items=len(items) - sum(len(each.rows) for each in missing.values()),
        )
        misses = sum(len(each.rows) for each in wanted)
        self._report(timings, len(items) + bool(context) - misses, misses)
        return Found(vectors[_CONTEXT_ROW] if context else None, vectors[_FIRST_ITEM_ROW:], timings)

    def _look_up(self, items: Sequence[Item], vectors: Vectors) -> dict[ItemText, _Missing]:
        """Fills the rows of the items that are cached; returns the others by text."""
        missing: dict[ItemText, _Missing] = {}
        for row, item in enumerate(items, start=_FIRST_ITEM_ROW):
            key = ItemKey(self._version, item.item_id, item.revision) if item.revision else None
            known = self._parts.cache.get(key) if key else None
            if known is not None:
                vectors[row] = known
                continue
            wanted = missing.setdefault(item.text, _Missing())
            wanted.rows.append(row)
            if key:
                wanted.keys.append(key)
        return missing

    async def _tokenised(
        self, history: Sequence[HistoryText], items: Sequence[ItemText]
    ) -> tuple[TokenIds, list[TokenIds]]:
        if not history and not items:
            return (), []

        def tokenise() -> tuple[TokenIds, list[TokenIds]]:
            return self._parts.model.context_ids(history), self._parts.model.candidate_ids(items)

        return await asyncio.get_running_loop().run_in_executor(self._thread, tokenise)

    async def _computed(self, pieces: Sequence[Work[EncodeJob]], urgency: Urgency) -> list[Done[Vectors]]:
        if not pieces:
            return []
        futures = self._parts.batcher.submit(pieces, urgency)
        try:
            return await asyncio.gather(*futures)
        finally:
            for future in futures:  # one failed: the others are not wanted any more
                future.cancel()

    def _report(self, timings: Timings, hits: int, misses: int) -> None:
        instruments = self._parts.instruments
        instruments.looked_up(hits, misses)
        instruments.stage("queue", timings.queue_s)
        instruments.stage("tokenise", timings.tokenise_s)
        instruments.stage("compute", timings.compute_s)


def _pieces(
    texts: Sequence[TokenIds], keys: Sequence[tuple[VectorKey, ...]], most_tokens: int
) -> list[Work[EncodeJob]]:
    """Cuts texts, in order, into pieces of at most `most_tokens` (one longer text makes a piece by itself)."""
    pieces: list[Work[EncodeJob]] = []
    start = tokens = 0
    for end, text in enumerate(texts):
        if end > start and tokens + len(text) > most_tokens:
            pieces.append(Work(EncodeJob(tuple(texts[start:end]), tuple(keys[start:end])), tokens))
            start, tokens = end, 0
        tokens += len(text)
    if start < len(texts):
        pieces.append(Work(EncodeJob(tuple(texts[start:]), tuple(keys[start:])), tokens))
    return pieces
