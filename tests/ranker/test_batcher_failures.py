"""What the batcher saves when a batch fails: bad items, too little memory, a device that is gone, and health."""

import asyncio
import logging
import math
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

import pytest

from services.ranker.batcher import CLEAN_BATCHES
from services.ranker.salvage import MOST_FAILURES, most_failures
from services.ranker.work import BatchFailedError, BatchLimits, DeviceLostError
from tests.ranker.batcher_bench import BULK, FAILED, INTERACTIVE, SOON, Bench, FakeScorer, Future, Job, job, result
from tests.ranker.batcher_bench import Result as Names

LIMITS = BatchLimits(queue_tokens=100_000, interactive_tokens=1024, bulk_tokens=256)
PROBING = replace(LIMITS, idle_probe_s=0.002)

StartBench = Callable[..., Bench[FakeScorer]]


@pytest.fixture
async def start() -> AsyncIterator[StartBench]:
    """`start(scorer, limits=LIMITS)`: a bench; drained after the test."""
    benches: list[Bench[FakeScorer]] = []

    def make(scorer: FakeScorer, limits: BatchLimits = LIMITS) -> Bench[FakeScorer]:
        benches.append(Bench(scorer, limits))
        return benches[-1]

    yield make
    for bench in benches:
        await bench.drain()


async def results(futures: Sequence[Future]) -> list[Names | BaseException]:
    """What came of each job."""
    done = await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), SOON)
    return [each if isinstance(each, BaseException) else each.result for each in done]


def names(work: Job, failed: Sequence[str] = ()) -> Names:
    return tuple(FAILED if item.name in failed else item.name.upper() for item in work.items)


async def settled(changed: Awaitable[bool]) -> bool:
    return await asyncio.wait_for(changed, SOON)


async def test_one_bad_item_fails_alone_and_takes_two_attempts_per_halving(
    start: StartBench, caplog: pytest.LogCaptureFixture
) -> None:
    scorer = FakeScorer(poison={"w37.5"})
    bench = start(scorer)
    works = [job(f"w{row}", tokens=2, items=8) for row in range(64)]
    futures = bench.batcher.submit(works, INTERACTIVE)
    assert await results(futures) == [names(work, ["w37.5"]) for work in works]
    assert len(scorer.calls) == 1 + 2 * math.log2(64 * 8)
    assert bench.observed.failed_items == 1
    assert bench.observed.health.empty()
    assert [record.message for record in caplog.records if record.exc_info] == ["batch failed"]


async def test_several_bad_items_fail_alone(start: StartBench) -> None:
    bad = ["w0.0", "w3.1", "w3.2"]
    bench = start(FakeScorer(poison=set(bad)))
    works = [job(f"w{row}", items=5) for row in range(7)]
    assert await results(bench.batcher.submit(works, INTERACTIVE)) == [names(work, bad) for work in works]
    assert bench.observed.failed_items == 3


async def test_the_joined_result_of_a_split_job_is_kept(start: StartBench) -> None:
    scorer = FakeScorer(poison={"w.1"})
    work = job("w", items=3)
    await results(start(scorer).batcher.submit([work], INTERACTIVE))
    assert scorer.kept == [(work, names(work, ["w.1"]))]


async def test_the_bad_items_of_one_call_do_not_fail_its_neighbours(start: StartBench) -> None:
    bad = [job("bad", tokens=1, items=64), job("worse", tokens=1, items=64)]
    scorer = FakeScorer(poison={item.name for work in bad for item in work.items} | {"w3.5"})
    works = [job(f"w{row}", tokens=1, items=8) for row in range(7)]
    first, second, *others = await results(start(scorer).batcher.submit([*bad, *works], INTERACTIVE))
    assert type(first) is type(second) is BatchFailedError
    assert others == [names(work, ["w3.5"]) for work in works]


async def test_jobs_of_one_item_are_all_tried_alone(start: StartBench) -> None:
    works = [job(f"w{row}", tokens=1) for row in range(256)]
    bad = [item.name for work in works[1:] for item in work.items]
    scorer = FakeScorer(poison=set(bad))
    assert await results(start(scorer).batcher.submit(works, INTERACTIVE)) == [names(work, bad) for work in works]
    assert scorer.failures <= most_failures(256)


async def test_the_failing_attempts_of_one_job_are_bounded(start: StartBench) -> None:
    work = job("w", tokens=1, items=256)
    scorer = FakeScorer(poison={item.name for item in work.items})
    assert [type(each) for each in await results(start(scorer).batcher.submit([work], INTERACTIVE))] == [
        BatchFailedError
    ]
    assert scorer.failures == 1 + MOST_FAILURES


async def test_the_failing_attempts_of_one_batch_are_bounded_and_the_next_batch_is_not_harmed(
    start: StartBench,
) -> None:
    works = [job(f"w{row}", tokens=1, items=64) for row in range(10)]
    scorer = FakeScorer(poison={item.name for work in works for item in work.items})
    bench = start(scorer)
    done = await results(bench.batcher.submit(works, INTERACTIVE))
    assert {type(each) for each in done} == {BatchFailedError}
    assert scorer.failures == most_failures(10)
    assert await result(bench.submit("fine")) == ("FINE",)


async def test_a_dead_device_costs_one_attempt_and_is_told(start: StartBench) -> None:
    scorer = FakeScorer(dead=True)
    bench = start(scorer)
    done = await results(bench.batcher.submit([job(f"w{row}", items=4) for row in range(16)], INTERACTIVE))
    assert all(isinstance(each, DeviceLostError) for each in done)
    assert len(scorer.calls) == scorer.health_checks == 1
    assert scorer.kept == []
    assert bench.observed.failed_items == 0
    assert await settled(bench.observed.health.get()) is False


async def test_what_was_computed_before_the_device_died_is_delivered(start: StartBench) -> None:
    scorer = FakeScorer(poison={"c"}, dies_at_call=3)
    futures = start(scorer).batcher.submit([job(name) for name in "abcd"], INTERACTIVE)
    *done, third, fourth = await results(futures)
    assert done == [("A",), ("B",)]
    assert isinstance(third, DeviceLostError)
    assert isinstance(fourth, DeviceLostError)
    assert len(scorer.calls) == 3


async def test_a_single_item_is_not_blamed_for_a_dead_device(start: StartBench) -> None:
    (done,) = await results([start(FakeScorer(dead=True)).submit("innocent")])
    assert isinstance(done, DeviceLostError)


async def test_a_batch_that_was_computed_makes_the_device_healthy_again(start: StartBench) -> None:
    scorer = FakeScorer(dead=True)
    bench = start(scorer)
    await results([bench.submit("lost")])
    assert await settled(bench.observed.health.get()) is False
    scorer.dead = False
    assert await result(bench.submit("fine")) == ("FINE",)
    assert await settled(bench.observed.health.get()) is True


async def test_an_idle_device_that_dies_and_comes_back_is_noticed_without_any_work(start: StartBench) -> None:
    scorer = FakeScorer()
    bench = start(scorer, PROBING)
    scorer.dead = True
    assert await settled(bench.observed.health.get()) is False
    scorer.dead = False
    assert await settled(bench.observed.health.get()) is True
    assert scorer.calls == []
    assert len(scorer.threads) == 1


async def test_a_probe_that_raises_means_the_device_does_not_answer(start: StartBench) -> None:
    class Raising(FakeScorer):
        def healthy(self) -> bool:
            raise RuntimeError

    bench = start(Raising(), PROBING)
    assert await settled(bench.observed.health.get()) is False


async def test_work_is_computed_while_probes_go_on(start: StartBench) -> None:
    bench = start(FakeScorer(), replace(LIMITS, idle_probe_s=1e-6))
    for row in range(50):
        assert await result(bench.submit(f"w{row}")) == (f"W{row}",)
    assert len(bench.scorer.threads) == 1


async def test_without_a_probe_period_an_idle_batcher_does_nothing(start: StartBench) -> None:
    bench = start(FakeScorer())
    for _ in range(100):
        await asyncio.sleep(0)
    await bench.drain()
    assert bench.scorer.health_checks == 0


async def test_a_device_that_does_not_answer_is_probed_even_without_a_probe_period(start: StartBench) -> None:
    scorer = FakeScorer(dead=True)
    bench = start(scorer, replace(LIMITS, unhealthy_probe_s=0.002))
    await results([bench.submit("lost")])
    assert await settled(bench.observed.health.get()) is False
    scorer.dead = False
    assert await settled(bench.observed.health.get()) is True
    assert len(scorer.calls) == 1


async def test_a_probe_that_hangs_means_the_device_does_not_answer(start: StartBench) -> None:
    free = threading.Event()

    class Hanging(FakeScorer):
        def healthy(self) -> bool:
            return free.wait(SOON)

    bench = start(Hanging(), replace(PROBING, hang_s=0.002))
    assert await settled(bench.observed.health.get()) is False
    with pytest.raises(DeviceLostError):
        bench.submit("refused")
    free.set()
    assert await settled(bench.observed.health.get()) is True


async def test_too_little_memory_halves_the_budget_once_and_the_same_batch_goes_on_in_parts(start: StartBench) -> None:
    scorer = FakeScorer(memory=300)
    bench = start(scorer)
    works = [job(f"w{row}", tokens=2, items=8) for row in range(64)]
    assert await results(bench.batcher.submit(works, INTERACTIVE)) == [names(work) for work in works]
    assert scorer.call_tokens == [1024, 512, 256, 256, 256, 256]
    assert bench.observed.budgets == [512]
    assert (bench.batcher.limits.interactive_tokens, bench.batcher.limits.bulk_tokens) == (512, 128)
    assert await results(bench.batcher.submit(works, INTERACTIVE)) == [names(work) for work in works]
    assert scorer.call_tokens[6:] == [512, 256, 256, 256, 256]
    assert bench.observed.budgets == [512, 256]


async def test_queued_jobs_larger_than_a_halved_budget_are_computed_in_parts(start: StartBench) -> None:
    scorer = FakeScorer(memory=64)
    bench = start(scorer)
    works = [job(name, tokens=8, items=32) for name in "abc"]
    assert await results(bench.batcher.submit(works, BULK)) == [names(work) for work in works]
    assert scorer.call_tokens == [256, 128, *[64] * 4, 128, *[64] * 4, *[64] * 4]


async def test_the_budget_is_never_halved_below_its_floor(start: StartBench) -> None:
    bench = start(FakeScorer(memory=10))
    works = [job(f"w{row}", tokens=10) for row in range(12)]
    for _ in range(6):
        assert await results(bench.batcher.submit(works, INTERACTIVE)) == [names(work) for work in works]
    assert bench.observed.budgets == [512, 256, 128, 64]
    assert bench.batcher.limits.bulk_tokens == 64


async def test_a_halved_budget_doubles_after_so_many_batches_in_a_row_that_had_memory_up_to_what_it_was(
    start: StartBench,
) -> None:
    scorer = FakeScorer(memory=100)
    bench = start(scorer)

    async def compute(batches: int, tokens: int = 1) -> None:
        for _ in range(batches):
            await results(bench.batcher.submit([job("w", tokens, items=2)], INTERACTIVE))

    await compute(1, tokens=60)
    await compute(CLEAN_BATCHES - 1)
    await compute(1, tokens=60)
    await compute(CLEAN_BATCHES - 1)
    assert bench.observed.budgets == [512, 256]
    await compute(1 + 2 * CLEAN_BATCHES)
    assert bench.observed.budgets == [512, 256, 512, 1024]
    assert bench.batcher.limits == LIMITS


def test_budgets_below_the_floor_stay_as_they_are() -> None:
    assert BatchLimits(100, interactive_tokens=63, bulk_tokens=10).halved() == BatchLimits(100, 63, 10)


async def test_an_item_for_which_there_is_no_memory_may_be_tried_again(start: StartBench) -> None:
    bench = start(FakeScorer(memory=300))
    futures = bench.batcher.submit([job("a"), job("large", tokens=301), job("b")], INTERACTIVE)
    first, large, last = await results(futures)
    assert (first, type(large), last) == (("A",), BatchFailedError, ("B",))
    assert bench.observed.failed_items == 0
    assert bench.observed.health.empty()


async def test_a_job_larger_than_a_batch_is_computed_in_parts_and_put_together(start: StartBench) -> None:
    scorer = FakeScorer()
    work = job("w", tokens=1, items=5000)
    assert await results(start(scorer).batcher.submit([work], INTERACTIVE)) == [names(work)]
    assert max(scorer.call_tokens) <= LIMITS.interactive_tokens
    assert sum(scorer.call_tokens) == 5000


async def test_an_item_larger_than_a_batch_is_computed_alone(start: StartBench) -> None:
    scorer = FakeScorer()
    futures = start(scorer).batcher.submit([job("a"), job("large", tokens=2000), job("b")], INTERACTIVE)
    assert await results(futures) == [("A",), ("LARGE",), ("B",)]
    assert scorer.call_tokens == [5, 2000, 5]


async def test_a_scorer_that_returns_too_few_results_does_not_shift_them(start: StartBench) -> None:
    class Short(FakeScorer):
        def score(self, batch: Sequence[Job]) -> Sequence[Names]:
            return [each for each in super().score(batch) if each != ("SHORT",)]

    futures = start(Short()).batcher.submit([job("a"), job("short"), job("b")], INTERACTIVE)
    assert await results(futures) == [("A",), (FAILED,), ("B",)]


async def test_a_scorer_that_cannot_even_split_fails_its_batch_and_not_the_batcher(
    start: StartBench, caplog: pytest.LogCaptureFixture
) -> None:
    class Unsplittable(FakeScorer):
        def split(self, job: Job) -> Sequence[Job]:
            raise ArithmeticError

    bench = start(Unsplittable(poison={"bad"}))
    assert [type(each) for each in await results([bench.submit("bad")])] == [BatchFailedError]
    assert await result(bench.submit("fine")) == ("FINE",)
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


async def test_a_result_that_cannot_be_kept_is_delivered_all_the_same(start: StartBench) -> None:
    class Forgetful(FakeScorer):
        def keep(self, job: Job, result: Names) -> None:
            raise MemoryError

    bench = start(Forgetful())
    assert await results(bench.batcher.submit([job("a"), job("b")], INTERACTIVE)) == [("A",), ("B",)]
