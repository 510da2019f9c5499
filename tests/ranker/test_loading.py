"""What a device cannot do it is not asked to do; what stops the start says what to try."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import BertModel

from services.ranker import loading
from services.ranker.settings import RankerSettings
from services.ranker.work import DeadlinePassedError
from shared.clock import ManualClock, SystemClock
from shared.logs import FIELDS
from shared.model.base import Base
from shared.model.number_format import seconds_of_layer
from shared.model.packed import PackedBert
from shared.model.placement import Placement
from shared.model.ranking_model import ItemState
from shared.model.tokens import TokenIds
from shared.start import StartError
from tests.ranker.batcher_bench import NOW
from tests.ranker.conftest import StartRanker
from tests.ranker.ranking_bench import WatchedModel


def without_bfloat16(bert: BertModel, placement: Placement) -> float:
    if placement.dtype == "bfloat16":
        raise RuntimeError("this processor has no such instruction")
    return seconds_of_layer(bert, placement)


def test_a_number_format_that_the_device_cannot_compute_is_not_chosen(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loading, "seconds_of_layer", without_bfloat16)
    caplog.set_level(logging.INFO, "services.ranker.loading")
    settings = RankerSettings(model=str(tiny_folder), device="cpu", dtype="auto", max_batch_tokens=64)
    loaded = loading.load(settings, SystemClock())
    assert loaded.packed.placement.dtype == "float32"
    fields = [getattr(record, FIELDS) for record in caplog.records]
    assert fields[0]["bfloat16_ms"] is None
    json.dumps(fields, allow_nan=False)  # what goes into a line of the log


def test_a_bulk_batch_is_never_larger_than_a_batch_of_calls(tiny_folder: Path) -> None:
    chosen = {"max_batch_tokens": 100, "bulk_batch_tokens": 5000}
    settings = RankerSettings(model=str(tiny_folder), device="cpu", dtype="float32", **chosen)
    limits = loading.load(settings, SystemClock()).limits
    assert (limits.interactive_tokens, limits.bulk_tokens) == (100, 100)


@pytest.mark.parametrize(
    ("batch", "given", "queue"), [(64, 0, 65_536), (1024, 0, 65_536), (2048, 0, 131_072), (64, 30, 30)]
)
def test_the_queue_has_room_for_two_of_the_largest_calls_unless_it_is_set(
    tiny_folder: Path, batch: int, given: int, queue: int
) -> None:
    chosen = {"max_batch_tokens": batch, "max_queue_tokens": given}
    settings = RankerSettings(model=str(tiny_folder), device="cpu", dtype="float32", **chosen)
    assert loading.load(settings, SystemClock()).limits.queue_tokens == queue


class CrowdedModel(WatchedModel):
    """Every batch takes a second, since others use the cores, too; its own computing grows by the square."""

    def encode_items(self, texts: Sequence[TokenIds]) -> list[ItemState]:
        self._clock.advance(1.0)
        sum(range(300 * len(texts) ** 2))
        return []


@pytest.mark.parametrize(("threads", "budget"), [(1, 256), (2, 2048)])
def test_one_thread_is_measured_by_what_it_computes_and_several_by_the_clock(
    tiny_base: Base, tiny_packed: PackedBert, threads: int, budget: int
) -> None:
    model = CrowdedModel(tiny_base, tiny_packed, clock := ManualClock(NOW), split_depth=3)
    torch.set_num_threads(threads)
    try:
        assert loading._measured(model, clock) == budget
    finally:
        torch.set_num_threads(1)


async def test_a_device_that_fails_while_it_is_measured_stops_the_start_with_what_to_try(
    start_ranker: StartRanker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> float:
        raise RuntimeError("the text of this exception is nobody's business")

    monkeypatch.setattr("services.ranker.loading.zero_shot_model", fails)
    with pytest.raises(StartError, match="HOMEPAGE_RANKER_DEVICE=cpu") as stopped:
        await start_ranker()
    assert "nobody's business" not in str(stopped.value)


async def test_a_first_answer_that_comes_too_late_stops_the_start_with_what_to_try(
    start_ranker: StartRanker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(*_: object) -> bool:
        raise DeadlinePassedError

    monkeypatch.setattr("services.ranker.ranking.Ranking.answers", late)
    with pytest.raises(StartError, match="HOMEPAGE_RANKER_DTYPE=float32"):
        await start_ranker()
