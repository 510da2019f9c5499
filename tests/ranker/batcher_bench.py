"""A batcher to test, with a scorer that fails, runs out of memory, dies or waits as the test says."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from services.ranker.batcher import Batcher, DropCause
from services.ranker.work import BatchLimits, DeviceMemoryError, Done, Priority, Urgency
from shared.clock import ManualClock

SOON = 5.0
NOW = 1000.0
INTERACTIVE, BULK, LEFTOVER = map(Urgency, Priority)
LIMITS = BatchLimits(queue_tokens=100, interactive_tokens=20, bulk_tokens=10)
FAILED = "failed"

S = TypeVar("S", bound="FakeScorer")


@dataclass(frozen=True)
class Item:
    name: str
    tokens: int


@dataclass(frozen=True)
class Job:
    """Its result is the name of each item in capitals, or FAILED."""

    items: tuple[Item, ...]


Result = tuple[str, ...]
Future = asyncio.Future[Done[Result]]


def job(name: str, tokens: int = 5, items: int = 1) -> Job:
    """Items of `tokens` each; with several their names are numbered."""
    if items == 1:
        return Job((Item(name, tokens),))
    return Job(tuple(Item(f"{name}.{number}", tokens) for number in range(items)))


@dataclass
class FakeScorer:
    """Fails a batch that holds a poisoned item or needs more memory than there is."""

    poison: set[str] = field(default_factory=set)
    memory: int = 1_000_000
    dead: bool = False
    dies_at_call: int = 0
    calls: list[list[Item]] = field(default_factory=list)
    kept: list[tuple[Job, Result]] = field(default_factory=list)
    memory_errors: int = 0
    failures: int = 0
    health_checks: int = 0
    threads: set[threading.Thread] = field(default_factory=set)

    def tokens(self, job: Job) -> int:
        return sum(item.tokens for item in job.items)

    def score(self, batch: Sequence[Job]) -> Sequence[Result]:
        items = [item for job in batch for item in job.items]
        self.threads.add(threading.current_thread())
        self.calls.append(items)
        self.dead = self.dead or len(self.calls) == self.dies_at_call
        error = self._error(items)
        if error:
            self.failures += 1
            self.memory_errors += isinstance(error, DeviceMemoryError)
            raise error
        return [tuple(item.name.upper() for item in job.items) for job in batch]

    def _error(self, items: Sequence[Item]) -> Exception | None:
        if self.dead:
            return RuntimeError("no device")
        if sum(item.tokens for item in items) > self.memory:
            return DeviceMemoryError()
        if any(item.name in self.poison for item in items):
            return ValueError("the text of this exception is nobody's business")
        return None

    def refreshed(self, job: Job) -> Job:
        return job

    def keep(self, job: Job, result: Result) -> None:
        self.kept.append((job, result))

    def split(self, job: Job) -> Sequence[Job]:
        middle = len(job.items) // 2
        return (Job(job.items[:middle]), Job(job.items[middle:])) if middle else ()

    def join(self, results: Sequence[Result]) -> Result:
        return tuple(name for result in results for name in result)

    def failed(self, job: Job) -> Result:
        assert len(job.items) == 1
        return (FAILED,)

    def healthy(self) -> bool:
        self.threads.add(threading.current_thread())
        self.health_checks += 1
        return not self.dead

    @property
    def call_tokens(self) -> list[int]:
        return [sum(item.tokens for item in call) for call in self.calls]


class HeldScorer(FakeScorer):
    """Each batch is told to the test and waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._entered: asyncio.Queue[list[str]] = asyncio.Queue()
        self._gate = threading.Semaphore(0)

    def score(self, batch: Sequence[Job]) -> Sequence[Result]:
        names = [item.name for job in batch for item in job.items]
        self.threads.add(threading.current_thread())
        self._loop.call_soon_threadsafe(self._entered.put_nowait, names)
        assert self._gate.acquire(timeout=SOON)
        return super().score(batch)

    async def next_batch(self) -> list[str]:
        """Waits until a batch is in the compute thread; its items."""
        return await asyncio.wait_for(self._entered.get(), SOON)

    def let_go(self, batches: int = 1) -> None:
        """Lets that many batches finish."""
        self._gate.release(batches)


@dataclass
class Observed:
    """Remembers what the batcher reports."""

    waiting: tuple[int, int] = (0, 0)
    batches: list[tuple[int, int]] = field(default_factory=list)
    dropped: list[DropCause] = field(default_factory=list)
    failed_items: int = 0
    budgets: list[int] = field(default_factory=list)
    health: asyncio.Queue[bool] = field(default_factory=asyncio.Queue)

    def queue_changed(self, tokens: int, jobs: int) -> None:
        self.waiting = (tokens, jobs)

    def batch_cut(self, tokens: int, limit: int) -> None:
        self.batches.append((tokens, limit))

    def work_dropped(self, cause: DropCause) -> None:
        self.dropped.append(cause)

    def items_failed(self, count: int) -> None:
        self.failed_items += count

    def budget_changed(self, tokens: int) -> None:
        self.budgets.append(tokens)

    def health_changed(self, healthy: bool) -> None:
        self.health.put_nowait(healthy)


class Bench(Generic[S]):
    """A started batcher and its surroundings."""

    def __init__(self, scorer: S, limits: BatchLimits = LIMITS) -> None:
        self.scorer = scorer
        self.clock = ManualClock(NOW)
        self.observed = Observed()
        self.batcher: Batcher[Job, Result] = Batcher(scorer, limits, self.clock, self.observed)
        self.batcher.start()

    def submit(self, name: str, tokens: int = 5, urgency: Urgency = INTERACTIVE) -> Future:
        """A job of one item."""
        (future,) = self.batcher.submit([job(name, tokens)], urgency)
        return future

    async def drain(self, grace_s: float = SOON) -> None:
        await asyncio.wait_for(self.batcher.drain(grace_s), SOON)


async def result(future: Future) -> Result:
    return (await asyncio.wait_for(future, SOON)).result
