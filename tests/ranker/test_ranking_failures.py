"""Calls that go wrong: bad items, bad users, too little memory, too little time, callers who leave."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from services.ranker.ranking import Item
from services.ranker.work import BatchFailedError, ClosedError, OverloadedError
from shared.model.base import Base
from shared.model.packed import PackedBert
from shared.model.text import HistoryText, ItemText
from tests.ranker.batcher_bench import SOON
from tests.ranker.ranking_bench import DEPTHS, HISTORY, POISON, Bench, items

ONE_BATCH = 10_000
CLOSE = {"atol": 1e-5, "rtol": 0}
BAD_ITEM = Item("bad", "r1", ItemText(POISON))
BAD_HISTORY = [HistoryText(POISON)]

at_every_depth = pytest.mark.parametrize("depth", DEPTHS)


@pytest.fixture
async def bench(tiny_base: Base, tiny_packed: PackedBert) -> AsyncIterator[Bench]:
    made = Bench(tiny_base, tiny_packed)
    made.batcher.resize(ONE_BATCH, ONE_BATCH - 1)
    yield made
    await made.close()


@at_every_depth
async def test_an_item_that_the_model_cannot_read_fails_alone(bench: Bench, depth: int) -> None:
    model = bench.model(depth)
    async with bench.held(model):
        mine = asyncio.create_task(bench.ranking.rank(model, HISTORY, [*items(4), BAD_ITEM, *items(8, first=4)]))
        beside = asyncio.create_task(bench.ranking.rank(model, (), items(5)))
        await bench.observed.until(jobs=2)
    found, expected = (await mine).probabilities, model.expected(HISTORY, items(12))
    np.testing.assert_allclose(np.delete(found, 4, axis=0), expected, **CLOSE)
    assert np.isnan(found[4]).all()
    np.testing.assert_allclose((await beside).probabilities, model.expected((), items(5)), **CLOSE)
    assert bench.observed.failed_items == 1
    assert bench.observed.health.empty()
    # What is known of its neighbours is kept, and of it nothing.
    assert len(bench.caches.items) == (12 if depth else 0)
    again = (await bench.ranking.rank(model, HISTORY, [BAD_ITEM, *items(1)])).probabilities
    assert np.isnan(again[:, 0]).tolist() == [True, False]


@at_every_depth
async def test_a_call_of_one_bad_item_has_an_answer(bench: Bench, depth: int) -> None:
    model = bench.model(depth)
    for history in ((), HISTORY):
        assert np.isnan(await bench.scores(model, history, [BAD_ITEM])).all()
    np.testing.assert_allclose(await bench.scores(model, HISTORY, items(2)), model.expected(HISTORY, items(2)), **CLOSE)


async def test_an_item_without_a_vector_is_none_among_those_of_the_others(bench: Bench) -> None:
    model = bench.model(3)
    one, none, other = await bench.ranking.embed(model, [*items(1), BAD_ITEM, *items(1, first=1)])
    assert none is None
    np.testing.assert_allclose([one, other], model.expected_vectors(items(2)), **CLOSE)
    assert await bench.ranking.embed(model, [BAD_ITEM]) == [None]


@at_every_depth
async def test_a_user_whom_the_model_cannot_read_fails_the_call_and_no_other(bench: Bench, depth: int) -> None:
    model = bench.model(depth)
    async with bench.held(model):
        calls = [(BAD_HISTORY, items(40)), (HISTORY, items(20, first=10)), (BAD_HISTORY, items(1)), ((), items(5))]
        ranked = [asyncio.create_task(bench.ranking.rank(model, *call)) for call in calls]
        await bench.observed.until(jobs=len(calls))
    bad, good, bad_too, nobody = await asyncio.gather(*ranked, return_exceptions=True)
    assert isinstance(bad, BatchFailedError)
    assert isinstance(bad_too, BatchFailedError)
    for answer, call in ((good, calls[1]), (nobody, calls[3])):
        assert not isinstance(answer, BaseException)
        np.testing.assert_allclose(answer.probabilities, model.expected(*call), **CLOSE)
    assert len(bench.caches.contexts) == 1
    assert bench.observed.health.empty()


@at_every_depth
async def test_a_bad_user_fails_the_call_even_where_all_items_are_known(bench: Bench, depth: int) -> None:
    model = bench.model(depth)
    await bench.scores(model, (), items(5))
    for _ in range(2):
        with pytest.raises(BatchFailedError):
            await bench.scores(model, BAD_HISTORY, items(5))


@pytest.mark.parametrize("depth", [0, 1, 3])
async def test_a_device_out_of_memory_gives_right_scores_in_smaller_batches(bench: Bench, depth: int) -> None:
    model = bench.model(depth)
    model.memory_tokens = 100
    bench.batcher.resize(1000, 400)
    wanted = [*items(60), *items(10, revision="", first=60)]
    np.testing.assert_allclose(await bench.scores(model, HISTORY, wanted), model.expected(HISTORY, wanted), **CLOSE)
    limits = bench.batcher.limits
    assert limits.interactive_tokens == 500  # halved once, whatever the batch tried
    assert limits.bulk_tokens == 200
    assert bench.observed.budgets[-1] == limits.interactive_tokens
    assert bench.observed.failed_items == 0
    assert bench.observed.health.empty()


@at_every_depth
async def test_a_call_to_a_dead_device_fails_and_the_rest_of_it_is_not_tried(bench: Bench, depth: int) -> None:
    model = bench.model(depth)
    bench.scorer.watch(model)
    bench.batcher.resize(40, 40)
    model.dead = True
    with pytest.raises(BatchFailedError):
        await bench.scores(model, HISTORY, items(20))
    await bench.observed.until(jobs=0)
    assert not await asyncio.wait_for(bench.observed.health.get(), SOON)
    assert len(bench.observed.batches) <= 3  # of 7: the next is on its way before the caller hears of the first
    model.dead = False
    np.testing.assert_allclose(await bench.scores(model, HISTORY, items(2)), model.expected(HISTORY, items(2)), **CLOSE)
    assert await asyncio.wait_for(bench.observed.health.get(), SOON)


@pytest.mark.parametrize("depth", [1, 3])
async def test_a_call_whose_caller_leaves_keeps_what_was_computed(bench: Bench, depth: int) -> None:
    model = bench.model(depth)
    bench.batcher.resize(40, 40)
    model.begun.clear()
    model.gate.clear()
    ranking = asyncio.create_task(bench.ranking.rank(model, (), items(30)))
    assert await asyncio.to_thread(model.begun.wait, SOON)
    ranking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ranking
    model.gate.set()
    await bench.scores(model, (), items(1, revision="", first=50))  # goes through the device after that batch
    encoded = len(model.texts) - 1
    assert 0 < encoded < 30
    assert (await bench.ranking.rank(model, (), items(30))).timings.cached_items == encoded
    assert len(model.texts) == 30 + 1  # nothing twice, and nothing for nobody


@at_every_depth
async def test_a_caller_who_leaves_frees_the_queue(bench: Bench, depth: int) -> None:
    model = bench.model(depth)
    bench.batcher.resize(40, 40)
    async with bench.held(model):
        waiting = asyncio.create_task(bench.ranking.rank(model, HISTORY, items(30)))
        jobs = await bench.observed.filled()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await bench.observed.until(jobs=0)
        assert bench.observed.dropped == ["cancelled"] * jobs
        assert len(bench.observed.batches) == 1
    assert len(model.texts) == 1


async def test_what_the_batcher_refuses_the_caller_is_told(bench: Bench) -> None:
    model = bench.model(0)
    async with bench.held(model):
        queued = asyncio.create_task(bench.ranking.rank(model, (), items(10)))
        await bench.observed.until(jobs=1)
        with pytest.raises(OverloadedError):
            await bench.ranking.rank(model, (), items(1000))
        assert bench.observed.waiting[1] == 1
        queued.cancel()
    await bench.batcher.drain(SOON)
    with pytest.raises(ClosedError):
        await bench.ranking.rank(model, (), items(1))


@pytest.mark.parametrize("depth", [1, 3])
async def test_a_new_model_learns_the_items_that_another_knows_from_their_texts(bench: Bench, depth: int) -> None:
    old, new = bench.model(2), bench.model(depth)
    await bench.scores(old, (), [*items(10), BAD_ITEM, *items(3, revision="")])
    assert await bench.ranking.warm(new, like=old) == 10
    assert len(new.texts) == 10
    assert bench.observed.batches[-1][1] == bench.batcher.limits.bulk_tokens
    ranked = await bench.ranking.rank(new, HISTORY, items(10))
    assert ranked.timings.cached_items == 10
    np.testing.assert_allclose(ranked.probabilities, new.expected(HISTORY, items(10)), **CLOSE)


async def test_a_new_model_fills_half_of_the_cache_with_what_was_used_last_and_keeps_its_order(
    tiny_base: Base, tiny_packed: PackedBert
) -> None:
    room = 300_000
    bench = Bench(tiny_base, tiny_packed, item_cache_bytes=room)
    bench.batcher.resize(ONE_BATCH, ONE_BATCH)
    old, new = bench.model(1), bench.model(2)
    await bench.scores(old, (), items(200))
    before = [key.item_id for key, _ in bench.caches.items.newest_first()]
    learned = await bench.ranking.warm(new, like=old)
    each = bench.caches.items.used_bytes // len(bench.caches.items)
    assert room // 2 < learned * each < room // 2 + 64 * each  # it looks how much there is after every 64
    assert len(new.texts) == learned < len(before)
    kept = [key.item_id for key, _ in bench.caches.items.newest_first() if key.computed_by == new.item_key]
    assert kept == before[:learned]
    await bench.close()


async def test_a_model_that_shares_or_caches_no_items_has_nothing_to_learn(bench: Bench) -> None:
    old = bench.model(1)
    await bench.scores(old, (), items(10))
    batches = len(bench.observed.batches)
    assert await bench.ranking.warm(bench.model(1, version="v2"), like=old) == 0
    assert await bench.ranking.warm(bench.model(0), like=old) == 0
    assert await bench.ranking.warm(bench.model(2), like=bench.model(0)) == 0
    assert len(bench.observed.batches) == batches
