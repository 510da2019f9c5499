"""What happens once, at the start of a ranker: choosing device, number format and batch size, by measuring them."""

import logging
import math
import time
from dataclasses import dataclass

import torch
from transformers.utils import logging as transformers_logging

from services.ranker.budget import bulk_budget, probe, sizes_to_try
from services.ranker.settings import RankerSettings
from services.ranker.work import LEAST_BUDGET, BatchLimits, DeviceMemoryError
from shared.clock import Clock
from shared.logs import FIELDS
from shared.model.base import Base, load_base
from shared.model.number_format import faster_dtype, seconds_of_layer
from shared.model.packed import PackedBert
from shared.model.placement import DeviceName, Placement, chosen_device
from shared.model.ranking_model import RankingModel
from shared.model.zero_shot import zero_shot_model

log = logging.getLogger(__name__)

_SIZES = {"cpu": (256, 2048), "cuda": (4096, 131_072)}
"""Smallest and largest batch that is tried, in tokens."""
_QUEUED_BATCHES, _LEAST_QUEUED = 64, 65_536
"""The queue has room for so many batches, and for so many tokens at least: two of the largest calls."""
_PROBE_TEXT_TOKENS = 32


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """The base, its packed form on the device, its own model, and the limits of the batches."""

    base: Base
    packed: PackedBert
    model: RankingModel
    limits: BatchLimits


def load(settings: RankerSettings, clock: Clock) -> Loaded:
    """Blocking; for a thread.

    Raises:
        ValueError: when the model or the device cannot be had; the text says why.
        DeviceMemoryError, RuntimeError: when the device has no memory for the model, or fails.
    """
    # Progress bars and load reports would break the log's lines of JSON; load_base checks what the reports tell.
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = chosen_device(settings.device)
    base = load_base(settings.model)
    placement = _placement(settings, base, device)
    packed = PackedBert(base.bert, placement)
    model = zero_shot_model(base, packed)
    limits = _limits(settings, model, clock)
    fields = {"version": model.manifest.version, "device": device, "dtype": placement.dtype}
    log.info("model ready", extra={FIELDS: fields | {"batch_tokens": limits.interactive_tokens}})
    return Loaded(base, packed, model, limits)


def _placement(settings: RankerSettings, base: Base, device: DeviceName) -> Placement:
    if settings.dtype != "auto":
        return Placement(device, settings.dtype)
    float32_s, bfloat16_s = (_layer_s(base, Placement(device, dtype)) for dtype in ("float32", "bfloat16"))
    dtype = faster_dtype(float32_s, bfloat16_s)
    fields = {"dtype": dtype, "float32_ms": _milliseconds(float32_s), "bfloat16_ms": _milliseconds(bfloat16_s)}
    log.info("number format chosen by the time of one layer", extra={FIELDS: fields})
    return Placement(device, dtype)


def _layer_s(base: Base, placement: Placement) -> float:
    """Infinite where the device cannot compute in this format at all."""
    try:
        return seconds_of_layer(base.bert, placement)
    except RuntimeError:
        return math.inf


def _milliseconds(seconds: float) -> float | None:
    """None for a format that cannot be computed: JSON has no infinity."""
    return round(seconds * 1e3, 2) if math.isfinite(seconds) else None


def _limits(settings: RankerSettings, model: RankingModel, clock: Clock) -> BatchLimits:
    tokens = max(settings.max_batch_tokens, LEAST_BUDGET) if settings.max_batch_tokens else _measured(model, clock)
    bulk = max(settings.bulk_batch_tokens, LEAST_BUDGET) if settings.bulk_batch_tokens else bulk_budget(tokens)
    bulk = min(bulk, tokens)  # or a Rank call would wait for more than a batch of its own
    return BatchLimits(
        queue_tokens=settings.max_queue_tokens or max(_QUEUED_BATCHES * tokens, _LEAST_QUEUED),
        interactive_tokens=tokens,
        bulk_tokens=bulk,
        idle_probe_s=settings.idle_probe_s,
        hang_s=settings.hang_s,
    )


def _measured(model: RankingModel, clock: Clock) -> int:
    text = (model.base.tokenizer.sep_token_id,) * min(_PROBE_TEXT_TOKENS, model.manifest.layout.max_candidate_tokens)

    def run(tokens: int) -> None:
        try:
            model.encode_items([text] * max(1, tokens // len(text)))  # waits for the device
        except torch.OutOfMemoryError:
            raise DeviceMemoryError from None

    # One thread of a CPU can tell its own computing from its waiting for a core that others use, too.
    alone = model.bert.device.type == "cpu" and torch.get_num_threads() == 1
    spent_s = time.thread_time if alone else clock.monotonic
    return probe(run, spent_s, sizes_to_try(*_SIZES[model.bert.device.type]))
