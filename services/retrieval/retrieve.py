"""One Retrieve from a snapshot to its answer: filters judge all rows, sources draw on what is allowed, turns decide."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from services.retrieval.candidates import SourceScore, merge
from services.retrieval.catalogue import Catalogue
from services.retrieval.filters import Removal, Scope, judge
from services.retrieval.items import Item
from services.retrieval.snapshot import Snapshot
from services.retrieval.sources import SOURCES, Found, Search, Source


@dataclass(frozen=True, slots=True)
class Query:
    """What is sought. `sources` distinct, in the order in which they take turns."""

    scope: Scope
    max_candidates: int
    sources: tuple[Source, ...] = tuple(Source)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item that may go on the page; `popularity` 0 to 1."""

    item: Item
    scores: tuple[SourceScore, ...]
    anchor_item_id: str
    """The item of the history that it is near to; empty when the nearest source did not find it."""
    popularity: float


@dataclass(frozen=True, slots=True)
class SourceReport:
    """How a source did; `found` counts before filters."""

    source: Source
    found: int
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The answer; see RetrieveResponse."""

    candidates: tuple[Candidate, ...]
    history_items: tuple[Item, ...]
    index_version: str
    embedding_version: str
    removals: tuple[Removal, ...]
    reports: tuple[SourceReport, ...]


@dataclass(frozen=True, slots=True)
class Retriever:
    """Answers queries. `monotonic` gives seconds for the reports."""

    freshness_half_life_s: float
    monotonic: Callable[[], float]

    def retrieve(self, snapshot: Snapshot, query: Query) -> Retrieved:
        """The candidates for a query, and the items of its history. Blocks for about a millisecond or a few."""
        scope = query.scope
        verdict = judge(snapshot.catalogue, scope)
        search = Search(scope.history, query.max_candidates, scope.now, self.freshness_half_life_s)
        found: list[tuple[Source, Found]] = []
        reports: list[SourceReport] = []
        for source in query.sources:
            started = self.monotonic()
            results = SOURCES[source](snapshot, verdict, search)
            found.append((source, results))
            reports.append(SourceReport(source, len(results.looked_at), self.monotonic() - started))
        merged = merge(found, query.max_candidates)
        rows = np.array([each.row for each in merged], np.int64)
        popularity = snapshot.popularity.relative(rows, verdict.showable).tolist()
        candidates = (
            Candidate(snapshot.catalogue.at(each.row), each.scores, _anchor(snapshot.catalogue, each.scores), relative)
            for each, relative in zip(merged, popularity, strict=True)
        )
        return Retrieved(
            candidates=tuple(candidates),
            history_items=_history_items(snapshot.catalogue, scope),
            index_version=snapshot.index.version,
            embedding_version=snapshot.index.embedding_version,
            removals=verdict.removals(results.looked_at for _, results in found),
            reports=tuple(reports),
        )


def _anchor(catalogue: Catalogue, scores: tuple[SourceScore, ...]) -> str:
    rows = (score.anchor for score in scores if score.source is Source.NEAREST)
    return next((catalogue.at(row).item_id for row in rows), "")


def _history_items(catalogue: Catalogue, scope: Scope) -> tuple[Item, ...]:
    ids = dict.fromkeys(entry.item_id for entry in scope.history)
    return tuple(item for item_id in ids if (item := catalogue.find(item_id)) is not None)
