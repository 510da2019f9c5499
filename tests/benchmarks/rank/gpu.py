"""On a GPU: the fast path and plain cross-encoding in bfloat16, alone and under concurrent calls, against its peak."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from transformers import BertConfig, BertModel

from shared.model.base import Base
from shared.model.packed import PackedBert
from shared.model.placement import DeviceName, Placement
from shared.model.ranking_model import RankingModel
from tests.benchmarks.rank.bench_model import LAYOUT, make_model, read_items, read_user, score
from tests.benchmarks.rank.measuring import Figure, interleaved, percentile, print_table
from tests.benchmarks.rank.rivals import PlainTransformers, RivalSetup, save_cross_encoder
from tests.benchmarks.rank.stand import history_of, items_of, stand
from tests.benchmarks.rank.workload import Workload, WorkloadShape, make_workload

_SEED = 1
_CONCURRENT = (1, 16, 64)
_RIVAL_BATCH = 256
_CALLS_EACH = 8
_CACHE_BYTES = 2**33


@dataclass(frozen=True, slots=True)
class Scale:
    """How much to measure."""

    device: DeviceName
    candidates: Sequence[int]
    repeats: int
    batch_tokens: int
    progress: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Setting:
    """What callers ask for, and the seconds that plain cross-encoding takes for it."""

    workload: Workload
    plain_s: float
    scale: Scale


def measured(base: Base, scale: Scale) -> list[Figure]:
    """Tables on standard output, and their rows."""
    peak = matmul_peak(torch.device(scale.device))
    print(f"\nmatmul peak measured (8192 squared, bfloat16): {peak / 1e12:.0f} TFLOP/s")
    found: list[Figure] = []
    for each in (base, bert_base_size(base)):
        for many in scale.candidates:
            found += _one(each, many, peak, scale)
    return found


def bert_base_size(base: Base) -> Base:
    """A BERT of 12 layers and 768 columns with random weights and the tokenizer of `base`: as fast as a trained one."""
    torch.manual_seed(_SEED)
    config = BertConfig(vocab_size=base.bert.config.vocab_size)
    return Base("bert-base-size", "0" * 64, BertModel(config, add_pooling_layer=False).eval(), base.tokenizer)


def matmul_peak(device: torch.device, side: int = 8192) -> float:
    """FLOP/s of a large square product in bfloat16, the best of a few."""
    one, other = (torch.randn(side, side, dtype=torch.bfloat16, device=device) for _ in range(2))
    taken = []
    for _ in range(12):
        started = time.perf_counter()
        torch.matmul(one, other)
        _wait(device)
        taken.append(time.perf_counter() - started)
    return 2 * side**3 / min(taken)


def flops(model: RankingModel, workload: Workload, *, items_cached: bool) -> float:
    """Of one call by the fast path: products of weights and of attention, at two operations each."""
    width, depth, split = model.bert.width, model.bert.depth, model.manifest.layout.split_depth
    user, lengths = len(workload.user_ids), [len(ids) for ids in workload.candidate_ids]
    tokens, many = sum(lengths), len(lengths)
    whole_layer = 24 * width**2
    last_user = 6 * width**2 * user
    contexts = user * (depth - 1) * (whole_layer + 4 * width * user) + last_user
    own = sum(4 * width * length**2 for length in lengths)
    lower = 0.0 if items_cached else split * (tokens * whole_layer + own)
    upper = (depth - split - 1) * (tokens * whole_layer + own + 4 * width * tokens * user)
    last = tokens * 6 * width**2 + own + many * (18 * width**2 + 4 * width * user)
    return contexts + lower + upper + last


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _one(base: Base, many: int, peak: float, scale: Scale) -> list[Figure]:
    """One base and one number of candidates."""
    packed = PackedBert(base.bert, Placement(scale.device, "bfloat16"))
    workload = make_workload(base.tokenizer, LAYOUT, WorkloadShape(many), _SEED)
    models = {k: make_model(base, packed, k) for k in (0, 4)}
    with tempfile.TemporaryDirectory() as folder:
        save_cross_encoder(base, Path(folder), _SEED)
        plain = PlainTransformers(RivalSetup(Path(folder), packed.placement, _RIVAL_BATCH))
        sides: dict[str, Callable[[], object]] = {plain.name: partial(plain.scores, workload.user, workload.candidates)}
        sides |= {_name(k): _direct(model, workload) for k, model in models.items()}
        seconds = interleaved(sides, scale.repeats, scale.progress)
        found = [_figure(plain.name, None, many, seconds[plain.name], seconds[plain.name])]
        found += asyncio.run(_plain_loaded(plain, workload, seconds[plain.name], scale))
    for k, model in models.items():
        found.append(_figure(_name(k), k, many, seconds[_name(k)], seconds[plain.name]))
        rate = flops(model, workload, items_cached=k > 0) / seconds[_name(k)]
        print(f"{base.base_id}, C = {many}, {_name(k)}: {rate / 1e12:.1f} TFLOP/s, {rate / peak:.0%} of peak")
        found += asyncio.run(_loaded(model, workload, seconds[plain.name], scale))
    print_table(f"{base.base_id}: {many} candidates of about 25 tokens, a user of 128", found)
    return found


def _name(k: int) -> str:
    return f"fast path, k = {k}" + (", items cached" if k else "")


def _direct(model: RankingModel, workload: Workload) -> Callable[[], object]:
    items = read_items(model, workload.candidates)
    if model.caches_items:
        return lambda: score(model, read_user(model, workload.user), items)
    return lambda: score(model, read_user(model, workload.user), read_items(model, workload.candidates))


def _figure(way: str, k: int | None, many: int, taken: float, other: float) -> Figure:
    return Figure(way, many, k, "bfloat16", other / taken, many / taken, taken * 1e3, "transformers, padded")


async def _loaded(model: RankingModel, workload: Workload, plain_s: float, scale: Scale) -> list[Figure]:
    """Calls through the batcher; users are new in every call, items are cached where the model caches them."""
    history, items = history_of(workload), items_of(workload)
    k, cache_bytes = model.manifest.layout.split_depth, _CACHE_BYTES if model.caches_items else 0
    async with stand(scale.batch_tokens, cache_bytes, caches_users=False) as core:
        return await _callers(
            _name(k), k, lambda: core.ranking.rank(model, history, items), _Setting(workload, plain_s, scale)
        )


async def _plain_loaded(plain: PlainTransformers, workload: Workload, plain_s: float, scale: Scale) -> list[Figure]:
    """Callers of plain cross-encoding, one after another as they come: a GPU works kernel by kernel anyway."""
    turn = asyncio.Lock()

    async def call() -> None:
        async with turn:
            await asyncio.to_thread(plain.scores, workload.user, workload.candidates)

    return await _callers(plain.name, None, call, _Setting(workload, plain_s, scale))


async def _callers(way: str, k: int | None, call: Callable[[], Awaitable[object]], setting: _Setting) -> list[Figure]:
    """Closed loops of 1, 16 and 64 callers: throughput against plain and against one caller, p50 and p99 of calls."""
    many, scale = len(setting.workload.candidates), setting.scale
    found: list[Figure] = []
    taken: list[float] = []

    async def caller() -> None:
        for _ in range(_CALLS_EACH):
            started = time.perf_counter()
            await call()
            taken.append(time.perf_counter() - started)

    await caller()
    alone = 0.0
    for callers in _CONCURRENT:
        taken.clear()
        scale.progress(f"{way}, {callers} callers")
        started = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(callers)))
        each = (time.perf_counter() - started) / (callers * _CALLS_EACH)
        alone = alone or each
        middle, late = statistics.median(taken), percentile(taken, 0.99)
        name = f"{way}, {callers} callers, p50 {middle * 1e3:.1f} ms, p99 {late * 1e3:.1f} ms"
        found.append(_figure(name, k, many, each, setting.plain_s))
        if callers > 1:
            found.append(replace(_figure(name, k, many, each, alone), against="one caller"))
    return found
