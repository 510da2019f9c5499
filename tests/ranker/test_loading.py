"""What a device cannot do it is not asked to do; what stops the start says what to try."""

import json
import logging
from pathlib import Path

import pytest
from transformers import BertModel

from services.ranker import loading
from services.ranker.settings import RankerSettings
from services.ranker.work import DeadlinePassedError
from shared.clock import SystemClock
from shared.logs import FIELDS
from shared.model.number_format import seconds_of_layer
from shared.model.placement import Placement
from shared.start import StartError
from tests.ranker.conftest import StartRanker


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
