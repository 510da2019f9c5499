"""A new version begins with the items of the old one, if the device has time for them; the swap waits for neither."""

import asyncio
import math

import pytest

from services.ranker.models import Attempt
from services.ranker.ranking import Ranked
from services.ranker.switching import Switching, Workshop
from services.ranker.work import OverloadedError
from shared.model.ranking_model import RankingModel
from tests.ranker.switching.bench import HISTORY, ITEMS, Bench, Store, items


@pytest.mark.parametrize("surface", ["", "page"])
async def test_a_new_version_knows_the_items_of_the_old_one_when_it_begins(bench: Bench, surface: str) -> None:
    await bench.begin()
    await bench.rank()
    for version in ("v1", "v2", "v3"):
        await bench.activate("news", version, surface)
        encoded = bench.scorer.encoded
        assert (await bench.rank("news")).timings.cached_items == len(ITEMS)
        if version != "v1":
            assert (await bench.rank("news", items(20, first=100))).timings.cached_items == 20
        assert bench.scorer.encoded == encoded
        await bench.check_answers("news")
        await bench.rank("news", items(20, first=100))


async def test_a_version_that_changes_only_upper_layers_keeps_the_states_of_items(bench: Bench) -> None:
    await bench.begin()
    await bench.activate("news", "upper1")
    await bench.rank()
    encoded = bench.scorer.encoded
    await bench.activate("news", "upper2")
    assert (await bench.rank()).timings.cached_items == len(ITEMS)
    assert bench.scorer.encoded == encoded + 1  # that of the first answer
    await bench.check_answers()


async def test_calls_go_before_the_items_that_a_new_version_encodes(bench: Bench) -> None:
    await bench.begin()
    await bench.activate("news", "v1")
    await bench.rank()
    bench.scorer.hold()
    swap = asyncio.create_task(bench.activate("news", "v2"))
    await bench.scorer.computed()  # its first answer
    bench.scorer.permit(1)
    await bench.scorer.computed()  # some items; more are queued
    queued = bench.queued_jobs
    assert queued > 0
    call = asyncio.create_task(bench.rank())
    await bench.watched.until(lambda: bench.queued_jobs > queued)
    bench.scorer.permit(2)  # these items, and the call
    assert (await call).timings.cached_items == len(ITEMS)
    assert not swap.done()
    bench.scorer.let_go()
    await swap
    await bench.check_answers()


async def test_a_full_queue_ends_the_encoding_and_not_the_swap(bench: Bench) -> None:
    await bench.begin()
    await bench.activate("news", "v1")
    await bench.rank()
    bench.scorer.hold()
    swap = asyncio.create_task(bench.activate("news", "v2"))
    await bench.scorer.computed()
    calls = [asyncio.create_task(bench.rank(candidates=items(20, 100 * row))) for row in range(1, 8)]
    await bench.watched.until(lambda: bench.queued_tokens > 1400)  # with one batch less still more than half
    bench.scorer.permit(1)
    assert (await swap).version == "v2"
    assert sum(call.done() for call in calls) == 0
    bench.scorer.let_go()
    await asyncio.gather(*calls)
    assert (await bench.rank()).timings.cached_items == 0
    await bench.check_answers()


async def test_a_busy_device_ends_the_encoding_in_time_and_not_the_swap(
    bench: Bench, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    workshop = Workshop(bench.registry, store.base, store.packed, poll_s=0.01, warm_up_s=0.05)
    bench.switching = Switching(workshop, bench.models, bench.ranking, bench.clock, bench.watched.models_changed)
    await bench.begin()
    await bench.activate("news", "v1")
    await bench.rank()
    bench.scorer.hold()
    swap = asyncio.create_task(bench.activate("news", "v2"))
    await bench.scorer.computed()  # its first answer
    bench.scorer.permit(1)
    await bench.scorer.computed()  # some items; the device gets no further
    assert (await swap).version == "v2"
    assert "not all items of the old model" in caplog.text
    assert bench.queued_jobs == 0  # what nobody waits for is taken back
    bench.scorer.let_go()
    await bench.check_answers()


async def test_a_version_whose_first_answer_has_no_room_is_refused_for_now(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_late(model: RankingModel) -> Ranked:
        return await bench.ranking.rank(model, HISTORY, ITEMS, deadline=-math.inf)

    await bench.begin()
    await bench.activate("news", "v1")
    with monkeypatch.context() as busy:
        busy.setattr(bench.ranking, "answers", too_late)
        with pytest.raises(OverloadedError):
            await bench.activate("news", "v2")
    assert bench.answering() == ("news", "v1")
    assert bench.models.attempts() == [Attempt("news", "v2", "there is no room to try it now")]
    await bench.activate("news", "v2")
    assert bench.models.attempts() == []
