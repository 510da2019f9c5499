"""Shares one device among calls: one event loop owns the queue, jobs come in, one task cuts batches out, no locks.

A batch is cut by tokens, not by calls: the earliest deadline first inside a priority, interactive before bulk before
leftovers, never two of them in one batch. All but interactive batches are small, so an interactive call waits for at
most one of them; and a bulk batch is cut among so many interactive ones as fill the queue, so that no load starves
bulk work for ever. While the device is busy the next batch fills; nothing ever waits for company. Work whose caller
has gone or whose deadline cannot be met is dropped before it is computed. Health follows real forward passes: the
batches, and a probe when there are none; one that does not come back in time means that the device hangs.
Knows neither gRPC nor models: a `Scorer` computes, and `Salvage` keeps one bad job from failing its neighbours.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from heapq import heapify, heappop, heappush
from typing import Generic, Literal, Protocol, TypeVar

from services.ranker.salvage import Salvage, answers
from services.ranker.speed import Speed
from services.ranker.work import (
    BatchFailedError,
    BatchLimits,
    ClosedError,
    DeadlinePassedError,
    DeviceLostError,
    Done,
    Job,
    OverloadedError,
    Priority,
    Result,
    Scorer,
    Urgency,
)
from shared.clock import Clock
from shared.logs import FIELDS

log = logging.getLogger(__name__)

T = TypeVar("T")

DropCause = Literal["cancelled", "deadline", "overload", "closed"]
_LEAST_RETRY_S, _MOST_RETRY_S = 0.05, 5.0
CLEAN_BATCHES = 200
"""After so many in a row that had memory enough, a lowered budget is doubled."""

PASSED_OVER = 64
"""So many interactive batches may go before a bulk batch that waits: a full queue holds about as many, or more."""


class BatchObserver(Protocol):
    """Told what happens, for metrics. Called on the event loop."""

    def queue_changed(self, tokens: int, jobs: int) -> None:
        """What waits now."""

    def batch_cut(self, tokens: int, limit: int) -> None:
        """A batch of so many tokens, out of so many it might have had, goes to the device."""

    def work_dropped(self, cause: DropCause) -> None:
        """A job was dropped before it was computed; for "overload", a whole call. Not told of leftovers."""

    def items_failed(self, count: int) -> None:
        """So many items failed even alone."""

    def budget_changed(self, tokens: int) -> None:
        """The device ran out of memory, or has not for long: interactive batches have at most so many tokens now."""

    def health_changed(self, healthy: bool) -> None:
        """The device stopped or began to answer. It is taken to answer when the batcher starts."""


@dataclass(slots=True, eq=False)
class _Entry(Generic[Job, Result]):
    """A job in the queue. Ordered by deadline, then arrival."""

    job: Job
    tokens: int
    urgency: Urgency
    arrival: int
    future: asyncio.Future[Done[Result]] = field(repr=False)

    def __lt__(self, other: "_Entry[Job, Result]") -> bool:
        return (self.urgency, self.arrival) < (other.urgency, other.arrival)

    def fail(self, error: Exception) -> None:
        """Unless the caller has gone."""
        if not self.future.done():
            self.future.set_exception(error)


class Batcher(Generic[Job, Result]):
    """`start`, then `submit` from the same event loop, then `drain`."""

    def __init__(self, scorer: Scorer[Job, Result], limits: BatchLimits, clock: Clock, observer: BatchObserver) -> None:
        self._scorer = scorer
        self._limits = self._given = limits
        self._clean_batches = 0
        self._passed_over = 0
        self._clock = clock
        self._observer = observer
        self._wake = asyncio.Event()
        # One heap per priority. What was cancelled stays in until it comes up or piles up.
        self._queues: dict[Priority, list[_Entry[Job, Result]]] = {priority: [] for priority in sorted(Priority)}
        self._waiting: set[_Entry[Job, Result]] = set()
        self._waiting_tokens = dict.fromkeys(self._queues, 0)
        self._computing: list[_Entry[Job, Result]] = []
        self._arrivals = 0
        self._speed = Speed()
        self._healthy = True
        self._hangs = False
        self._closed = True
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ranker-compute")

    @property
    def limits(self) -> BatchLimits:
        """The limits now; a device that ran out of memory has lowered them for a while."""
        return self._limits

    def resize(self, interactive_tokens: int, bulk_tokens: int) -> None:
        """Sets the budgets of the batches to come."""
        self._limits = replace(self._limits, interactive_tokens=interactive_tokens, bulk_tokens=bulk_tokens)
        self._given = self._limits

    def start(self) -> None:
        """Begins to take work."""
        self._closed = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name="batcher")

    def submit(self, jobs: Sequence[Job], urgency: Urgency) -> list[asyncio.Future[Done[Result]]]:
        """Queues all jobs of a call, or none; cancel a future to take its job back.

        Raises:
            OverloadedError: when the queue has no room; a call of any size is taken while nothing waits before it.
                Bulk work may fill half of the queue, leftovers an eighth. None takes room from what goes before it,
                so that no amount of it refuses more urgent work.
            DeviceLostError: while the device hangs.
            ClosedError: after `drain` began.
        The futures raise DeadlinePassedError, BatchFailedError (DeviceLostError when the device was found dead) or,
        when a drain runs out of time, ClosedError.
        """
        if self._closed:
            raise ClosedError
        if self._hangs:
            raise DeviceLostError
        entries = [self._entry(job, urgency) for job in jobs]
        tokens = sum(entry.tokens for entry in entries)
        ahead = sum(self._waiting_tokens[priority] for priority in self._queues if priority <= urgency.priority)
        if ahead and ahead + tokens > self._limits.queue_of(urgency.priority):
            self._tell_drop(urgency.priority, "overload")
            raise OverloadedError(min(max(self._speed.expected_s(ahead), _LEAST_RETRY_S), _MOST_RETRY_S))
        self._waiting.update(entries)
        for entry in entries:
            heappush(self._queues[urgency.priority], entry)
        self._change_waiting(urgency.priority, tokens)
        self._wake.set()
        return [entry.future for entry in entries]

    async def drain(self, grace_s: float) -> None:
        """Takes no more and finishes what callers wait for, for at most `grace_s` seconds; refuses what is left then.

        A batch that is still being computed then is abandoned; its thread is not waited for.
        """
        self._closed = True
        for entry in [*self._waiting]:
            if entry.urgency.priority is Priority.LEFTOVER:
                self._drop(entry, "closed", ClosedError())
        self._wake.set()
        try:
            if self._task is not None:
                await asyncio.wait([self._task], timeout=grace_s)
        finally:
            if self._task is not None:
                self._task.cancel()
            for entry in [*self._waiting]:
                self._drop(entry, "closed", ClosedError())
            for entry in self._computing:
                entry.fail(ClosedError())
            self._thread.shutdown(wait=False)

    def _entry(self, job: Job, urgency: Urgency) -> _Entry[Job, Result]:
        self._arrivals += 1
        future: asyncio.Future[Done[Result]] = asyncio.get_running_loop().create_future()
        entry = _Entry(job, self._scorer.tokens(job), urgency, self._arrivals, future)
        future.add_done_callback(partial(self._gone, entry))
        return entry

    def _gone(self, entry: _Entry[Job, Result], _: asyncio.Future[Done[Result]]) -> None:
        """A future is done; if its job is still waiting, the caller cancelled it."""
        if entry in self._waiting:
            self._leave(entry)
            self._tell_drop(entry.urgency.priority, "cancelled")
            if sum(map(len, self._queues.values())) > 2 * len(self._waiting):
                self._sweep()

    def _drop(self, entry: _Entry[Job, Result], cause: DropCause, error: Exception) -> None:
        self._leave(entry)
        self._tell_drop(entry.urgency.priority, cause)
        entry.fail(error)

    def _tell_drop(self, priority: Priority, cause: DropCause) -> None:
        if priority is not Priority.LEFTOVER:
            self._observer.work_dropped(cause)

    def _leave(self, entry: _Entry[Job, Result]) -> None:
        self._waiting.remove(entry)
        self._change_waiting(entry.urgency.priority, -entry.tokens)

    def _change_waiting(self, priority: Priority, tokens: int) -> None:
        self._waiting_tokens[priority] += tokens
        self._observer.queue_changed(sum(self._waiting_tokens.values()), len(self._waiting))

    async def _run(self) -> None:
        while await self._work_comes():
            batch = self._cut()
            if batch:
                await self._compute(batch)

    async def _work_comes(self) -> bool:
        """Waits while nothing is queued, and probes. False = closed and empty."""
        while not (any(self._queues.values()) or self._closed):
            self._wake.clear()
            try:
                async with asyncio.timeout(self._limits.probe_s(self._healthy)):
                    await self._wake.wait()
            except TimeoutError:
                self._set_health(await self._on_thread(partial(answers, self._scorer)))
        return any(self._queues.values())

    def _cut(self) -> list[_Entry[Job, Result]]:
        """The next batch; empty when all that waited was dropped."""
        heads = {priority: self._head(queue) for priority, queue in self._queues.items()}
        priority = self._turn({priority for priority, head in heads.items() if head})
        queue, limit = self._queues[priority], self._limits.of(priority)
        batch: list[_Entry[Job, Result]] = []
        tokens = 0
        while (entry := self._head(queue, tokens)) and (not batch or tokens + entry.tokens <= limit):
            self._leave(heappop(queue))
            batch.append(entry)
            tokens += entry.tokens
        return batch

    def _turn(self, waiting: set[Priority]) -> Priority:
        """Whose turn it is among those that wait; leftovers' only when nothing else does."""
        if Priority.BULK not in waiting:
            self._passed_over = 0
            return min(waiting, default=Priority.INTERACTIVE)
        if Priority.INTERACTIVE not in waiting or self._passed_over >= PASSED_OVER:
            self._passed_over = 0
            return Priority.BULK
        self._passed_over += 1
        return Priority.INTERACTIVE

    def _sweep(self) -> None:
        """Throws out what was cancelled; called when that is more than half, so it costs little per job."""
        for queue in self._queues.values():
            queue[:] = [entry for entry in queue if entry in self._waiting]
            heapify(queue)

    def _head(self, queue: list[_Entry[Job, Result]], ahead: int = 0) -> _Entry[Job, Result] | None:
        """The most urgent entry that is of use in a batch that has `ahead` tokens; drops those before it."""
        now = self._clock.monotonic()
        while queue:
            entry = queue[0]
            if not entry.future.done():
                if entry.urgency.deadline > now + self._speed.least_s(ahead + entry.tokens, now):
                    return entry
                self._drop(entry, "deadline", DeadlinePassedError())
            heappop(queue)
        return None

    async def _compute(self, batch: list[_Entry[Job, Result]]) -> None:
        """One batch on the worker thread; whatever goes wrong stays inside it."""
        tokens = sum(entry.tokens for entry in batch)
        limit = self._limits.of(batch[0].urgency.priority)
        salvage = Salvage(self._scorer, limit)
        self._computing = batch
        self._observer.batch_cut(tokens, limit)
        started = self._clock.monotonic()
        results: list[Result | BatchFailedError]
        try:
            jobs = [self._scorer.refreshed(entry.job) for entry in batch]
            results = await self._on_thread(partial(salvage.compute, jobs))
        except Exception:  # not the device: the scorer failed to split, join or give up
            log.exception("batch failed")
            results = [BatchFailedError() for _ in batch]
        finished = self._clock.monotonic()
        for entry, result in zip(batch, results, strict=True):
            if isinstance(result, BatchFailedError):
                entry.fail(result)
            else:
                self._deliver(entry, Done(result, started, finished, tokens))
        self._computing = []
        if not salvage.failures:
            self._speed.learn(tokens / limit, tokens, started, finished)
        self._heed(salvage)

    def _deliver(self, entry: _Entry[Job, Result], done: Done[Result]) -> None:
        if not entry.future.done():
            entry.future.set_result(done)
        try:
            self._scorer.keep(entry.job, done.result)
        except Exception:
            log.exception("result not kept")

    def _heed(self, salvage: Salvage[Job, Result]) -> None:
        """Draws the conclusions from what went wrong in a batch, if anything did."""
        if salvage.failed_items:
            self._observer.items_failed(salvage.failed_items)
        if salvage.memory_errors:  # once, however many: one batch may meet a shortage that passes
            self._clean_batches = 0
            self._set_limits(self._limits.halved())
        else:
            self._clean_batches += 1
            if self._clean_batches % CLEAN_BATCHES == 0:
                self._set_limits(self._limits.doubled(self._given))
        self._set_health(salvage.device_answers)

    def _set_limits(self, limits: BatchLimits) -> None:
        if limits != self._limits:
            self._limits = limits
            log.warning(
                "the budget of batches follows the memory", extra={FIELDS: {"tokens": limits.interactive_tokens}}
            )
            self._observer.budget_changed(limits.interactive_tokens)

    def _set_health(self, healthy: bool) -> None:
        if healthy is not self._healthy:
            self._healthy = healthy
            log.warning("the device answers again" if healthy else "the device does not answer")
            self._observer.health_changed(healthy)

    def _find_hanging(self) -> None:
        self._hangs = True
        log.warning("the device hangs")
        self._set_health(False)

    async def _on_thread(self, call: Callable[[], T]) -> T:
        """The caller sets the health by what comes of it; meanwhile it is bad if that takes too long."""
        loop = asyncio.get_running_loop()
        watch = loop.call_later(self._limits.hang_s, self._find_hanging) if self._limits.hang_s else None
        try:
            return await loop.run_in_executor(self._thread, call)
        finally:
            self._hangs = False
            if watch is not None:
                watch.cancel()
