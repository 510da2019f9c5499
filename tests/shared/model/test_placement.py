"""Where a model computes: what was asked for, or what there is; and the faster number format by measurement."""

import pytest

from shared.model.base import Base
from shared.model.number_format import faster_dtype, seconds_of_layer
from shared.model.placement import Placement, chosen_device


def test_cuda_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert chosen_device("auto") == chosen_device("cpu") == "cpu"
    with pytest.raises(ValueError, match="no CUDA device"):
        chosen_device("cuda")


def test_a_gpu_is_taken_where_there_is_one_unless_the_cpu_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert [chosen_device(wanted) for wanted in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]


def test_bfloat16_is_taken_only_where_it_saves_a_fifth_of_the_time() -> None:
    assert faster_dtype(float32_s=1.0, bfloat16_s=0.5) == "bfloat16"
    assert faster_dtype(float32_s=1.0, bfloat16_s=0.9) == "float32"
    assert faster_dtype(float32_s=1.0, bfloat16_s=3.0) == "float32"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_layer_can_be_timed_in_every_format(tiny_base: Base, dtype: str) -> None:
    assert seconds_of_layer(tiny_base.bert, Placement("cpu", dtype)) > 0  # type: ignore[arg-type]
