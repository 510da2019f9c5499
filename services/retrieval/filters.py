"""What may not be a candidate, and why: one small named filter each, computed for all rows at once.

A row that several filters would take away counts for the first of them in the order of FILTERS.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from services.retrieval.behaviour import HistoryEntry
from services.retrieval.catalogue import Catalogue, Mask, Rows, Vocabulary


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """What the caller wants to see; empty or None = everything. `max_age_s` in seconds."""

    include_categories: frozenset[str] = frozenset()
    exclude_categories: frozenset[str] = frozenset()
    languages: tuple[str, ...] = ()
    max_age_s: float | None = None
    domains: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Scope:
    """What filters depend on. `now` in unix seconds."""

    history: tuple[HistoryEntry, ...]
    excluded: tuple[str, ...]
    wanted: ItemFilter
    now: float


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter: its name in the contract, and the rows it takes away (None = it does not apply)."""

    name: str
    removed: Callable[[Catalogue, Scope], Mask | None]
    for_everyone: bool = False
    """Whether what it takes away may be shown to nobody."""


@dataclass(frozen=True, slots=True)
class Removal:
    """How many rows a filter took away."""

    filter: str
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """Of every row: whether it may be a candidate, whether it may be shown to anybody, and what took it away."""

    allowed: Mask
    showable: Mask
    cause: np.ndarray[tuple[int], np.dtype[np.uint8]]
    """0 = nothing, else the position in FILTERS counted from 1."""

    def removals(self, looked_at: Iterable[Rows]) -> tuple[Removal, ...]:
        """What was taken away among the rows that the sources looked at, each row once."""
        parts = list(looked_at)
        rows = np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int64)
        counts = np.bincount(self.cause[rows], minlength=len(FILTERS) + 1)[1:]
        return tuple(Removal(each.name, int(count)) for each, count in zip(FILTERS, counts, strict=True) if count)


def judge(catalogue: Catalogue, scope: Scope) -> Verdict:
    """Applies all filters to all rows."""
    cause = np.zeros(catalogue.rows, np.uint8)
    showable = catalogue.columns.live.copy()
    for position in reversed(range(len(FILTERS))):
        removed = FILTERS[position].removed(catalogue, scope)
        if removed is None:
            continue
        cause[removed] = position + 1
        if FILTERS[position].for_everyone:
            showable &= ~removed
    return Verdict(catalogue.columns.live & (cause == 0), showable, cause)


def _seen(catalogue: Catalogue, scope: Scope) -> Mask | None:
    return _those(catalogue, (entry.item_id for entry in scope.history)) if scope.history else None


def _excluded(catalogue: Catalogue, scope: Scope) -> Mask | None:
    return _those(catalogue, scope.excluded) if scope.excluded else None


def _not_approved(catalogue: Catalogue, scope: Scope) -> Mask:  # noqa: ARG001  # all filters are called alike
    return catalogue.columns.not_approved


def _unavailable(catalogue: Catalogue, scope: Scope) -> Mask:
    """Withdrawn, or not published yet: a date ahead of now is an embargo."""
    return catalogue.columns.unavailable | (catalogue.columns.published > scope.now)


def _expired(catalogue: Catalogue, scope: Scope) -> Mask:
    return catalogue.columns.expires < scope.now


def _category(catalogue: Catalogue, scope: Scope) -> Mask | None:
    include, exclude = scope.wanted.include_categories, scope.wanted.exclude_categories
    if not include and not exclude:
        return None
    wanted = _by_word(catalogue.vocabularies.category, lambda word: not include or word in include)
    unwanted = _by_word(catalogue.vocabularies.category, lambda word: word in exclude)
    removed: Mask = (~wanted | unwanted)[catalogue.columns.category]
    return removed


def _language(catalogue: Catalogue, scope: Scope) -> Mask | None:
    """Basic filtering of RFC 4647, section 3.3.1: "en" takes "en" and "en-GB"; an unknown language passes."""
    if not scope.wanted.languages:
        return None
    ranges = [language.lower() for language in scope.wanted.languages]

    def passes(tag: str) -> bool:
        return not tag or any(tag == range_ or tag.startswith(f"{range_}-") for range_ in ranges)

    removed: Mask = ~_by_word(catalogue.vocabularies.language, passes)[catalogue.columns.language]
    return removed


def _max_age(catalogue: Catalogue, scope: Scope) -> Mask | None:
    if scope.wanted.max_age_s is None:
        return None
    # Written so that an unknown date (NaN) does not pass.
    return ~(catalogue.columns.published >= scope.now - scope.wanted.max_age_s)


def _domain(catalogue: Catalogue, scope: Scope) -> Mask | None:
    if not scope.wanted.domains:
        return None
    passes = _by_word(catalogue.vocabularies.domain, lambda word: word in scope.wanted.domains)
    removed: Mask = ~passes[catalogue.columns.domain]
    return removed


def _those(catalogue: Catalogue, item_ids: Iterable[str]) -> Mask:
    mask = np.zeros(catalogue.rows, np.bool_)
    mask[catalogue.rows_of(item_ids)] = True
    return mask


def _by_word(vocabulary: Vocabulary, test: Callable[[str], bool]) -> Mask:
    """The test's result for each number of a vocabulary."""
    return np.array([test(word) for word in vocabulary.words()], np.bool_)


FILTERS = (
    Filter("seen", _seen),
    Filter("excluded", _excluded),
    Filter("not_approved", _not_approved, for_everyone=True),
    Filter("unavailable", _unavailable, for_everyone=True),
    Filter("expired", _expired, for_everyone=True),
    Filter("category", _category),
    Filter("language", _language),
    Filter("max_age", _max_age),
    Filter("domain", _domain),
)
