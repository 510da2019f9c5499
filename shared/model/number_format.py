"""Which number format a device computes faster in, measured on the model itself rather than guessed from its name."""

import statistics
import time

import torch
from transformers import BertModel

from shared.model.packed import PackedBert
from shared.model.packing import pack_segments
from shared.model.placement import DtypeName, Placement

_SEGMENT_TOKENS, _SEGMENTS = 25, 20
_REPEATS = 5
_WORTHWHILE = 0.8
"""bfloat16 rounds scores; it must at least save a fifth of the time."""


def seconds_of_layer(bert: BertModel, placement: Placement) -> float:
    """Median seconds that 500 tokens take through one layer."""
    packed = PackedBert(bert, placement)
    packing = pack_segments([_SEGMENT_TOKENS] * _SEGMENTS, packed.device)
    hidden = torch.zeros(packing.tokens, packed.width, dtype=packed.dtype, device=packed.device)
    taken: list[float] = []
    with torch.inference_mode():
        for _ in range(1 + _REPEATS):
            started = time.perf_counter()
            packed.through(0, hidden, packing)
            if packed.device.type == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])


def faster_dtype(float32_s: float, bfloat16_s: float) -> DtypeName:
    """bfloat16 where it is clearly faster than float32, given the seconds of the same work."""
    return "bfloat16" if bfloat16_s <= _WORTHWHILE * float32_s else "float32"
