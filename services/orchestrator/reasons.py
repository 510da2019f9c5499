"""Why an item is on the page, told from the signals that put it there and from nothing else."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from services.orchestrator.sections import NEW, TRENDING
from services.orchestrator.slate import Candidate, Item, Scored, Source

_CARES = 0.15
"""Least interest (-1..1) that is called one."""
_POPULAR = 0.1
"""Least relative popularity that is called so."""
_NEW = 0.25
"""Least freshness (two half-lives) that is called new."""
_MOST_TITLE = 60


class ReasonKind(enum.IntEnum):
    """The names of homepage.v1.ReasonCode."""

    SIMILAR_TO = enum.auto()
    INTEREST = enum.auto()
    POPULAR = enum.auto()
    NEW = enum.auto()
    FILLER = enum.auto()


_FIRST = {TRENDING: ReasonKind.POPULAR, NEW: ReasonKind.NEW}


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason in words; `evidence_item_id` for SIMILAR_TO."""

    kind: ReasonKind
    text: str
    evidence_item_id: str = ""


def reasons_of(scored: Scored, section_id: str, history: Mapping[str, Item]) -> list[Reason]:
    """At least one reason, the one that fits the section first.

    What a fusion makes of popularity and age it does not tell: then they are reasons only where they chose the item,
    as its source or its section.
    """
    candidate = scored.candidate
    if candidate.filler:
        return [Reason(ReasonKind.FILLER, "Fills the page: nothing else matches the filter")]
    found: list[Reason] = []
    anchor = history.get(candidate.anchor_item_id)
    if anchor is not None:
        found.append(Reason(ReasonKind.SIMILAR_TO, f"Similar to “{_short(anchor.title)}”", anchor.item_id))
    if scored.interest >= _CARES:
        found.append(Reason(ReasonKind.INTEREST, f"You care for {candidate.category}"))
    popular_source = Source.POPULAR in candidate.sources or Source.FALLBACK_POPULAR in candidate.sources
    popular = candidate.popularity >= _POPULAR and (popular_source or not scored.blended)
    if popular or (popular_source and section_id == TRENDING and candidate.popularity > 0):
        found.append(Reason(ReasonKind.POPULAR, "Popular now"))
    by_age = Source.FRESH in candidate.sources or section_id == NEW
    if scored.freshness >= _NEW and (by_age or not scored.blended):
        found.append(Reason(ReasonKind.NEW, "New"))
    first = _FIRST.get(section_id)
    if first is not None:
        found.sort(key=lambda reason: reason.kind is not first)
    return found or [_by_source(candidate)]


def _by_source(candidate: Candidate) -> Reason:
    source = candidate.sources[0] if candidate.sources else Source.POPULAR
    if source is Source.FRESH:
        return Reason(ReasonKind.NEW, "Among the latest in the library")
    if source is Source.NEAREST:
        return Reason(ReasonKind.SIMILAR_TO, "Similar to what you looked at")
    if candidate.popularity > 0:
        return Reason(ReasonKind.POPULAR, "Liked by others")
    return Reason(ReasonKind.FILLER, "From the library")  # not acted on, or more often against it than for it


def _short(title: str) -> str:
    return title if len(title) <= _MOST_TITLE else title[: _MOST_TITLE - 1].rstrip() + "…"
