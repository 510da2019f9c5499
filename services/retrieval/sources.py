"""Where candidates come from. Each source is one function that gives its best allowed rows with a score of 0 to 1."""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from services.retrieval.behaviour import NEGATIVE, HistoryEntry
from services.retrieval.catalogue import ABSENT, Catalogue, Floats, Rows
from services.retrieval.filters import Verdict
from services.retrieval.index import VectorIndex
from services.retrieval.snapshot import Snapshot

MAX_ANCHORS = 10
RECENCY_FACTOR = 0.9
"""Each anchor counts for so much of the one before it."""
_LEAST_PER_ANCHOR = 20


class Source(enum.IntEnum):
    """The sources; numbers as in homepage.retrieval.v1."""

    NEAREST = 1
    POPULAR = 2
    FRESH = 3


@dataclass(frozen=True, slots=True)
class Search:
    """What a source needs to know. `quota`: how many candidates at most; times in (unix) seconds."""

    history: tuple[HistoryEntry, ...]
    quota: int
    now: float
    freshness_half_life_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a source found, best first."""

    rows: Rows
    """int64 [found]: allowed rows, each once."""
    scores: Floats
    """float64 [found], 0 to 1, falling."""
    looked_at: Rows
    """Rows it came across before the filters, each once."""
    anchors: Rows | None = None
    """int64 [found]: the row of the history that each is near to."""


SourceFunction = Callable[[Snapshot, Verdict, Search], Found]


def nearest(snapshot: Snapshot, verdict: Verdict, search: Search) -> Found:
    """Neighbours of what the user liked last: cosine, times 0.9 for each newer anchor, at the best of the anchors.

    The anchors share the quota, so that the newest alone cannot fill it: each is asked for twice its share.
    """
    anchors = anchor_rows(snapshot.catalogue, snapshot.index, search.history)
    if not len(anchors):
        none = np.zeros(0, np.int64)
        return Found(none, np.zeros(0), none, none)
    each = min(search.quota, max(_LEAST_PER_ANCHOR, -(-2 * search.quota // len(anchors))))
    hits = snapshot.index.search(snapshot.index.vectors_of(anchors), each, verdict.allowed)
    recency = RECENCY_FACTOR ** np.arange(len(anchors))
    scores = np.clip(hits.cosines * recency[:, np.newaxis], 0.0, 1.0).ravel()
    near_to = np.repeat(anchors, hits.rows.shape[1])
    rows = hits.rows.ravel()
    order = np.argsort(-scores, kind="stable")
    order = order[rows[order] >= 0]
    _, first = np.unique(rows[order], return_index=True)
    best = order[np.sort(first)][: search.quota]
    return Found(rows[best], scores[best], hits.looked_at, near_to[best])


def popular(snapshot: Snapshot, verdict: Verdict, search: Search) -> Found:
    """What all users act on most, in relation to the most popular item that can be shown.

    Items nobody has acted on come last, with score 0, newest first: without events there would be no page else.
    """
    rows, looked_at = _first_allowed(snapshot.popularity.best_first, verdict, search.quota)
    return Found(rows, snapshot.popularity.relative(rows, verdict.showable), looked_at)


def fresh(snapshot: Snapshot, verdict: Verdict, search: Search) -> Found:
    """What was published last: 2^(-age / half-life). Items without a date are not fresh."""
    rows, looked_at = _first_allowed(snapshot.catalogue.newest_first, verdict, search.quota)
    ages = search.now - snapshot.catalogue.columns.published[rows]
    return Found(rows, np.exp2(-ages / search.freshness_half_life_s), looked_at)


SOURCES: Mapping[Source, SourceFunction] = {Source.NEAREST: nearest, Source.POPULAR: popular, Source.FRESH: fresh}


def anchor_rows(catalogue: Catalogue, index: VectorIndex, history: tuple[HistoryEntry, ...]) -> Rows:
    """The rows to look around, newest first: at most 10 items whose newest act is positive and that have a vector."""
    newest: dict[str, HistoryEntry] = {}
    for entry in history:
        newest.setdefault(entry.item_id, entry)
    rows = [catalogue.row(entry.item_id) for entry in newest.values() if entry.action not in NEGATIVE]
    there = np.array([row for row in rows if row != ABSENT], np.int64)
    return there[index.slots(there) >= 0][:MAX_ANCHORS]


def _first_allowed(order: Rows, verdict: Verdict, quota: int) -> tuple[Rows, Rows]:
    """The first `quota` allowed rows of an order, and all rows down to the last of them."""
    places = np.flatnonzero(verdict.allowed[order])[:quota]
    looked_at = order[: places[-1] + 1] if len(places) == quota else order
    return order[places], looked_at
