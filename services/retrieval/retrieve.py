"""One Retrieve from a snapshot to its answer: filters judge all rows, sources draw on what is allowed, turns decide.

Turns: each source in turn puts forward its next best, so that a source with high scores cannot crowd out the others.
Candidates with score 0 only fill what is left. What got in is then put in order by score.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat, zip_longest

import numpy as np

from services.retrieval.catalogue import ABSENT, Catalogue
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
class SourceScore:
    """What one source says of a candidate; `anchor` is a row, or ABSENT."""

    source: Source
    score: float
    anchor: int = ABSENT


@dataclass(frozen=True, slots=True)
class Merged:
    """A row that may become a candidate, with all sources that found it, best score first."""

    row: int
    scores: tuple[SourceScore, ...]


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


def merge(found: Sequence[tuple[Source, Found]], most: int) -> list[Merged]:
    """At most `most` rows, each once, best first by the best score of each."""
    good, rest = [], []
    for _, results in found:
        rows = results.rows.tolist()
        positive = int((results.scores > 0.0).sum())
        good.append(rows[:positive])
        rest.append(rows[positive:])
    chosen: dict[int, list[SourceScore]] = {}
    for row in chain(_by_turns(good), _by_turns(rest)):
        if len(chosen) == most:
            break
        chosen.setdefault(row, [])
    for source, results in found:
        anchors = repeat(ABSENT) if results.anchors is None else results.anchors.tolist()
        # The endless anchors of the other sources end with the rows.
        for row, score, anchor in zip(results.rows.tolist(), results.scores.tolist(), anchors, strict=False):
            if row in chosen:
                chosen[row].append(SourceScore(source, score, anchor))
    merged = [Merged(row, tuple(sorted(scores, key=_falling))) for row, scores in chosen.items()]
    # Sorting is stable: equals stay in the order in which they were chosen.
    return sorted(merged, key=lambda each: -each.scores[0].score)


def _falling(score: SourceScore) -> float:
    return -score.score


def _by_turns(queues: Sequence[Sequence[int]]) -> Iterator[int]:
    """The first of each queue, then the second of each, and so on."""
    for turn in zip_longest(*queues, fillvalue=ABSENT):
        yield from (row for row in turn if row != ABSENT)
