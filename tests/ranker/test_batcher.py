"""The batcher with a scorer that computes when the test says so: order, limits, drops, drain."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from services.ranker.batcher import PASSED_OVER, Batcher
from services.ranker.work import (
    BatchLimits,
    ClosedError,
    DeadlinePassedError,
    DeviceLostError,
    Done,
    OverloadedError,
    Priority,
    Urgency,
)
from tests.ranker.batcher_bench import (
    BULK,
    INTERACTIVE,
    LEFTOVER,
    LIMITS,
    NOW,
    SOON,
    Bench,
    Future,
    HeldScorer,
    job,
    result,
)


class HeldBench(Bench[HeldScorer]):
    def __init__(self, limits: BatchLimits = LIMITS) -> None:
        super().__init__(HeldScorer(), limits)

    async def hold(self) -> Future:
        """Keeps the compute thread busy, so that what follows queues up."""
        future = self.submit("held")
        assert await self.scorer.next_batch() == ["held"]
        return future

    async def measure(self, tokens: int, seconds: float) -> None:
        """Has one job computed in that time."""
        future = self.submit("measured", tokens)
        await self.scorer.next_batch()
        self.clock.advance(seconds)
        self.scorer.let_go()
        await result(future)


@pytest.fixture
async def bench() -> AsyncIterator[HeldBench]:
    made = HeldBench()
    yield made
    made.scorer.let_go(1000)
    await made.drain()


def within(seconds: float) -> Urgency:
    return Urgency(Priority.INTERACTIVE, NOW + seconds)


async def test_work_comes_back_with_its_result_and_the_times_and_size_of_its_batch(bench: HeldBench) -> None:
    future, _ = bench.batcher.submit([job("a", 3), job("b", 4)], INTERACTIVE)
    await bench.scorer.next_batch()
    bench.clock.advance(0.25)
    bench.scorer.let_go()
    assert await asyncio.wait_for(future, SOON) == Done(("A",), NOW, NOW + 0.25, batch_tokens=7)


@pytest.mark.parametrize(("urgency", "limit"), [(INTERACTIVE, 20), (BULK, 10), (LEFTOVER, 10)])
async def test_what_waits_while_the_device_is_busy_becomes_one_batch_up_to_the_token_limit(
    bench: HeldBench, urgency: Urgency, limit: int
) -> None:
    await bench.hold()
    bench.batcher.submit([job(name, limit // 3) for name in "abcde"], urgency)
    bench.scorer.let_go(2)
    assert await bench.scorer.next_batch() == ["a", "b", "c"]
    assert await bench.scorer.next_batch() == ["d", "e"]
    assert bench.observed.batches[1:] == [(limit // 3 * 3, limit), (limit // 3 * 2, limit)]


async def test_interactive_work_goes_before_bulk_before_leftovers_and_none_share_a_batch(bench: HeldBench) -> None:
    await bench.hold()
    bench.submit("left", urgency=LEFTOVER)
    bench.submit("bulk", urgency=BULK)
    bench.submit("now")
    bench.scorer.let_go(3)
    assert [await bench.scorer.next_batch() for _ in range(3)] == [["now"], ["bulk"], ["left"]]


async def test_an_interactive_call_waits_for_at_most_one_bulk_batch(bench: HeldBench) -> None:
    bench.batcher.submit([job(f"bulk-{row}") for row in range(6)], BULK)
    assert await bench.scorer.next_batch() == ["bulk-0", "bulk-1"]
    bench.submit("now")
    bench.scorer.let_go()
    assert await bench.scorer.next_batch() == ["now"]


async def test_calls_that_never_cease_do_not_starve_bulk_work(bench: HeldBench) -> None:
    await bench.hold()
    bench.submit("left", urgency=LEFTOVER)
    bench.submit("bulk", tokens=10, urgency=BULK)
    batches = []
    while batches[-1:] != [["bulk"]] and len(batches) <= PASSED_OVER:
        bench.submit("now")
        bench.scorer.let_go()
        batches.append(await bench.scorer.next_batch())
    assert batches == [["now"]] * PASSED_OVER + [["bulk"]]


@pytest.mark.parametrize("urgency", [INTERACTIVE, BULK])
async def test_leftovers_wait_as_long_as_anything_else_does(bench: HeldBench, urgency: Urgency) -> None:
    await bench.hold()
    bench.submit("left", urgency=LEFTOVER)
    for _ in range(PASSED_OVER + 2):
        bench.submit("other", urgency=urgency)
        bench.scorer.let_go()
        assert await bench.scorer.next_batch() == ["other"]
    bench.scorer.let_go()
    assert await bench.scorer.next_batch() == ["left"]


async def test_the_earliest_deadline_goes_first_and_equals_go_in_order_of_arrival(bench: HeldBench) -> None:
    await bench.hold()
    for name, deadline in (("late", 9.0), ("soon", 2.0), ("first", 5.0), ("second", 5.0)):
        bench.submit(name, tokens=20, urgency=within(deadline))
    bench.scorer.let_go(4)
    assert [await bench.scorer.next_batch() for _ in range(4)] == [["soon"], ["first"], ["second"], ["late"]]


@pytest.mark.parametrize("priority", Priority)
async def test_work_whose_deadline_passed_is_dropped_before_it_is_computed(
    bench: HeldBench, priority: Priority
) -> None:
    await bench.hold()
    expired = bench.submit("expired", urgency=Urgency(priority, NOW + 1))
    alive = bench.submit("alive", urgency=within(3))
    bench.clock.advance(1)
    bench.scorer.let_go()
    assert await bench.scorer.next_batch() == ["alive"]
    assert isinstance(expired.exception(), DeadlinePassedError)
    bench.scorer.let_go()
    assert await result(alive) == ("ALIVE",)
    assert bench.observed.dropped == ([] if priority is Priority.LEFTOVER else ["deadline"])


async def test_work_that_could_not_be_done_in_time_even_at_twice_the_speed_is_dropped(bench: HeldBench) -> None:
    await bench.measure(tokens=20, seconds=1.0)
    await bench.hold()
    hopeless = bench.submit("hopeless", tokens=10, urgency=within(1 + 0.24))
    hopeful = bench.submit("hopeful", tokens=10, urgency=within(1 + 0.26))
    bench.scorer.let_go(2)
    assert await bench.scorer.next_batch() == ["hopeful"]
    with pytest.raises(DeadlinePassedError):
        await result(hopeless)
    assert await result(hopeful) == ("HOPEFUL",)
    assert bench.observed.dropped == ["deadline"]


async def test_work_is_dropped_when_what_goes_before_it_in_its_batch_leaves_it_no_time(bench: HeldBench) -> None:
    await bench.measure(tokens=20, seconds=1.0)
    await bench.hold()
    for name in ("first", "hopeless"):
        bench.submit(name, tokens=10, urgency=within(1 + 0.4))
    bench.submit("later", tokens=10, urgency=within(1 + 0.6))
    bench.scorer.let_go()
    assert await bench.scorer.next_batch() == ["first", "later"]
    assert bench.observed.dropped == ["deadline"]


async def test_before_anything_was_measured_only_expired_work_is_dropped(bench: HeldBench) -> None:
    await bench.hold()
    bench.submit("barely", tokens=20, urgency=within(1e-6))
    bench.scorer.let_go()
    assert await bench.scorer.next_batch() == ["barely"]


async def test_cancelled_work_frees_its_room_at_once_and_is_never_computed(bench: HeldBench) -> None:
    await bench.hold()
    gone = bench.submit("gone", tokens=100)
    with pytest.raises(OverloadedError):
        bench.submit("next")
    gone.cancel()
    await asyncio.wait([gone])
    bench.submit("next")
    assert bench.observed.waiting == (5, 1)
    bench.scorer.let_go(2)
    assert await bench.scorer.next_batch() == ["next"]
    assert bench.observed.dropped == ["overload", "cancelled"]


async def test_cancelled_work_does_not_pile_up_while_a_batch_is_computed(bench: HeldBench) -> None:
    await bench.hold()
    works = [job(f"bulk-{row}", tokens=1) for row in range(20)]
    last = weakref.ref(works[-1])
    _, *bulk = bench.batcher.submit(works, BULK)
    for future in bulk:
        future.cancel()
    await asyncio.wait(bulk)
    del works, bulk, future
    gc.collect()
    assert last() is None


async def test_the_order_stays_when_most_of_the_queue_was_cancelled(bench: HeldBench) -> None:
    await bench.hold()
    gone = bench.submit("gone", urgency=within(1))
    bench.submit("late", tokens=20, urgency=within(5))
    bench.submit("soon", tokens=20, urgency=within(2))
    for future in (gone, *(bench.submit("gone", urgency=within(9)) for _ in range(3))):
        future.cancel()
    bench.scorer.let_go(2)
    assert [await bench.scorer.next_batch() for _ in range(2)] == [["soon"], ["late"]]


async def test_a_result_whose_caller_has_gone_is_still_kept(bench: HeldBench) -> None:
    gone = bench.submit("gone")
    await bench.scorer.next_batch()
    gone.cancel()
    bench.scorer.let_go(2)
    assert await result(bench.submit("next")) == ("NEXT",)
    assert bench.scorer.kept == [(job("gone"), ("GONE",)), (job("next"), ("NEXT",))]


async def test_a_full_queue_refuses_all_of_a_call_at_once_and_says_when_to_come_back(bench: HeldBench) -> None:
    await bench.measure(tokens=50, seconds=1.0)
    await bench.hold()
    bench.submit("waiting", tokens=60)
    with pytest.raises(OverloadedError) as refused:
        bench.batcher.submit([job("x", 30), job("y", 30)], INTERACTIVE)
    assert refused.value.retry_after_s == pytest.approx(60 / 50)
    assert bench.observed.waiting == (60, 1)


async def test_a_batch_that_failed_says_nothing_of_the_speed(bench: HeldBench) -> None:
    bench.scorer.poison = {"measured"}
    bench.scorer.let_go()
    await bench.measure(tokens=50, seconds=1.0)
    await bench.hold()
    bench.submit("waiting", tokens=100)
    with pytest.raises(OverloadedError) as refused:
        bench.submit("next")
    assert refused.value.retry_after_s < 1.0


@pytest.mark.parametrize("bulk", [50, 1000])
async def test_no_amount_of_bulk_work_takes_room_from_interactive_work(bench: HeldBench, bulk: int) -> None:
    await bench.hold()
    bench.submit("bulk", tokens=bulk, urgency=BULK)
    with pytest.raises(OverloadedError):
        bench.submit("more bulk", tokens=1, urgency=BULK)
    bench.submit("now", tokens=60)
    bench.submit("now, too", tokens=40)
    with pytest.raises(OverloadedError):
        bench.submit("too much", tokens=1)
    assert bench.observed.waiting == (bulk + 100, 3)


async def test_bulk_work_is_refused_when_interactive_work_fills_half_of_the_queue(bench: HeldBench) -> None:
    await bench.hold()
    bench.submit("now", tokens=50)
    with pytest.raises(OverloadedError):
        bench.submit("bulk", tokens=1, urgency=BULK)


async def test_leftovers_have_an_eighth_of_the_queue_and_take_no_room_from_anything(bench: HeldBench) -> None:
    await bench.hold()
    bench.submit("left", tokens=12, urgency=LEFTOVER)
    with pytest.raises(OverloadedError):
        bench.submit("left, too", tokens=1, urgency=LEFTOVER)
    bench.submit("bulk", tokens=50, urgency=BULK)
    bench.submit("now", tokens=50)
    assert bench.observed.waiting == (112, 3)
    with pytest.raises(OverloadedError):
        bench.submit("bulk, too", tokens=1, urgency=BULK)
    assert bench.observed.dropped == ["overload"]  # of the bulk call: nobody misses leftovers


async def test_leftovers_are_refused_where_more_than_an_eighth_waits_before_them(bench: HeldBench) -> None:
    await bench.hold()
    bench.submit("bulk", tokens=12, urgency=BULK)
    with pytest.raises(OverloadedError):
        bench.submit("left", tokens=1, urgency=LEFTOVER)


async def test_a_call_larger_than_the_queue_is_taken_while_nothing_waits(bench: HeldBench) -> None:
    futures = bench.batcher.submit([job("a", 80), job("b", 80)], INTERACTIVE)
    bench.scorer.let_go(2)
    assert [await result(future) for future in futures] == [("A",), ("B",)]


async def test_new_budgets_hold_for_the_batches_to_come(bench: HeldBench) -> None:
    await bench.hold()
    bench.submit("a", tokens=10)
    bench.submit("b", tokens=10)
    bench.submit("bulk-a", tokens=10, urgency=BULK)
    bench.submit("bulk-b", tokens=10, urgency=BULK)
    bench.batcher.resize(interactive_tokens=10, bulk_tokens=20)
    bench.scorer.let_go(4)
    assert [await bench.scorer.next_batch() for _ in range(3)] == [["a"], ["b"], ["bulk-a", "bulk-b"]]
    assert bench.batcher.limits.queue_tokens == LIMITS.queue_tokens


async def test_a_batch_that_hangs_makes_the_device_unhealthy_and_work_is_refused_until_it_returns() -> None:
    bench = HeldBench(replace(LIMITS, hang_s=0.002))
    held = await bench.hold()
    assert await asyncio.wait_for(bench.observed.health.get(), SOON) is False
    with pytest.raises(DeviceLostError):
        bench.submit("refused")
    assert bench.observed.waiting == (0, 0)
    bench.scorer.let_go(2)
    assert await result(held) == ("HELD",)
    assert await asyncio.wait_for(bench.observed.health.get(), SOON) is True
    assert await result(bench.submit("fine")) == ("FINE",)
    await bench.drain()


async def test_without_a_limit_of_time_no_batch_hangs() -> None:
    bench = HeldBench(replace(LIMITS, hang_s=0.0))
    await bench.hold()
    for _ in range(100):
        await asyncio.sleep(0)
    bench.submit("taken")
    assert bench.observed.health.empty()
    bench.scorer.let_go(2)
    await bench.drain()


async def test_a_batcher_that_was_not_started_takes_nothing() -> None:
    bench = HeldBench()
    unstarted = Batcher(bench.scorer, LIMITS, bench.clock, bench.observed)
    with pytest.raises(ClosedError):
        unstarted.submit([job("early")], INTERACTIVE)
    await unstarted.drain(0)
    await bench.drain()


async def test_a_drain_finishes_what_is_queued_and_takes_no_more(bench: HeldBench) -> None:
    held = await bench.hold()
    queued = [bench.submit(f"queued-{row}", tokens=15, urgency=BULK) for row in range(3)]
    draining = asyncio.create_task(bench.drain())
    bench.scorer.let_go(4)
    await asyncio.wait_for(draining, SOON)
    assert [await result(future) for future in (held, *queued)] == [
        ("HELD",),
        ("QUEUED-0",),
        ("QUEUED-1",),
        ("QUEUED-2",),
    ]
    with pytest.raises(ClosedError):
        bench.submit("late")
    assert bench.observed.waiting == (0, 0)


async def test_a_drain_drops_leftovers_at_once_and_tells_nobody(bench: HeldBench) -> None:
    held = await bench.hold()
    queued = bench.submit("queued", urgency=BULK)
    left = [bench.submit("left", tokens=3, urgency=LEFTOVER) for _ in range(2)]
    draining = asyncio.create_task(bench.drain())
    for future in left:
        with pytest.raises(ClosedError):
            await result(future)
    bench.scorer.let_go(2)
    await asyncio.wait_for(draining, SOON)
    assert [await result(future) for future in (held, queued)] == [("HELD",), ("QUEUED",)]
    assert [len(call) for call in bench.scorer.calls] == [1, 1]
    assert bench.observed.dropped == []


async def test_a_drain_that_runs_out_of_time_refuses_what_is_left_and_its_thread_ends_with_its_batch(
    bench: HeldBench,
) -> None:
    held = await bench.hold()
    left = [bench.submit("left"), bench.submit("bulk", urgency=BULK)]
    await bench.drain(grace_s=0.001)
    for future in (held, *left):
        with pytest.raises(ClosedError):
            await result(future)
    assert bench.observed.waiting == (0, 0)
    assert bench.observed.dropped == ["closed", "closed"]
    bench.scorer.let_go()
    (thread,) = bench.scorer.threads
    await asyncio.to_thread(thread.join, SOON)
    assert not thread.is_alive()
    assert len(bench.scorer.calls) == 1
    assert bench.scorer.kept == []
