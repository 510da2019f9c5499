"""How much all users act on each item, with exponential decay: sum of action weight times 2^(-age / half-life).

Every item has the same half-life, so the order of two items changes only when events arrive, not as time passes.
A sum is therefore kept as the logarithm (base 2) of what it would be at unix time 0, which compares at any moment
and cannot overflow. A late event is counted with its own decay: sums do not depend on the order of events.
"""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from services.retrieval.behaviour import CountedEvent
from services.retrieval.catalogue import Catalogue, Floats, Mask, Rows
from services.retrieval.store import Tally


def counted(tally: Tally | None, event: CountedEvent, half_life_s: float) -> Tally:
    """The sum with one more event."""
    if tally is None:
        return Tally(event.weight, event.time)
    decay = 2.0 ** (-abs(event.time - tally.as_of) / half_life_s)
    if event.time > tally.as_of:
        return Tally(tally.total * decay + event.weight, event.time)
    return Tally(tally.total + event.weight * decay, tally.as_of)


def log_weight(tally: Tally | None, half_life_s: float) -> float:
    """Base-2 logarithm of the sum as of unix time 0; minus infinity for a sum of 0 or less."""
    if tally is None or tally.total <= 0.0:
        return -math.inf
    return math.log2(tally.total) + tally.as_of / half_life_s


@dataclass(frozen=True)
class Popularity:
    """The log weights of a catalogue's rows. Not slotted, because its order is kept."""

    log_weights: Floats
    catalogue: Catalogue

    @cached_property
    def best_first(self) -> Rows:
        """Live rows by weight, then newest, then by the hash of the id; rows nobody acted on come last."""
        columns = self.catalogue.columns
        live = np.flatnonzero(columns.live)
        newness = np.nan_to_num(columns.published[live], nan=-np.inf, neginf=-np.inf)
        return live[np.lexsort((columns.tie[live], -newness, -self.log_weights[live]))]

    def relative(self, rows: Rows, showable: Mask) -> Floats:
        """Popularity of `rows` in relation to the most popular of the `showable` rows, 0 to 1."""
        top = np.max(self.log_weights, where=showable, initial=-np.inf)
        if top == -np.inf:
            return np.zeros(len(rows))
        return np.minimum(np.exp2(self.log_weights[rows] - top), 1.0)


@dataclass(frozen=True, slots=True)
class EventPage:
    """A piece of the event log, and the cursor that goes on after it."""

    events: tuple[CountedEvent, ...]
    next_cursor: str


class EventSource(Protocol):
    """Where events come from. Raises UpstreamError when it cannot be reached."""

    def read(self, cursor: str) -> AsyncIterator[EventPage]:
        """The log from `cursor` on, oldest first, to its present end."""


class EventCounter:
    """Brings popularity up to date with the event log; its `step` is repeated by a Background."""

    def __init__(
        self,
        source: EventSource,
        cursor: Callable[[], str],
        count: Callable[[Sequence[CountedEvent], str], Awaitable[None]],
    ) -> None:
        self._source = source
        self._cursor = cursor
        self._count = count

    async def step(self) -> bool:
        """Counts what is new, page by page, each page for good before the next. Returns False: it has caught up."""
        cursor = self._cursor()
        async for page in self._source.read(cursor):
            if page.events or page.next_cursor != cursor:
                await self._count(page.events, page.next_cursor)
                cursor = page.next_cursor
        return False


def touched(events: Iterable[CountedEvent]) -> tuple[str, ...]:
    """The items that events name, each once."""
    return tuple(dict.fromkeys(event.item_id for event in events))
