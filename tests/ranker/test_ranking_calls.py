"""Calls through the real batcher: every row is its own, whatever else was computed with it, before it or for it."""

import asyncio
import copy
from collections.abc import AsyncIterator

import numpy as np
import pytest

from services.ranker.ranking import Item
from shared.model.base import Base
from shared.model.packed import PackedBert
from shared.model.text import HistoryText, ItemText
from tests.ranker.batcher_bench import SOON
from tests.ranker.ranking_bench import DEPTHS, HISTORY, IDLE_S, Bench, items

ONE_BATCH = 10_000
OTHER_HISTORY = [HistoryText("bank rates", "money"), *HISTORY]
CLOSE = {"atol": 1e-5, "rtol": 0}

at_every_depth = pytest.mark.parametrize("depth", DEPTHS)


@pytest.fixture
async def bench(tiny_base: Base, tiny_packed: PackedBert) -> AsyncIterator[Bench]:
    made = Bench(tiny_base, tiny_packed)
    yield made
    await made.close()


@at_every_depth
@pytest.mark.parametrize(("budget", "batches"), [(1, 33), (40, 11), (ONE_BATCH, 1)])
async def test_every_row_is_the_score_of_its_own_item_however_the_call_was_cut(
    bench: Bench, depth: int, budget: int, batches: int
) -> None:
    model, wanted = bench.model(depth), [*items(30), *items(3, revision="", first=30)]
    bench.batcher.resize(budget, budget)
    np.testing.assert_allclose(await bench.scores(model, HISTORY, wanted), model.expected(HISTORY, wanted), **CLOSE)
    assert len(bench.observed.batches) >= batches


@at_every_depth
async def test_a_row_scores_the_same_alone_in_company_split_and_between_other_neighbours(
    bench: Bench, depth: int
) -> None:
    model, wanted = bench.model(depth), items(12, revision="")
    bench.batcher.resize(ONE_BATCH, ONE_BATCH)
    alone = np.concatenate([await bench.scores(model, HISTORY, [item]) for item in wanted])
    assert np.ptp(alone, axis=0).min() > 1e-3
    swapped = await bench.scores(model, HISTORY, wanted[::-1])
    async with bench.held(model):
        other, own = (
            asyncio.create_task(bench.ranking.rank(model, history, wanted)) for history in (OTHER_HISTORY, HISTORY)
        )
        await bench.observed.until(jobs=2)
    batched = await own
    assert batched.timings.batch_tokens > batched.timings.computed_tokens
    assert np.abs((await other).probabilities - alone).max() > 1e-3
    bench.batcher.resize(30, 30)
    split = await bench.scores(model, HISTORY, wanted)
    for found in (swapped[::-1], batched.probabilities, split):
        np.testing.assert_allclose(found, alone, **CLOSE)


@at_every_depth
async def test_users_and_models_that_share_a_batch_get_their_own_scores(bench: Bench, depth: int) -> None:
    models = [bench.model(depth), bench.model(2, name="other", actions=("like", "click"), version="v2")]
    bench.batcher.resize(ONE_BATCH, ONE_BATCH)
    calls = [(model, history) for model in models for history in ((), HISTORY, OTHER_HISTORY)]
    async with bench.held(models[0]):
        ranked = [asyncio.create_task(bench.ranking.rank(*call, items(5))) for call in calls]
        await bench.observed.until(jobs=len(calls))
    for (model, history), answer in zip(calls, ranked, strict=True):
        np.testing.assert_allclose((await answer).probabilities, model.expected(history, items(5)), **CLOSE)
    assert len(bench.observed.batches) == 2


@pytest.mark.parametrize("depth", [1, 3])
async def test_the_same_text_twice_in_a_batch_is_encoded_once_and_cached_for_both(bench: Bench, depth: int) -> None:
    model, text = bench.model(depth), ItemText("bicycle")
    scores = await bench.scores(model, (), [Item("a", "1", text), Item("b", "1", text), Item("c", "", text)])
    assert len(model.texts) == 1
    assert len(bench.caches.items) == 2
    assert len(np.unique(scores, axis=0)) == 1


@pytest.mark.parametrize("depth", [1, 3])
async def test_known_items_are_counted_and_not_encoded_again(bench: Bench, depth: int) -> None:
    model = bench.model(depth)
    await bench.scores(model, (), items(10))
    model.texts.clear()
    ranked = await bench.ranking.rank(model, HISTORY, items(12))
    assert ranked.timings.cached_items == 10
    assert len(model.texts) == 2
    np.testing.assert_allclose(ranked.probabilities, model.expected(HISTORY, items(12)), **CLOSE)


@pytest.mark.parametrize("depth", [1, 2, 3])
async def test_known_items_of_a_known_user_cost_only_the_layers_in_which_they_meet(bench: Bench, depth: int) -> None:
    model = bench.model(depth)
    bench.batcher.resize(ONE_BATCH, ONE_BATCH)
    context, candidates = model.tokens(HISTORY, items(10))
    first = await bench.ranking.rank(model, HISTORY, items(10))
    again = await bench.ranking.rank(model, HISTORY, items(10))
    assert first.timings.computed_tokens == context + candidates
    assert again.timings.computed_tokens == round(candidates * (3 - depth) / 3)
    np.testing.assert_allclose(again.probabilities, first.probabilities, **CLOSE)


async def test_a_known_user_and_known_vectors_cost_no_batch_at_all(bench: Bench) -> None:
    model = bench.model(3)
    await bench.scores(model, HISTORY, items(5))
    batches = len(bench.observed.batches)
    model.takes_s = 1.0
    timings = (await bench.ranking.rank(model, HISTORY, items(5))).timings
    assert (timings.computed_tokens, timings.batch_tokens) == (0, 0)
    assert (timings.compute_s, timings.queue_s) == (0.0, 0.0)  # nothing waited: the products are no part of it
    assert len(bench.observed.batches) == batches


async def test_without_split_layers_no_item_is_cached_but_its_tokens_are(bench: Bench) -> None:
    model = bench.model(0)
    await bench.scores(model, OTHER_HISTORY, items(10))
    assert len(bench.caches.items) == 0
    assert len(model.tokeniser.texts) == 10 + 2
    ranked = await bench.ranking.rank(model, OTHER_HISTORY[::-1], items(10, revision="r2"))
    assert len(model.tokeniser.texts) == 10 + 2
    assert ranked.timings.cached_items == 0
    assert ranked.timings.computed_tokens == sum(model.tokens(OTHER_HISTORY, items(10)))
    np.testing.assert_allclose(ranked.probabilities, model.expected(OTHER_HISTORY[::-1], items(10)), **CLOSE)


@at_every_depth
async def test_a_context_belongs_to_what_the_history_says_and_to_nobody(bench: Bench, depth: int) -> None:
    model = bench.model(depth)
    await bench.scores(model, HISTORY, items(1))
    # Another action reads the same, and what the user refused is not read.
    same_text = [HistoryText("bank", "money", "hide"), HistoryText("bicycle race", "sport", "like")]
    await bench.scores(model, [*same_text, HistoryText("new money", action="dislike")], items(1))
    assert len(model.users) == 1
    changed = await bench.scores(model, OTHER_HISTORY, items(1))
    assert len(model.users) == 2
    np.testing.assert_allclose(changed, model.expected(OTHER_HISTORY, items(1)), **CLOSE)


@at_every_depth
async def test_all_jobs_of_a_call_share_one_context(bench: Bench, depth: int) -> None:
    model = bench.model(depth)
    await bench.scores(model, HISTORY, items(20))
    assert len(bench.observed.batches) > 3
    assert len(model.users) == 1


@at_every_depth
async def test_another_version_or_model_computes_its_own_context(bench: Bench, depth: int) -> None:
    models = [bench.model(depth), bench.model(depth, version="v2"), bench.model(depth, name="other")]
    for model in models:
        await bench.scores(model, HISTORY, items(1))
    assert [len(model.users) for model in models] == [1, 1, 1]


async def test_a_context_that_nobody_used_for_the_idle_time_is_computed_again(bench: Bench) -> None:
    model = bench.model(1)
    await bench.scores(model, HISTORY, items(1))
    bench.clock.advance(IDLE_S)
    await bench.scores(model, HISTORY, items(1))
    assert len(model.users) == 1
    bench.clock.advance(IDLE_S + 1)
    await bench.scores(model, HISTORY, items(1))
    assert len(model.users) == 2


async def test_models_with_the_same_lower_part_share_what_is_known_of_items_and_others_do_not(bench: Bench) -> None:
    first, same, deeper = bench.model(1), bench.model(1, version="v2"), bench.model(2)
    await bench.scores(first, HISTORY, items(5))
    np.testing.assert_allclose(await bench.scores(same, HISTORY, items(5)), same.expected(HISTORY, items(5)), **CLOSE)
    await bench.scores(deeper, HISTORY, items(5))
    assert [len(model.texts) for model in (first, same, deeper)] == [5, 0, 5]


@pytest.mark.parametrize("depth", [1, 3])
async def test_an_empty_revision_is_not_cached(bench: Bench, depth: int) -> None:
    model = bench.model(depth)
    for _ in range(2):
        ranked = await bench.ranking.rank(model, (), items(3, revision=""))
        assert ranked.timings.cached_items == 0
    assert (len(bench.caches.items), len(model.texts)) == (0, 6)


@pytest.mark.parametrize("depth", [1, 3])
async def test_another_revision_is_computed_anew(bench: Bench, depth: int) -> None:
    model, changed = bench.model(depth), [Item("item-0", "r2", ItemText("bank"))]
    await bench.scores(model, HISTORY, items(1))
    np.testing.assert_allclose(await bench.scores(model, HISTORY, changed), model.expected(HISTORY, changed), **CLOSE)


@at_every_depth
async def test_a_text_without_a_single_token_is_scored_all_the_same(bench: Bench, depth: int) -> None:
    model, blank = bench.model(depth), [Item("a", "r", ItemText("\t")), *items(2)]
    for history in ([HistoryText(" ")], [HistoryText(" "), *HISTORY]):
        for _ in range(2):  # also with its tokens, none, from the cache
            found = await bench.scores(model, history, blank)
            np.testing.assert_allclose(found, model.expected(history, blank), **CLOSE)


async def test_embedded_vectors_are_those_of_the_reference_at_bulk_priority_and_rank_knows_them(bench: Bench) -> None:
    model = bench.model(3)
    vectors = await bench.ranking.embed(model, items(10))
    assert {limit for _, limit in bench.observed.batches} == {bench.batcher.limits.bulk_tokens}
    np.testing.assert_allclose(vectors, model.expected_vectors(items(10)), **CLOSE)
    np.testing.assert_array_equal(vectors, await bench.ranking.embed(model, items(10)))
    assert (await bench.ranking.rank(model, (), items(10))).timings.cached_items == 10
    assert len(model.texts) == 10


@at_every_depth
async def test_look_ups_are_counted_for_each_cache(bench: Bench, depth: int) -> None:
    model, told = bench.model(depth), bench.told.look_ups
    split = depth > 0
    await bench.scores(model, HISTORY, items(3))
    assert +told == {("tokens", "miss"): 4, ("contexts", "miss"): 1} | ({("items", "miss"): 3} if split else {})
    told.clear()
    await bench.scores(model, HISTORY, items(3))
    known = {("items", "hit"): 3, ("tokens", "hit"): 1} if split else {("tokens", "hit"): 4}
    assert +told == {("contexts", "hit"): 1} | known
    told.clear()
    await bench.scores(model, (), items(3))
    assert +told == ({("items", "hit"): 3} if split else {("tokens", "hit"): 3})


@pytest.mark.parametrize(("depth", "passes"), [(0, 2), (1, 2), (3, 1)])
async def test_the_parts_of_the_time_are_told_exactly(bench: Bench, depth: int, passes: int) -> None:
    model = bench.model(depth)
    bench.batcher.resize(60, 60)
    async with bench.held(bench.model(0)):
        model.tokeniser.takes_s = 0.25  # once for the items, once for the history
        ranking = asyncio.create_task(bench.ranking.rank(model, HISTORY, items(10)))
        await bench.observed.until(jobs=3)
        bench.clock.advance(2.0)
        model.takes_s = 0.0625
    timings = (await asyncio.wait_for(ranking, SOON)).timings
    assert (timings.tokenise_s, timings.queue_s) == (0.5, 2.0)
    assert timings.compute_s == 3 * passes * 0.0625  # a batch encodes, and scores unless items are vectors
    assert bench.told.stages[-3:] == [("queue", 2.0), ("tokenise", 0.5), ("compute", timings.compute_s)]
    assert timings.batch_tokens == max(tokens for tokens, _ in bench.observed.batches)


async def test_only_the_time_of_rank_calls_is_told(bench: Bench) -> None:
    model, other = bench.model(3), bench.model(2)
    await bench.ranking.embed(model, items(3))
    await bench.ranking.answers(model)
    await bench.ranking.warm(other, like=model)
    assert bench.told.stages == []
    await bench.scores(model, HISTORY, items(3))
    assert [name for name, _ in bench.told.stages] == ["queue", "tokenise", "compute"]


async def test_the_time_of_a_batch_that_holds_several_parts_of_a_call_counts_once(bench: Bench) -> None:
    model = bench.model(0)
    async with bench.held(bench.model(0)):
        ranking = asyncio.create_task(bench.ranking.rank(model, HISTORY, items(10)))
        assert await bench.observed.filled() > 1
        bench.batcher.resize(ONE_BATCH, ONE_BATCH)
        model.takes_s = 0.0625
    timings = (await asyncio.wait_for(ranking, SOON)).timings
    assert (timings.compute_s, timings.queue_s) == (2 * 0.0625, 0.0)
    assert timings.batch_tokens == timings.computed_tokens


async def test_a_first_answer_tells_whether_a_model_works(bench: Bench, tiny_base: Base) -> None:
    assert await bench.ranking.answers(bench.model(1))
    broken = copy.deepcopy(tiny_base.bert)
    broken.encoder.layer[2].output.dense.weight.data.fill_(float("nan"))
    bench.packed = PackedBert(broken, bench.packed.placement)
    for depth in DEPTHS:
        assert not await bench.ranking.answers(bench.model(depth))


@pytest.mark.parametrize("depth", [1, 3])
async def test_what_calls_want_at_the_same_time_is_computed_once(bench: Bench, depth: int) -> None:
    model = bench.model(depth)
    async with bench.held(model):
        before = len(model.texts)
        calls = [asyncio.create_task(bench.ranking.rank(model, HISTORY, items(30))) for _ in range(4)]
        await bench.observed.filled()
    ranked = await asyncio.wait_for(asyncio.gather(*calls), SOON)
    assert len(model.texts) == before + 1 + 30  # the item of the call that held the device, and each item once
    assert len(model.users) == 1
    for each in ranked:
        np.testing.assert_allclose(each.probabilities, model.expected(HISTORY, items(30)), rtol=0, atol=1e-5)
