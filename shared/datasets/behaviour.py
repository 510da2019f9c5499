"""The users of the generated world and what they click. `generated.py` states the model in words; here it is
computed, one user at a time, each from a random stream of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp

from shared.datasets.catalogue import DAY_S, DOMAINS, Domain, Shelf, Work
from shared.datasets.draws import Draws, total
from shared.datasets.records import Action, Candidate, HistoryEntry, Impression, Interaction
from shared.datasets.vocabulary import TOPICS

HISTORY_LENGTH = 50  # clicks
TASTE_SLOTS, POPULAR_SLOTS = 0.4, 0.3  # shares of a slate; the rest is drawn from everything
DRIFTING_USERS, CURIOUS_USERS = 0.3, 0.25  # shares of users; the rest stay as they are
NEW_INTEREST_DAYS = 8.0
NEW_INTEREST_WEIGHT = 0.5
ATTENTION_DECAY = 0.12
LONGEST_STEP_S = 400.0  # between one click and the next: upper bound, dwell included
# Share of sessions that start in each hour, UTC: quiet nights, a lunch break, busy evenings.
HOURS = (1, 1, 1, 1, 1, 2, 4, 7, 7, 5, 4, 5, 8, 7, 5, 4, 5, 6, 8, 10, 11, 10, 6, 3)
LOW_RELEVANCE = 0.1

Taste = Mapping[str, float]  # topic key -> weight, summing to 1


def position_bias(position: int) -> float:
    """How likely the place (1 is first) is looked at: 1, 0.89, 0.81, ... 0.48 for the tenth."""
    return 1.0 / (1.0 + ATTENTION_DECAY * (position - 1))


def relevance(taste: Taste, work: Work) -> float:
    """Taste times topics, saturating: from 0 (nothing in common) towards 1."""
    overlap = total(taste.get(topic, 0.0) * weight for topic, weight in work.topics)
    return overlap / (overlap + 0.12)


@dataclass(frozen=True, slots=True)
class Person:
    """A user's hidden side. The taste moves linearly from `early` to `late` over the period, and in the
    last days `new_interest` takes its share, where there is one."""

    user_id: str
    early: Taste
    late: Taste
    new_interest: str  # a topic key; empty for none
    domains: tuple[float, ...]  # weights in the order of DOMAINS, summing to 1

    def taste_at(self, progress: float, days_left: float) -> Taste:
        """The taste when `progress` of the period in [0, 1] has passed and `days_left` days are left."""
        if self.early is self.late and not self.new_interest:
            return self.early
        taste = {topic: weight * (1.0 - progress) for topic, weight in self.early.items()}
        for topic, weight in self.late.items():
            taste[topic] = taste.get(topic, 0.0) + weight * progress
        if self.new_interest and days_left <= NEW_INTEREST_DAYS:
            taste = {topic: weight * (1.0 - NEW_INTEREST_WEIGHT) for topic, weight in taste.items()}
            taste[self.new_interest] = taste.get(self.new_interest, 0.0) + NEW_INTEREST_WEIGHT
        return taste


def make_person(draws: Draws, user_id: str) -> Person:
    """A user with two to five topics, favourite domains, and for some a taste that changes."""
    early = _sparse_taste(draws)
    fate = draws.uniform()
    late = _sparse_taste(draws) if fate < DRIFTING_USERS else early
    curious = DRIFTING_USERS <= fate < DRIFTING_USERS + CURIOUS_USERS
    new_interest = draws.pick([topic.key for topic in TOPICS if topic.key not in early]) if curious else ""
    weights = [0.15 + draws.low() for _ in DOMAINS]
    weights[DOMAINS.index("ads")] *= 0.3
    whole = total(weights)
    return Person(user_id, early, late, new_interest, tuple(weight / whole for weight in weights))


def _sparse_taste(draws: Draws) -> Taste:
    chosen = draws.distinct(2 + draws.below(4), [topic.key for topic in TOPICS])
    weights = [0.1 + draws.low() for _ in chosen]
    whole = total(weights)
    return {topic: weight / whole for topic, weight in zip(chosen, weights, strict=True)}


@dataclass(frozen=True, slots=True)
class Shelves:
    """The catalogue as slates draw from it."""

    everything: Shelf
    by_appeal: tuple[Work, ...]  # most appealing first
    by_topic: Mapping[tuple[str, str], Shelf]  # (topic key, domain)

    @staticmethod
    def of(works: Sequence[Work]) -> "Shelves":
        groups: dict[tuple[str, str], list[Work]] = {}
        for work in works:
            groups.setdefault((work.topics[0][0], work.item.domain), []).append(work)
        return Shelves(
            Shelf.of(works),
            tuple(sorted(works, key=lambda work: (-work.appeal, work.item.item_id))),
            {key: Shelf.of(group) for key, group in groups.items()},
        )


@dataclass(frozen=True, slots=True)
class Period:
    """The time in which users come by, and how."""

    now: float  # unix seconds
    days: float
    sessions: float  # mean per user over the period
    slate_size: int
    world: str  # prefix of every id, different for each configuration


@dataclass(slots=True)
class Diary:
    """One user's life in the period: what was shown and what was done, oldest first."""

    person: Person
    draws: Draws
    shelves: Shelves
    period: Period
    interactions: list[Interaction] = field(default_factory=list)
    impressions: list[Impression] = field(default_factory=list)
    clicks: list[HistoryEntry] = field(default_factory=list)
    clicked: set[str] = field(default_factory=set)
    clock: float = 0.0

    def live(self) -> None:
        """All sessions of the period."""
        latest = self.period.now - self.period.slate_size * LONGEST_STEP_S - 60.0
        for start in self._session_starts():
            begin = max(start, self.clock + 60.0)
            if begin <= latest:
                self._session(begin)

    def _session_starts(self) -> list[float]:
        # Squared: many light users and a few heavy ones, with the mean that was asked for.
        count = 1 + int(self.period.sessions * (0.25 + 2.25 * self.draws.low()))
        opening = self.period.now - self.period.days * DAY_S
        starts = []
        for _ in range(count):
            day, hour = self.draws.below(int(self.period.days)), self.draws.weighted(range(24), HOURS)
            # Hours count from the period's start, which is `now`'s hour of the day.
            offset = (hour - int(opening % DAY_S // 3600)) % 24
            starts.append(opening + day * DAY_S + offset * 3600.0 + self.draws.below(3600))
        return sorted(starts)

    def _session(self, start: float) -> None:
        days_left = (self.period.now - start) / DAY_S
        taste = self.person.taste_at(1.0 - days_left / self.period.days, days_left)
        slate = self._slate(taste, start)
        history = tuple(self.clicks[-HISTORY_LENGTH:])
        self.clock = start
        candidates = tuple(
            Candidate(work.item.item_id, 1 if self._react(taste, work, position) else 0, position)
            for position, work in enumerate(slate, start=1)
        )
        if candidates:
            name = f"{self.period.world}-{self.person.user_id}-slate-{len(self.impressions):03d}"
            self.impressions.append(Impression(name, self.person.user_id, start, history, candidates))

    def _slate(self, taste: Taste, time: float) -> list[Work]:
        """Different works, out by `time` and not clicked before, in random order: place and relevance must
        not go together, or position bias could not be told from taste."""
        chosen: dict[str, Work] = {}
        for _ in range(self.period.slate_size * 3):
            work = self._candidate(taste, time)
            if work is not None and work.item.item_id not in self.clicked:
                chosen[work.item.item_id] = work
            if len(chosen) == self.period.slate_size:
                break
        return self.draws.distinct(len(chosen), list(chosen.values()))

    def _candidate(self, taste: Taste, time: float) -> Work | None:
        kind = self.draws.uniform()
        if kind < TASTE_SLOTS:
            topic = self.draws.weighted(list(taste), list(taste.values()))
            domain: Domain = self.draws.weighted(DOMAINS, self.person.domains)
            shelf = self.shelves.by_topic.get((topic, domain))
        elif kind < TASTE_SLOTS + POPULAR_SLOTS:
            works = self.shelves.by_appeal
            work = works[int(self.draws.low() * self.draws.uniform() * len(works))]
            return work if work.published_at <= time else None
        else:
            shelf, domain = self.shelves.everything, "shop"
        out = shelf.out_at(time) if shelf is not None else 0
        if shelf is None or out == 0:
            return None
        # News is read fresh; the rest keeps.
        place = self.draws.low() if domain == "news" else self.draws.uniform()
        return shelf.works[out - 1 - int(place * out)]

    def _react(self, taste: Taste, work: Work, position: int) -> bool:
        """Whether the user clicks, with everything else the look leads to."""
        liking = relevance(taste, work)
        favour = self.person.domains[DOMAINS.index(_domain_of(work))] - 0.25
        logit = -3.8 + 5.8 * liking + 1.5 * favour + 1.4 * (work.appeal - 0.33) + 0.5 * self.draws.bell()
        # exp() may differ in its last bit between C libraries: met by one draw in 10^16.
        looked = self.draws.uniform() < position_bias(position)
        if looked and self.draws.uniform() < 1.0 / (1.0 + exp(-logit)):
            self._click(work, liking)
            return True
        if looked and liking < LOW_RELEVANCE:
            self._maybe("hide", work, 0.008)
            self._maybe("dislike", work, 0.005)
        return False

    def _click(self, work: Work, liking: float) -> None:
        self.clock += 4.0 + self.draws.below(30)
        self._record("click", work)
        self.clicks.append(HistoryEntry(work.item.item_id, "click", self.clock))
        self.clicked.add(work.item.item_id)
        # Tenths of a second: rounding hides what the last bit of a sum may differ by.
        seconds = round(5.0 + (0.3 + liking) * 180.0 * self.draws.uniform(), 1)
        self.clock += float(int(seconds))
        self._record("dwell", work, seconds)
        self._maybe("like", work, 0.16 * liking)
        self._maybe("share", work, 0.04 * liking)
        self._maybe("comment", work, 0.03 * liking)
        if work.item.price_micros is not None:
            self._maybe("purchase", work, 0.1 * liking, work.item.price_micros / 1_000_000)

    def _maybe(self, action: Action, work: Work, probability: float, value: float = 0.0) -> None:
        if self.draws.uniform() < probability:
            self.clock += 1.0 + self.draws.below(10)
            self._record(action, work, value)

    def _record(self, action: Action, work: Work, value: float = 0.0) -> None:
        event_id = f"{self.period.world}-{self.person.user_id}-{len(self.interactions):04d}"
        user_id, item_id = self.person.user_id, work.item.item_id
        self.interactions.append(Interaction(event_id, user_id, item_id, action, self.clock, value))


def _domain_of(work: Work) -> Domain:
    return next(domain for domain in DOMAINS if domain == work.item.domain)
