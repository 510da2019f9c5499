"""Shares one device among calls: one task owns the queue, commands come in, batches go out, no locks.

A batch is cut by tokens, not by calls: the earliest deadline first inside a priority, interactive before bulk, never
both in one batch. Bulk batches are small, so an interactive call waits for at most one of them. While the device is
busy the next batch fills; nothing ever waits for company. Work whose caller has gone or whose deadline has passed is
dropped before it is computed. Knows neither gRPC nor models: a `Scorer` computes.
"""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Generic, Literal, Protocol, TypeVar

from services.ranker.work import (
    BatchFailedError,
    BatchLimits,
    ClosedError,
    DeadlinePassedError,
    Done,
    Job,
    OverloadedError,
    Result,
    Urgency,
    Work,
)
from shared.clock import Clock

log = logging.getLogger(__name__)

Job_contra = TypeVar("Job_contra", contravariant=True)

DropCause = Literal["cancelled", "deadline", "overload"]
_LEAST_RETRY_S, _MOST_RETRY_S = 0.05, 5.0


class Scorer(Protocol[Job_contra, Result]):
    """What computes a batch."""

    def score(self, batch: Sequence[Job_contra]) -> Sequence[Result]:
        """One result per job, in order. Runs in the batcher's one worker thread."""

    def keep(self, job: Job_contra, result: Result) -> None:
        """Called on the event loop for every job computed, even if its caller has gone: what is done is not lost."""


class BatchObserver(Protocol):
    """Told what happens, for metrics."""

    def queue_changed(self, tokens: int) -> None:
        """Tokens that wait now."""

    def batch_cut(self, tokens: int) -> None:
        """A batch of so many tokens goes to the device."""

    def work_dropped(self, cause: DropCause) -> None:
        """A piece was dropped before it was computed."""


@dataclass(slots=True, eq=False)
class _Entry(Generic[Job, Result]):
    work: Work[Job]
    order: tuple[Urgency, int]
    """Urgency, then arrival."""
    future: asyncio.Future[Done[Result]]
    waiting: bool = True


class Batcher(Generic[Job, Result]):
    """`start`, then `submit` from the same event loop, then `drain`."""

    def __init__(self, scorer: Scorer[Job, Result], limits: BatchLimits, clock: Clock, observer: BatchObserver) -> None:
        self._scorer = scorer
        self._limits = limits
        self._clock = clock
        self._observer = observer
        self._inbox: asyncio.Queue[list[_Entry[Job, Result]]] = asyncio.Queue()
        self._queue: list[_Entry[Job, Result]] = []  # touched by the task only
        self._waiting_tokens = 0
        self._arrivals = 0
        self._tokens_per_s = 0.0
        self._closed = True
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ranker-compute")

    def start(self) -> None:
        """Begins to take work."""
        self._closed = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name="batcher")

    def submit(self, works: Sequence[Work[Job]], urgency: Urgency) -> list[asyncio.Future[Done[Result]]]:
        """Queues all pieces of a call, or none; cancel a future to take its piece back.

        Raises:
            OverloadedError: when the queue has no room; a call of any size is taken while nothing waits. Bulk work
                may fill half of the queue, so that no amount of it refuses an interactive call.
            ClosedError: after `drain` began.
        The futures raise DeadlinePassedError or BatchFailedError.
        """
        if self._closed:
            raise ClosedError
        tokens = sum(work.tokens for work in works)
        if self._waiting_tokens and self._waiting_tokens + tokens > self._limits.queue_of(urgency.priority):
            self._observer.work_dropped("overload")
            raise OverloadedError(self._seconds_to_empty())
        entries = [self._entry(work, urgency) for work in works]
        self._change_waiting(tokens)
        self._inbox.put_nowait(entries)
        return [entry.future for entry in entries]

    async def drain(self) -> None:
        """Takes no more, finishes what is queued, ends the thread."""
        self._closed = True
        self._inbox.put_nowait([])  # wakes the task
        if self._task is not None:
            await self._task
        self._thread.shutdown()

    def _entry(self, work: Work[Job], urgency: Urgency) -> _Entry[Job, Result]:
        self._arrivals += 1
        future: asyncio.Future[Done[Result]] = asyncio.get_running_loop().create_future()
        entry = _Entry(work, (urgency, self._arrivals), future)
        future.add_done_callback(partial(self._gone, entry))
        return entry

    def _gone(self, entry: _Entry[Job, Result], future: asyncio.Future[Done[Result]]) -> None:
        """A future is done; if its piece is still waiting, the caller cancelled it."""
        if entry.waiting and future.cancelled():
            self._drop(entry, "cancelled")

    def _drop(self, entry: _Entry[Job, Result], cause: DropCause) -> None:
        self._leave(entry)
        self._observer.work_dropped(cause)

    def _leave(self, entry: _Entry[Job, Result]) -> None:
        entry.waiting = False
        self._change_waiting(-entry.work.tokens)

    def _change_waiting(self, tokens: int) -> None:
        self._waiting_tokens += tokens
        self._observer.queue_changed(self._waiting_tokens)

    def _seconds_to_empty(self) -> float:
        seconds = self._waiting_tokens / self._tokens_per_s if self._tokens_per_s else _LEAST_RETRY_S
        return min(max(seconds, _LEAST_RETRY_S), _MOST_RETRY_S)

    async def _run(self) -> None:
        while await self._receive():
            batch = self._cut()
            if batch:
                await self._compute(batch)

    async def _receive(self) -> bool:
        """Takes in what was submitted; waits while nothing is queued. False = closed and empty."""
        while not self._inbox.empty() or not (self._queue or self._closed):
            self._queue.extend(await self._inbox.get())
        return bool(self._queue)

    def _cut(self) -> list[_Entry[Job, Result]]:
        """The next batch; empty when all that waited was dropped."""
        now = self._clock.monotonic()
        for entry in self._queue:
            if entry.order[0].deadline <= now and not entry.future.done():
                self._drop(entry, "deadline")
                entry.future.set_exception(DeadlinePassedError())
        self._queue = sorted((entry for entry in self._queue if not entry.future.done()), key=lambda entry: entry.order)
        batch: list[_Entry[Job, Result]] = []
        tokens = 0
        for entry in self._queue:
            priority = entry.order[0].priority
            tokens += entry.work.tokens
            if batch and (priority is not batch[0].order[0].priority or tokens > self._limits.of(priority)):
                break
            batch.append(entry)
        del self._queue[: len(batch)]
        for entry in batch:
            self._leave(entry)
        return batch

    async def _compute(self, batch: list[_Entry[Job, Result]]) -> None:
        """One batch on the worker thread; whatever goes wrong stays inside it."""
        tokens = sum(entry.work.tokens for entry in batch)
        self._observer.batch_cut(tokens)
        started = self._clock.monotonic()
        jobs = [entry.work.job for entry in batch]
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._thread, self._scorer.score, jobs)
            finished = self._clock.monotonic()
            for entry, result in zip(batch, results, strict=True):
                self._scorer.keep(entry.work.job, result)
                if not entry.future.done():
                    entry.future.set_result(Done(result, started, finished))
        except Exception:
            log.exception("batch failed")
            for entry in batch:
                if not entry.future.done():
                    entry.future.set_exception(BatchFailedError())
            return
        if finished > started:
            self._tokens_per_s = tokens / (finished - started)
