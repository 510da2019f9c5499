"""The batcher with a scorer that computes when the test says so: order, limits, drops, failures, drain."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from services.ranker.batcher import Batcher, DropCause
from services.ranker.work import (
    BatchFailedError,
    BatchLimits,
    ClosedError,
    DeadlinePassedError,
    Done,
    OverloadedError,
    Priority,
    Urgency,
    Work,
)
from shared.clock import ManualClock

SOON = 5.0
NOW = 1000.0
INTERACTIVE, BULK = Urgency(Priority.INTERACTIVE), Urgency(Priority.BULK)
LIMITS = BatchLimits(queue_tokens=100, interactive_tokens=20, bulk_tokens=10)


class HeldScorer:
    """Jobs are texts; each batch is told to the test and waits until it is let go. "poison" fails."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._entered: asyncio.Queue[list[str]] = asyncio.Queue()
        self._gate = threading.Semaphore(0)

    def score(self, batch: Sequence[str]) -> Sequence[str]:
        self._loop.call_soon_threadsafe(self._entered.put_nowait, list(batch))
        if not self._gate.acquire(timeout=SOON):
            raise TimeoutError
        if "poison" in batch:
            raise ValueError("the text of this exception is nobody's business")
        return [job.upper() for job in batch] if "short" not in batch else []

    def keep(self, job: str, result: str) -> None:
        assert result == job.upper()
        self.kept.append(job)

    async def next_batch(self) -> list[str]:
        """Waits until a batch is in the compute thread."""
        return await asyncio.wait_for(self._entered.get(), SOON)

    def let_go(self, batches: int = 1) -> None:
        """Lets that many batches finish."""
        self._gate.release(batches)


class Observed:
    """Remembers what the batcher reports."""

    def __init__(self) -> None:
        self.waiting = 0
        self.batches: list[int] = []
        self.dropped: list[DropCause] = []

    def queue_changed(self, tokens: int) -> None:
        self.waiting = tokens

    def batch_cut(self, tokens: int) -> None:
        self.batches.append(tokens)

    def work_dropped(self, cause: DropCause) -> None:
        self.dropped.append(cause)


class Bench:
    """A started batcher and its surroundings."""

    def __init__(self) -> None:
        self.scorer = HeldScorer()
        self.clock = ManualClock(NOW)
        self.observed = Observed()
        self.batcher: Batcher[str, str] = Batcher(self.scorer, LIMITS, self.clock, self.observed)
        self.batcher.start()

    def submit(self, job: str, tokens: int = 5, urgency: Urgency = INTERACTIVE) -> asyncio.Future[Done[str]]:
        (future,) = self.batcher.submit([Work(job, tokens)], urgency)
        return future

    async def hold(self) -> asyncio.Future[Done[str]]:
        """Keeps the compute thread busy, so that what follows queues up."""
        future = self.submit("held")
        assert await self.scorer.next_batch() == ["held"]
        return future


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    made.scorer.let_go(100)
    await asyncio.wait_for(made.batcher.drain(), SOON)


async def result(future: asyncio.Future[Done[str]]) -> str:
    return (await asyncio.wait_for(future, SOON)).result


async def test_work_comes_back_with_its_result_and_the_times_of_its_batch(bench: Bench) -> None:
    future = bench.submit("a")
    await bench.scorer.next_batch()
    bench.clock.advance(0.25)
    bench.scorer.let_go()
    done = await asyncio.wait_for(future, SOON)
    assert done == Done("A", NOW, NOW + 0.25)


async def test_what_waits_while_the_device_is_busy_becomes_one_batch_up_to_the_token_limit(bench: Bench) -> None:
    await bench.hold()
    for job in "abcde":
        bench.submit(job, tokens=6)
    bench.scorer.let_go(2)
    assert await bench.scorer.next_batch() == ["a", "b", "c"]
    assert await bench.scorer.next_batch() == ["d", "e"]
    assert bench.observed.batches == [5, 18, 12]


async def test_interactive_work_goes_before_bulk_and_never_shares_its_batch(bench: Bench) -> None:
    await bench.hold()
    bench.submit("bulk", urgency=BULK)
    bench.submit("now")
    bench.scorer.let_go(2)
    assert await bench.scorer.next_batch() == ["now"]
    assert await bench.scorer.next_batch() == ["bulk"]


async def test_an_interactive_call_waits_for_at_most_one_bulk_batch(bench: Bench) -> None:
    bench.batcher.submit([Work(f"bulk-{row}", 5) for row in range(6)], BULK)
    assert await bench.scorer.next_batch() == ["bulk-0", "bulk-1"]
    bench.submit("now")
    bench.scorer.let_go()
    assert await bench.scorer.next_batch() == ["now"]


async def test_the_earliest_deadline_goes_first_and_equals_go_in_order_of_arrival(bench: Bench) -> None:
    await bench.hold()
    for job, deadline in (("late", 9.0), ("soon", 2.0), ("first", 5.0), ("second", 5.0)):
        bench.submit(job, tokens=20, urgency=Urgency(Priority.INTERACTIVE, NOW + deadline))
    bench.scorer.let_go(4)
    assert [await bench.scorer.next_batch() for _ in range(4)] == [["soon"], ["first"], ["second"], ["late"]]


async def test_work_whose_deadline_passed_is_dropped_before_it_is_computed(bench: Bench) -> None:
    await bench.hold()
    expired = bench.submit("expired", urgency=Urgency(Priority.INTERACTIVE, NOW + 1))
    alive = bench.submit("alive", urgency=Urgency(Priority.INTERACTIVE, NOW + 3))
    bench.clock.advance(1)
    bench.scorer.let_go(2)
    with pytest.raises(DeadlinePassedError):
        await result(expired)
    assert await bench.scorer.next_batch() == ["alive"]
    assert await result(alive) == "ALIVE"
    assert bench.observed.dropped == ["deadline"]


async def test_cancelled_work_frees_its_room_at_once_and_is_never_computed(bench: Bench) -> None:
    await bench.hold()
    gone = bench.submit("gone", tokens=100)
    with pytest.raises(OverloadedError):
        bench.submit("next")
    gone.cancel()
    await asyncio.wait([gone])
    bench.submit("next")
    assert bench.observed.waiting == 5
    bench.scorer.let_go(2)
    assert await bench.scorer.next_batch() == ["next"]
    assert bench.observed.dropped == ["overload", "cancelled"]


async def test_a_result_whose_caller_has_gone_is_still_kept(bench: Bench) -> None:
    gone = bench.submit("gone")
    await bench.scorer.next_batch()
    gone.cancel()
    bench.scorer.let_go(2)
    assert await result(bench.submit("next")) == "NEXT"
    assert bench.scorer.kept == ["gone", "next"]


async def test_a_full_queue_refuses_all_of_a_call_at_once_and_says_when_to_come_back(bench: Bench) -> None:
    first = bench.submit("measured", tokens=50)
    await bench.scorer.next_batch()
    bench.clock.advance(1)
    bench.scorer.let_go()
    await result(first)  # 50 tokens a second
    await bench.hold()
    bench.submit("waiting", tokens=60)
    with pytest.raises(OverloadedError) as refused:
        bench.batcher.submit([Work("x", 30), Work("y", 30)], INTERACTIVE)
    assert refused.value.retry_after_s == pytest.approx(60 / 50)
    assert bench.observed.waiting == 60


async def test_bulk_work_cannot_fill_the_queue_against_interactive_work(bench: Bench) -> None:
    await bench.hold()
    bench.submit("bulk", tokens=50, urgency=BULK)
    with pytest.raises(OverloadedError):
        bench.submit("more bulk", tokens=1, urgency=BULK)
    bench.submit("now", tokens=50)
    assert bench.observed.waiting == 100


async def test_a_call_larger_than_the_queue_is_taken_while_nothing_waits(bench: Bench) -> None:
    futures = bench.batcher.submit([Work("a", 80), Work("b", 80)], INTERACTIVE)
    bench.scorer.let_go(2)
    assert [await result(future) for future in futures] == ["A", "B"]


async def test_a_failing_batch_fails_only_its_own_work(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    await bench.hold()
    poison, neighbour, next_batch = bench.submit("poison", 10), bench.submit("neighbour", 10), bench.submit("ok", 10)
    bench.scorer.let_go(3)
    for failed in (poison, neighbour):
        with pytest.raises(BatchFailedError):
            await result(failed)
    assert await result(next_batch) == "OK"
    assert "batch failed" in caplog.messages


async def test_a_scorer_that_returns_too_few_results_fails_its_batch_and_not_the_batcher(bench: Bench) -> None:
    short = bench.submit("short")
    bench.scorer.let_go(2)
    with pytest.raises(BatchFailedError):
        await result(short)
    assert await result(bench.submit("ok")) == "OK"


async def test_a_drain_finishes_what_is_queued_and_takes_no_more(bench: Bench) -> None:
    held = await bench.hold()
    queued = [bench.submit(f"queued-{row}", tokens=15, urgency=BULK) for row in range(3)]
    draining = asyncio.create_task(bench.batcher.drain())
    bench.scorer.let_go(4)
    await asyncio.wait_for(draining, SOON)
    assert [await result(future) for future in (held, *queued)] == ["HELD", "QUEUED-0", "QUEUED-1", "QUEUED-2"]
    with pytest.raises(ClosedError):
        bench.submit("late")
    assert bench.observed.waiting == 0
