"""How much a user cares for a category: decayed sums that are exact and cost one multiplication to keep.

An interest is the sum over events of `weight * 2^(-age / half-life)`. All terms of such a sum decay at one rate, so the
sum as of one moment gives the sum as of any later moment by one multiplication; an event older than the sum is added
with the decay it has had by then. The order in which events arrive does not matter (forward decay: Cormode et al.,
"Forward decay: a practical time decay model for streaming systems", ICDE 2009).
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from services.profile.events import Event
from shared.action import Action

WEIGHTS_EDITION = 1
"""Raise it with every change of a weight: stores then sum up their log anew."""

_WEIGHTS = {
    Action.VIEW: 0.5,
    Action.CLICK: 1.0,
    Action.LIKE: 3.0,
    Action.DISLIKE: -3.0,
    Action.HIDE: -5.0,
    Action.PURCHASE: 5.0,
    Action.COMMENT: 2.0,
    Action.SHARE: 3.0,
}
_LONGEST_DWELL = 2.0
_MIDDLE_RATING = 2.5


@dataclass(frozen=True, slots=True)
class HalfLives:
    """Times after which an event counts half, in seconds."""

    short_s: float = 86_400.0
    long_s: float = 30 * 86_400.0

    @property
    def edition(self) -> str:
        """Names the rule that sums were made by; sums of another edition are of no use."""
        return f"{WEIGHTS_EDITION}/{self.short_s!r}/{self.long_s!r}"


@dataclass(frozen=True, slots=True)
class Interest:
    """Both sums of a category as of `as_of` (unix seconds), which is the time of its newest event or later."""

    category: str
    as_of: float
    short_term: float
    long_term: float

    @property
    def strength(self) -> float:
        """How telling it is, for or against."""
        return abs(self.short_term) + abs(self.long_term)


def weight(event: Event) -> float:
    """What an event says of the user's liking: dwelling counts by the minute up to two, a rating from its middle."""
    if event.action is Action.DWELL:
        return min(event.value / 60.0, _LONGEST_DWELL)
    if event.action is Action.RATE:
        return event.value - _MIDDLE_RATING
    return _WEIGHTS[event.action]


def moved(interest: Interest, now: float, half_lives: HalfLives) -> Interest:
    """The same sums as of `now`; a `now` before `as_of` changes nothing: what lies ahead has age 0."""
    age = now - interest.as_of
    if age <= 0:
        return interest
    short_term = interest.short_term * _decay(age, half_lives.short_s)
    return Interest(interest.category, now, short_term, interest.long_term * _decay(age, half_lives.long_s))


def added(interest: Interest | None, event: Event, half_lives: HalfLives) -> Interest:
    """The sums with one more event of the same category, as of the newer of the two times."""
    if interest is None:
        interest = Interest(event.category, event.time, 0.0, 0.0)
    sums = moved(interest, event.time, half_lives)
    age = sums.as_of - event.time
    worth = weight(event)
    short_term = sums.short_term + worth * _decay(age, half_lives.short_s)
    return Interest(sums.category, sums.as_of, short_term, sums.long_term + worth * _decay(age, half_lives.long_s))


def strongest(interests: Iterable[Interest], now: float, half_lives: HalfLives, most: int) -> list[Interest]:
    """As of `now`, the strongest first, for or against; equals by name. At most `most`."""
    current = (moved(interest, now, half_lives) for interest in interests)
    return heapq.nsmallest(most, current, key=lambda interest: (-interest.strength, interest.category))


def _decay(age_s: float, half_life_s: float) -> float:
    return float(2.0 ** (-age_s / half_life_s))
