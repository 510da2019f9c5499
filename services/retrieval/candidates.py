"""Puts what the sources found together into one list of candidates. Pure.

Which candidates get in is decided by turns: each source in turn puts forward its next best, so that a source with high
scores cannot crowd out the others. Candidates with score 0 only fill what is left. What got in is then put in order by
score.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat, zip_longest

from services.retrieval.catalogue import ABSENT
from services.retrieval.sources import Found, Source


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
