"""What calls had no time for: items that were still to be encoded when the deadline passed, done when idle.

A ranker that has just started knows no items; without this every call would encode as many as its deadline allows and
throw the rest away, call after call. They go last of all, so they cost any other call at most one bulk batch.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

from services.ranker.batcher import Batcher
from services.ranker.caches import BoundedLru, ItemKey, KnownItem
from services.ranker.jobs import Job, Outcome, Row, cut
from services.ranker.work import ClosedError, DeviceLostError, Done, OverloadedError, Priority, Urgency
from shared.clock import Clock
from shared.model.ranking_model import RankingModel

_NEAR_S = 0.05
"""A call that ends so shortly before its deadline was ended by it."""
_WANTED_S = 30.0
"""What was not done by then is not wanted any more: those who asked have their pages."""


class Leftovers:
    """Takes them up; owned by one event loop. The batcher's scorer keeps what comes of it."""

    def __init__(self, batcher: Batcher[Job, Outcome], known: BoundedLru[ItemKey, KnownItem], clock: Clock) -> None:
        """`known`: what need not be encoded; others may have done it meanwhile."""
        self._batcher = batcher
        self._known = known
        self._clock = clock
        self._keys: set[ItemKey] = set()
        """Of the rows that wait: many calls may leave the same ones."""

    def take(self, jobs: Sequence[Job], urgency: Urgency, *, late: bool) -> None:
        """Jobs that a call has ended without, if it is its deadline that ended it: then it was dropped as too late, or
        its caller gave up about then. Bulk work is not taken up again."""
        now = self._clock.monotonic()
        if urgency.priority is not Priority.INTERACTIVE or not (late or now >= urgency.deadline - _NEAR_S):
            return
        for model in {id(job.model): job.model for job in jobs}.values():
            rows = [row for job in jobs if job.model is model for row in job.rows]
            self._encode(model, [row for row in rows if row.state is None], now)

    def _encode(self, model: RankingModel, rows: Sequence[Row], now: float) -> None:
        wanted = {row.key: row for row in rows if row.key is not None and not self._has(row.key)}
        limit = self._batcher.limits.of(Priority.LEFTOVER)
        for job in cut(model, list(wanted.values()), None, limit, scores=False):
            try:
                (future,) = self._batcher.submit([job], Urgency(Priority.LEFTOVER, now + _WANTED_S))
            except (OverloadedError, ClosedError, DeviceLostError):
                return
            keys = {row.key for row in job.rows if row.key is not None}
            self._keys |= keys
            future.add_done_callback(partial(self._done, keys))

    def _has(self, key: ItemKey) -> bool:
        return key in self._keys or key in self._known

    def _done(self, keys: set[ItemKey], future: asyncio.Future[Done[Outcome]]) -> None:
        self._keys -= keys
        if not future.cancelled():
            future.exception()  # nobody waits for it; without a look asyncio would complain
