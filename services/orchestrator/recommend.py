"""The way of one request: profile, candidates, scores, page. Every stage may fail; the page goes on without it.

The stages wait for one another because each needs what the one before found. Nothing is written here.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from services.orchestrator.budget import Budget
from services.orchestrator.fallback import PopularFallback
from services.orchestrator.fusion import FusionWeights, fuse, normalised
from services.orchestrator.sections import PageShape, lay_out
from services.orchestrator.slate import (
    Candidate,
    Cause,
    Degradation,
    HistoryEvent,
    Item,
    ItemFilter,
    Page,
    Profile,
    Retrieved,
    Scores,
    Stage,
    StageError,
    StageTime,
    User,
)
from shared.clock import Clock

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Ask:
    """A valid request for a page. `now` in unix seconds, `ends` in monotonic seconds.

    `recommendation_id`, `shown` (item ids of earlier pages) and `first_position` come from the page token, if any.
    """

    user: User
    surface: str
    size: int
    now: float
    ends: float
    recommendation_id: str
    shown: Sequence[str] = ()
    recent: Sequence[HistoryEvent] = ()
    exclude: Sequence[str] = ()
    filter: ItemFilter = field(default_factory=ItemFilter)
    attenuation: float = 0.85
    freshness: float = 0.25
    personalise: bool | None = None
    train: bool | None = None

    @property
    def narrowed(self) -> bool:
        """Whether the request itself leaves items out."""
        return bool(self.shown or self.exclude) or not self.filter.empty


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of the library; `history` newest first."""

    history: Sequence[HistoryEvent]
    exclude: Sequence[str]
    filter: ItemFilter
    now: float
    count: int


class Profiles(Protocol):
    """The profile service. Raises StageError."""

    async def get(self, user: User, now: float, limit_s: float) -> Profile:
        """The user's profile; an empty one for a new user."""


class Library(Protocol):
    """The retrieval service. Raises StageError."""

    async def retrieve(self, query: Query, limit_s: float) -> Retrieved:
        """Candidates and the history's items."""


class Ranker(Protocol):
    """The ranker service. Raises StageError."""

    async def rank(
        self,
        surface: str,
        history: Sequence[tuple[Item, HistoryEvent]],
        candidates: Sequence[Candidate],
        now: float,
        limit_s: float,
    ) -> Scores:
        """Probabilities for the candidates, in their order; `now` in unix seconds."""


@dataclass(frozen=True, slots=True)
class Upstreams:
    """The services a page is made from."""

    profiles: Profiles
    library: Library
    ranker: Ranker


@dataclass(frozen=True, slots=True)
class Rules:
    """How pages are put together; `version` follows from the content."""

    weights: FusionWeights = field(default_factory=FusionWeights)
    budget: Budget = field(default_factory=Budget)
    candidates: int = 200
    history: int = 200
    ranked_history: int = 50
    """Items of the history that the ranker is shown, each once, with the last act; models read less than that."""
    most_shown: int = 1000

    @property
    def version(self) -> str:
        """Eight hexadecimal digits that change with any rule."""
        return hashlib.blake2b(repr(self).encode(), digest_size=4).hexdigest()


class NothingToShowError(Exception):
    """No item at all could be put on the page."""


class _Journey:
    """What happened to one request so far: times, and what went wrong."""

    def __init__(self, ask: Ask, budget: Budget, clock: Clock) -> None:
        self._ends = ask.ends
        self._budget = budget
        self._clock = clock
        self.degraded: list[Degradation] = []
        self.timings: list[StageTime] = []

    async def attempt(
        self, stage: Stage, fallback: str, begin: Callable[[float], Awaitable[_Answer]]
    ) -> _Answer | None:
        """Runs a stage within its share of the time; None, and a note of it, when it does not work."""
        started = self._clock.monotonic()
        limit = self._budget.of(stage, self._ends - started)
        answer: _Answer | None = None
        try:
            if limit is None:
                raise StageError(Cause.NO_TIME)
            answer = await begin(limit)
        except StageError as error:
            self.degraded.append(Degradation(stage, error.cause, fallback))
        self.note(stage, started, getattr(answer, "compute_s", None))
        return answer

    def failed(self, stage: Stage) -> bool:
        """Whether the stage has failed at least once."""
        return any(degradation.stage is stage for degradation in self.degraded)

    def note(self, stage: Stage, started: float, compute_s: float | None = None) -> None:
        """Adds the time a stage took; a stage that ran twice is added up."""
        elapsed = self._clock.monotonic() - started
        for index, earlier in enumerate(self.timings):
            if earlier.stage is stage:
                told = [each for each in (earlier.compute_s, compute_s) if each is not None]
                compute = sum(told) if told else None
                self.timings[index] = StageTime(stage, earlier.elapsed_s + elapsed, compute)
                return
        self.timings.append(StageTime(stage, elapsed, compute_s))


class Recommender:
    """Makes pages."""

    def __init__(self, upstreams: Upstreams, fallback: PopularFallback, rules: Rules, clock: Clock) -> None:
        self._upstreams = upstreams
        self._fallback = fallback
        self.rules = rules
        self._clock = clock

    async def page(self, ask: Ask) -> Page:
        """One page; see Page.

        Raises:
            NothingToShowError: when there is no item at all. That nothing matches what the request asks for is no
                error, but a page without sections.
        """
        journey = _Journey(ask, self.rules.budget, self._clock)
        profile = await self._profile(ask, journey)
        personalise = ask.personalise if ask.personalise is not None else profile.personalise
        history = _merged(ask.recent, profile.history, self.rules.history) if personalise is not False else []
        interests = normalised(profile.interests) if personalise is not False else {}
        retrieved = await self._candidates(ask, profile, history, journey)
        known = {item.item_id: item for item in retrieved.history_items}
        scores = await self._scores(ask, history, known, retrieved.candidates, journey)

        started = self._clock.monotonic()
        weights = replace(self.rules.weights, freshness=ask.freshness)
        if scores is not None and scores.blended:
            weights, interests = weights.beside_fusion(self.rules.weights, scores.weighed), {}
        scored = fuse(retrieved.candidates, scores, interests, weights, ask.now)
        sections = lay_out(scored, known, _shape(ask, known_user=bool(history)))
        if not sections and (journey.failed(Stage.RETRIEVAL) or not ask.narrowed):
            raise NothingToShowError
        journey.note(Stage.ASSEMBLY, started)
        placed = sum(len(section.items) for section in sections)
        more = placed < len(scored) and len(ask.shown) + placed < self.rules.most_shown
        return Page(
            recommendation_id=ask.recommendation_id,
            sections=sections,
            items_by_id=known,
            profile=profile,
            model_version=scores.model_version if scores else "",
            actions=scores.actions if scores else (),
            calibrated=bool(scores and scores.calibrated),
            index_version=retrieved.index_version,
            degraded=journey.degraded,
            removed=retrieved.removed,
            timings=journey.timings,
            more=more,
            train=ask.train if ask.train is not None else profile.train,
        )

    async def _profile(self, ask: Ask, journey: _Journey) -> Profile:
        if ask.personalise is False:
            return Profile()  # the caller said not to use it, so it is not even read
        found = await journey.attempt(
            Stage.PROFILE,
            "request_events",
            lambda limit: self._upstreams.profiles.get(ask.user, ask.now, limit),
        )
        return found or Profile()

    async def _candidates(
        self, ask: Ask, profile: Profile, history: Sequence[HistoryEvent], journey: _Journey
    ) -> Retrieved:
        exclude = list(dict.fromkeys([*ask.exclude, *ask.shown, *profile.hidden_item_ids]))
        query = Query(history, exclude, ask.filter, ask.now, self.rules.candidates)
        answer = await self._ask_library(query, journey)
        found = answer or self._fallback.retrieve(query)
        missing = ask.size - len(found.candidates)
        if missing <= 0 or ask.filter.strict or ask.filter.empty:
            return found
        # Too few match: the rest of the page is filled with what does not.
        have = [*exclude, *(candidate.item_id for candidate in found.candidates)]
        wider = Query(history, have, ItemFilter(), ask.now, missing)
        more = await self._ask_library(wider, journey) if answer else None
        more = more or self._fallback.retrieve(wider)
        fillers = [candidate._replace(filler=True) for candidate in more.candidates]
        return replace(found, candidates=[*found.candidates, *fillers])

    async def _ask_library(self, query: Query, journey: _Journey) -> Retrieved | None:
        return await journey.attempt(
            Stage.RETRIEVAL, "last_popular", lambda limit: self._upstreams.library.retrieve(query, limit)
        )

    async def _scores(
        self,
        ask: Ask,
        history: Sequence[HistoryEvent],
        known: Mapping[str, Item],
        candidates: Sequence[Candidate],
        journey: _Journey,
    ) -> Scores | None:
        if not candidates:
            return None
        last_acts: dict[str, HistoryEvent] = {}
        for event in history:
            if event.item_id in known:
                last_acts.setdefault(event.item_id, event)
        texts = [(known[item_id], event) for item_id, event in last_acts.items()][: self.rules.ranked_history]
        return await journey.attempt(
            Stage.RANKING,
            "source_order",
            lambda limit: self._upstreams.ranker.rank(ask.surface, texts, candidates, ask.now, limit),
        )


def _shape(ask: Ask, *, known_user: bool) -> PageShape:
    return PageShape(
        size=ask.size,
        first_position=len(ask.shown) + 1,
        first_page=not ask.shown,
        attenuation=ask.attenuation,
        known_user=known_user,
    )


def _merged(recent: Sequence[HistoryEvent], stored: Sequence[HistoryEvent], most: int) -> list[HistoryEvent]:
    """Both histories as one, newest first, each act once."""
    acts = dict.fromkeys((*recent, *stored))
    return sorted(acts, key=lambda event: (-event.time, event.item_id, event.action.name))[:most]
