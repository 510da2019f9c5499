"""The values that a request turns into on its way to a page. Everything after the services' answers is a pure
function over these.

Text and display fields of an item stay where they came in until the page is written: of two hundred candidates two
dozen are shown.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from shared.action import Action


class Source(enum.StrEnum):
    """Where a candidate came from, by the name that callers see."""

    NEAREST = "nearest"
    POPULAR = "popular"
    FRESH = "fresh"
    FALLBACK_POPULAR = "fallback_popular"


class Stage(enum.Enum):
    """A part of the way of a request."""

    PROFILE = "profile"
    RETRIEVAL = "retrieval"
    RANKING = "ranking"
    ASSEMBLY = "assembly"


class Cause(enum.Enum):
    """Why a stage did not work."""

    UNAVAILABLE = "unavailable"
    LATE = "late"
    OVERLOADED = "overloaded"
    FAILED = "failed"
    NO_TIME = "no_time"


class StageError(Exception):
    """A service did not do its part; the page goes on without it."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.value)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class User:
    """Who the page is for; user_id counts before visitor_id."""

    user_id: str
    visitor_id: str


class HistoryEvent(NamedTuple):
    """One act of the user. `time` in unix seconds. A tuple, as hundreds are made per request."""

    item_id: str
    action: Action
    time: float


@dataclass(frozen=True, slots=True)
class Interest:
    """How much the user cares for a category, over days and over weeks; negative = turns away."""

    category: str
    short_term: float
    long_term: float


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of the user; `history` newest first."""

    version: str = ""
    updated_at: float | None = None
    history: Sequence[HistoryEvent] = ()
    interests: Sequence[Interest] = ()
    hidden_item_ids: Sequence[str] = ()
    personalise: bool | None = None
    train: bool | None = None


class Item(Protocol):
    """An item as the library hands it over; whatever carries it has at least these, and goes onto the page as it is."""

    item_id: str
    title: str
    category: str
    publisher: str
    domain: str
    language: str


class Candidate(NamedTuple):
    """An item that may go on the page.

    What every rule reads lies here; the rest stays in `item`. `published_at` in unix seconds; `retrieval_score` and
    `popularity` lie in 0..1; `anchor_item_id` is the item of the history it is near to, or ""; `nearness` in 0..1 is
    the nearest source's score, None where it did not find it. A tuple, since two hundred are made per request.
    """

    item_id: str
    category: str
    publisher: str
    published_at: float | None
    sources: Sequence[Source]
    retrieval_score: float
    popularity: float
    anchor_item_id: str
    item: Item
    filler: bool = False
    nearness: float | None = None


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """What the caller wants to see; empty fields do not filter. `max_age_s` in seconds."""

    include_categories: frozenset[str] = frozenset()
    exclude_categories: frozenset[str] = frozenset()
    languages: tuple[str, ...] = ()
    domains: frozenset[str] = frozenset()
    max_age_s: float | None = None
    strict: bool = False

    @property
    def empty(self) -> bool:
        """Whether every item passes."""
        return not (
            self.include_categories or self.exclude_categories or self.languages or self.domains or self.max_age_s
        )

    def passes(self, candidate: Candidate, now: float) -> bool:
        """Whether a candidate passes at a time (unix seconds); the same rule as the library's."""
        category, item = candidate.category, candidate.item
        if self.include_categories and category not in self.include_categories:
            return False
        if category in self.exclude_categories or (self.domains and item.domain not in self.domains):
            return False
        if self.languages and item.language:
            tag = item.language.lower()
            if not any(tag == wanted or tag.startswith(wanted + "-") for wanted in self.languages):
                return False
        if self.max_age_s is not None:
            return candidate.published_at is not None and now - candidate.published_at <= self.max_age_s
        return True


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What the library found. `history_items` are the known items of the history, in its order."""

    candidates: Sequence[Candidate]
    history_items: Sequence[Item] = ()
    index_version: str = ""
    removed: Mapping[str, int] = field(default_factory=dict)
    compute_s: float | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model said: `probabilities[i][a]` of candidate i for action a; None = that one was not scored.

    `blended`: the first action's are a fusion's, which has weighed the signals named in `weighed` already.
    """

    actions: Sequence[str]
    probabilities: Sequence[Sequence[float] | None]
    model_version: str
    calibrated: bool
    compute_s: float
    blended: bool = False
    weighed: frozenset[str] = frozenset()


class Scored(NamedTuple):
    """A candidate with its score (0..1) and the parts it was made of; see fusion.py.

    `probabilities` are those of the model's actions, in their order; empty when no model scored it. `blended` as in
    Scores.
    """

    candidate: Candidate
    score: float
    probabilities: Sequence[float]
    freshness: float
    interest: float
    blended: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """A scored candidate in its place; `position` counts from 1 over all pages of a recommendation."""

    scored: Scored
    position: int
    diversity_factor: float


@dataclass(frozen=True, slots=True)
class PlacedSection:
    """A block of the page."""

    id: str
    title: str
    items: Sequence[Placed]
    anchor_item_id: str = ""


@dataclass(frozen=True, slots=True)
class Degradation:
    """A stage that did not work, and what took its place."""

    stage: Stage
    cause: Cause
    fallback: str


@dataclass(frozen=True, slots=True)
class StageTime:
    """Time of a stage in seconds, and of that what the service says it worked for."""

    stage: Stage
    elapsed_s: float
    compute_s: float | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page, ready to be written."""

    recommendation_id: str
    sections: Sequence[PlacedSection]
    items_by_id: Mapping[str, Item]
    profile: Profile
    model_version: str
    actions: Sequence[str]
    calibrated: bool
    index_version: str
    degraded: Sequence[Degradation]
    removed: Mapping[str, int]
    timings: Sequence[StageTime]
    more: bool
    train: bool | None
