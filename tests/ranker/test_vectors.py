"""Vectors through the real batcher: computed once, cached, kept when the caller ran out of time."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest

from services.ranker.batcher import Batcher
from services.ranker.instruments import Instruments
from services.ranker.models import LoadedModel
from services.ranker.vector_cache import VectorCache
from services.ranker.vectors import CachingEncoder, EncodeJob, Item, Parts, VectorSource
from services.ranker.work import BatchLimits, Priority, Urgency
from shared.clock import SystemClock
from shared.metrics import Metrics
from shared.model.encoder import Vectors
from shared.model.text import HistoryText, ItemText
from shared.model.zero_shot import ZeroShotModel

INTERACTIVE = Urgency(Priority.INTERACTIVE)
HISTORY = [HistoryText("bicycle race", "sport")]
SOON = 5.0


class CountingEncoder(CachingEncoder):
    """The real encoder, which tells what it computes and can be held after its first batch has begun."""

    def __init__(self, model: ZeroShotModel, cache: VectorCache) -> None:
        super().__init__(model, cache)
        self.texts = 0
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def score(self, batch: Sequence[EncodeJob]) -> Sequence[Vectors]:
        self.texts += sum(len(job.texts) for job in batch)
        self.begun.set()
        if not self.gate.wait(SOON):
            raise TimeoutError
        return super().score(batch)


class Bench:
    """A vector source over the tiny model, with small batches."""

    def __init__(self, model: ZeroShotModel) -> None:
        self.model = model
        clock, limits = SystemClock(), BatchLimits(10_000, interactive_tokens=40, bulk_tokens=20)
        self.metrics = Metrics()
        instruments = Instruments(self.metrics)
        self.cache = VectorCache(1_000_000)
        self.encoder = CountingEncoder(model, self.cache)
        self.batcher: Batcher[EncodeJob, Vectors] = Batcher(self.encoder, limits, clock, instruments)
        self.batcher.start()
        self.source = VectorSource(Parts(model, self.cache, self.batcher, limits, instruments), clock)
        self.loaded = LoadedModel(model, self.source, clock.now())

    def alone(self, item: Item) -> Vectors:
        """The item's vector, straight from the model."""
        vector: Vectors = self.model.vectors(self.model.candidate_ids([item.text]))[0]
        return vector


@pytest.fixture
async def bench(tiny_model: ZeroShotModel) -> AsyncIterator[Bench]:
    made = Bench(tiny_model)
    yield made
    made.encoder.gate.set()
    await made.batcher.drain()
    made.source.close()


def items(count: int, revision: str = "r1") -> list[Item]:
    return [Item(f"item-{row}", revision, ItemText(f"race number {row}", "sport")) for row in range(count)]


async def test_every_row_is_the_vector_of_its_own_item_however_the_call_was_cut(bench: Bench) -> None:
    wanted = [*items(30), *items(3, revision="")]
    found = await bench.source.find(HISTORY, wanted, INTERACTIVE)
    np.testing.assert_allclose(found.items, np.stack([bench.alone(item) for item in wanted]), atol=1e-5)
    context = bench.model.vectors([bench.model.context_ids(HISTORY)])[0]
    assert found.context is not None
    np.testing.assert_allclose(found.context, context, atol=1e-5)


async def test_the_same_text_twice_in_a_call_is_computed_once_and_cached_for_both(bench: Bench) -> None:
    text = ItemText("bicycle")
    twins = [Item("a", "1", text), Item("b", "1", text), Item("c", "", text)]
    found = await bench.source.find((), twins, INTERACTIVE)
    assert bench.encoder.texts == 1
    assert len(bench.cache) == 2
    np.testing.assert_array_equal(found.items[0], found.items[2])


async def test_cached_items_are_counted_and_not_computed_again(bench: Bench) -> None:
    await bench.loaded.embed(items(10))
    before = bench.encoder.texts
    ranked = await bench.loaded.rank(HISTORY, items(12))
    assert ranked.timings.cached_items == 10
    assert bench.encoder.texts == before + 3  # the context and two new items
    context, (one, other) = (
        bench.model.context_ids(HISTORY),
        bench.model.candidate_ids([item.text for item in items(12)[10:]]),
    )
    assert ranked.timings.computed_tokens == len(context) + len(one) + len(other)


async def test_an_unchanged_history_and_known_items_cost_no_forward_pass(bench: Bench) -> None:
    first = await bench.loaded.rank(HISTORY, items(5))
    before = bench.encoder.texts
    again = await bench.loaded.rank(HISTORY, items(5))
    assert bench.encoder.texts == before
    assert (again.timings.computed_tokens, again.timings.compute_s) == (0, 0.0)
    np.testing.assert_array_equal(again.probabilities, first.probabilities)


async def test_a_context_belongs_to_what_the_history_says_and_to_nobody(bench: Bench) -> None:
    await bench.loaded.rank(HISTORY, items(1))
    before = bench.encoder.texts
    same_text = [HistoryText("bicycle race", "sport", "like"), HistoryText("bank", "money", "hide")]
    await bench.loaded.rank(same_text, items(1))  # another action, and one that no context takes in
    assert bench.encoder.texts == before
    found = await bench.source.find([HistoryText("bank rates", "money"), *HISTORY], items(1), INTERACTIVE)
    assert bench.encoder.texts == before + 1
    changed = bench.model.context_ids([HistoryText("bank rates", "money"), *HISTORY])
    assert found.context is not None
    np.testing.assert_allclose(found.context, bench.model.vectors([changed])[0], atol=1e-5)


async def test_look_ups_of_items_and_contexts_are_counted(bench: Bench) -> None:
    def looked_up() -> tuple[float | None, float | None]:
        name = "homepage_ranker_cache_lookups_total"
        registry = bench.metrics.registry
        hits, misses = (registry.get_sample_value(name, {"result": result}) for result in ("hit", "miss"))
        return hits, misses

    await bench.loaded.rank(HISTORY, items(3))
    assert looked_up() == (0, 4)
    await bench.loaded.rank(HISTORY, items(3))
    assert looked_up() == (4, 4)
    await bench.loaded.rank((), items(3))
    assert looked_up() == (7, 4)


async def test_an_empty_revision_is_not_cached(bench: Bench) -> None:
    await bench.loaded.embed(items(3, revision=""))
    assert len(bench.cache) == 0


async def test_another_revision_is_computed_anew(bench: Bench) -> None:
    await bench.loaded.embed(items(1))
    changed = Item("item-0", "r2", ItemText("bank"))
    np.testing.assert_allclose((await bench.loaded.embed([changed]))[0], bench.alone(changed), atol=1e-5)


async def test_with_all_items_cached_and_no_history_nothing_is_computed(bench: Bench) -> None:
    await bench.loaded.embed(items(5))
    before = bench.encoder.texts
    ranked = await bench.loaded.rank((), items(5))
    assert bench.encoder.texts == before
    assert ranked.timings.computed_tokens == 0
    assert len(set(ranked.probabilities.ravel().tolist())) == 1


async def test_the_parts_of_the_time_add_up(bench: Bench) -> None:
    clock = SystemClock()
    began = clock.monotonic()
    timings = (await bench.loaded.rank(HISTORY, items(200))).timings
    whole = clock.monotonic() - began
    assert timings.compute_s > 0
    assert timings.queue_s + timings.tokenise_s + timings.compute_s <= whole


async def test_a_rank_that_runs_out_of_time_keeps_what_was_computed(bench: Bench) -> None:
    bench.encoder.gate.clear()
    ranking = asyncio.create_task(bench.loaded.rank((), items(30)))
    assert await asyncio.to_thread(bench.encoder.begun.wait, SOON)
    ranking.cancel()
    bench.encoder.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await ranking
    await bench.loaded.embed([Item("later", "", ItemText("bank"))])  # goes through the device after that batch
    again = await bench.loaded.rank((), items(30))
    assert again.timings.cached_items > 0  # the batch that was in the device when the caller went
    assert bench.encoder.texts == 30 + 1  # nothing twice, and nothing for nobody
