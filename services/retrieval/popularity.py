"""How much all users act on each item, with exponential decay: sum of action weight times 2^(-age / half-life).

Every item has the same half-life, so the order of two items changes only when events arrive, not as time passes.
A sum is therefore kept as the logarithm (base 2) of what it would be at unix time 0, which compares at any moment
and cannot overflow. A late event is counted with its own decay: sums do not depend on the order of events.
"""

import logging
import math
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from services.retrieval.behaviour import CountedEvent
from services.retrieval.catalogue import Catalogue, Floats, Mask, Rows
from services.retrieval.store import Progress, Tally

log = logging.getLogger(__name__)

_FADED = 0.001
"""What a sum is worth when nobody would miss it: a thousandth of a click."""


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


def faded(tallies: Mapping[str, Tally], half_life_s: float) -> Iterator[str]:
    """The items whose sums, for or against, have decayed to nothing by the time of the newest event."""
    newest = max((tally.as_of for tally in tallies.values()), default=0.0)
    for item_id, tally in tallies.items():
        if abs(tally.total) * 2.0 ** (-(newest - tally.as_of) / half_life_s) < _FADED:
            yield item_id


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


class CountsMovedError(Exception):
    """Another replica has counted on, or anew, meanwhile: what was to be counted does not follow; it was not."""


class UnknownCursorError(Exception):
    """The cursor is not one of the log: it is another log than the one that was counted so far."""


class EventSource(Protocol):
    """Where events come from."""

    def read(self, cursor: str) -> AsyncGenerator[EventPage, None]:
        """The log from `cursor` on, oldest first, to its present end. Raises UpstreamError or UnknownCursorError."""


class Counts(Protocol):
    """The library as far as counting goes."""

    @property
    def progress(self) -> Progress:
        """See Library.progress."""

    async def follow(self) -> None:
        """See Library.follow."""

    async def count(self, page: EventPage, after: Progress) -> Progress:
        """See Library.count."""

    async def forget_counts(self, after: Progress) -> None:
        """See Library.forget_counts."""


class EventCounter:
    """Brings popularity up to date with the event log; its `step` is repeated by a Background."""

    def __init__(self, source: EventSource, counts: Counts) -> None:
        self._source = source
        self._counts = counts

    async def step(self) -> bool:
        """Counts what is new, page by page, each page for good before the next; True when it has to start over."""
        await self._counts.follow()
        at = self._counts.progress
        try:
            return await self._count_from(at)
        except CountsMovedError:
            return False  # another replica is at it, and what it leaves is there at the next look

    async def _count_from(self, at: Progress) -> bool:
        try:
            async with aclosing(self._source.read(at.cursor)) as pages:
                async for page in pages:
                    if page.events or page.next_cursor != at.cursor:
                        at = await self._counts.count(page, at)
        except UnknownCursorError:
            if not at.cursor:
                raise
            # The events of the new log are new facts; the sums of the lost one have nothing to do with them.
            await self._counts.forget_counts(at)
            log.warning("the event log is another one now: counting popularity from its beginning")
            return True
        return False
