"""What a call ran out of time for is encoded as soon as the device is idle, once, and in nobody's way."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from services.ranker.work import BatchLimits, DeadlinePassedError
from shared.model.base import Base
from shared.model.packed import PackedBert
from tests.ranker.batcher_bench import NOW, SOON
from tests.ranker.ranking_bench import HISTORY, Bench, WatchedModel, items


@pytest.fixture
async def bench(tiny_base: Base, tiny_packed: PackedBert) -> AsyncIterator[Bench]:
    made = Bench(tiny_base, tiny_packed)
    yield made
    await made.close()


async def late_calls(bench: Bench, model: WatchedModel, count: int) -> None:
    """Calls for the same 30 items; the deadline of all passes while the first batch is computed."""
    model.begun.clear()
    model.gate.clear()
    ranking = [
        asyncio.create_task(bench.ranking.rank(model, HISTORY, items(30), deadline=NOW + 1)) for _ in range(count)
    ]
    assert await asyncio.to_thread(model.begun.wait, SOON)
    bench.clock.advance(1)
    model.gate.set()
    for call in ranking:
        with pytest.raises(DeadlinePassedError):
            await call


@pytest.mark.parametrize("depth", [1, 3])
async def test_a_call_that_runs_out_of_time_leaves_nothing_to_do_for_the_next(bench: Bench, depth: int) -> None:
    model = bench.model(depth)
    await late_calls(bench, model, 1)
    while len(bench.caches.items) < 30:
        await bench.scores(model, (), items(1, revision="", first=900))  # interactive, so it may come before
    again = await bench.ranking.rank(model, HISTORY, items(30))
    assert again.timings.cached_items == 30
    assert len([text for text in model.texts if text in set(ids(model))]) == 30
    np.testing.assert_allclose(again.probabilities, model.expected(HISTORY, items(30)), rtol=0, atol=1e-5)


def ids(model: WatchedModel) -> list[tuple[int, ...]]:
    return model._ids((), items(30))[1]


async def test_what_several_calls_leave_is_encoded_once(bench: Bench) -> None:
    model = bench.model(1)
    await late_calls(bench, model, 3)
    await bench.observed.until(jobs=0)
    await bench.batcher.drain(SOON)
    assert len(bench.caches.items) == 30
    assert sorted(model.texts) == sorted(ids(model))


async def test_a_caller_who_leaves_early_leaves_nothing_behind(bench: Bench) -> None:
    model = bench.model(1)
    async with bench.held(model):
        call = asyncio.create_task(bench.ranking.rank(model, HISTORY, items(30), deadline=NOW + 1))
        await bench.observed.filled()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await bench.observed.until(jobs=0)


async def test_a_full_queue_takes_no_leftovers(bench: Bench) -> None:
    model = bench.model(1)
    bench.batcher._limits = BatchLimits(100, interactive_tokens=40, bulk_tokens=20)
    async with bench.held(model):
        waiting = asyncio.create_task(bench.ranking.rank(model, (), items(4, first=100)))
        await bench.observed.filled()
        tokens = bench.observed.waiting[0]
        call = asyncio.create_task(bench.ranking.rank(model, (), items(1), deadline=NOW + 1))
        await bench.observed.until(jobs=bench.observed.waiting[1] + 1)
        assert tokens > 12  # more than leftovers may find waiting
        bench.clock.advance(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert bench.observed.waiting[0] == tokens
    await waiting


async def test_leftovers_fill_little_of_the_queue_and_a_drain_does_not_wait_for_them(bench: Bench) -> None:
    model = bench.model(1)
    bench.batcher._limits = BatchLimits(800, interactive_tokens=40, bulk_tokens=20)
    async with bench.held(model):
        call = asyncio.create_task(bench.ranking.rank(model, (), items(40), deadline=NOW + 1))
        parts = await bench.observed.filled()
        bench.clock.advance(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert 0 < bench.observed.waiting[0] <= 100
        draining = asyncio.create_task(bench.batcher.drain(SOON))
        await bench.observed.until(jobs=0)  # while the device is busy
    await draining
    assert len(bench.caches.items) == 0
    assert bench.observed.dropped == ["cancelled"] * parts


async def test_items_that_are_not_cached_are_not_taken_up(bench: Bench) -> None:
    for depth, revision in ((0, "r1"), (1, "")):
        model = bench.model(depth)
        async with bench.held(model):
            call = asyncio.create_task(bench.ranking.rank(model, (), items(5, revision), deadline=NOW + 1))
            await bench.observed.filled()
            bench.clock.advance(1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert bench.observed.waiting == (0, 0)
