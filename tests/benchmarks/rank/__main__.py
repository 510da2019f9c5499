"""`python -m tests.benchmarks.rank`: what candidate isolation, caching and batching gain, beside other ways to score.

Every table compares both sides in one run, medians over interleaved repeats. Needs only what the ranker needs; rivals
that are not installed are named with the command that installs them.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from services.ranker.ranking import Item
from shared.model.base import PACKAGED_ID, Base, load_base
from shared.model.packed import PackedBert
from shared.model.placement import DtypeName, Placement, chosen_device
from shared.model.text import ItemText
from shared.model.zero_shot import zero_shot_model
from tests.benchmarks.rank import gpu
from tests.benchmarks.rank.bench_model import LAYOUT, make_model
from tests.benchmarks.rank.measuring import Figure, interleaved, print_comparison, print_table, write_json
from tests.benchmarks.rank.rivals import Rival, RivalSetup, rivals, save_cross_encoder
from tests.benchmarks.rank.scheduling import Plan, beside_bulk, company, overhead
from tests.benchmarks.rank.swapping import swap
from tests.benchmarks.rank.ways import Way, ways
from tests.benchmarks.rank.workload import Workload, WorkloadShape, make_workload

_SEED = 1
_ALL_RIVALS_AT = 200
"""Candidates at which every rival is measured; elsewhere the first one stands for them."""
_CALLERS = 16
_DTYPES: tuple[DtypeName, ...] = ("float32", "bfloat16")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    options = _options(arguments)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    torch.set_num_threads(options.threads)
    device = chosen_device(options.device)
    base = load_base(options.model)
    print(f"{base.base_id}, {_machine(device, options.threads)}, PyTorch {torch.__version__}")
    figures: list[Figure] = []
    if device == "cuda":
        figures += gpu.measured(base, gpu.Scale(device, options.candidates, options.repeats, 65_536, _progress))
    elif "scoring" in options.parts:
        figures += _scoring(base, options)
    if device == "cpu" and "batching" in options.parts:
        figures += asyncio.run(_batching(base, options))
    _progress("")
    if options.json:
        write_json(options.json, figures)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.rank", description=__doc__)
    parser.add_argument("--candidates", type=int, nargs="+", default=[20, 50, 100, 200, 500], metavar="N")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--model", default=PACKAGED_ID, help="base model: the packaged one, a folder or a hub id")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=1, help="of a forward pass on the CPU, on every side")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each side; medians are over these")
    parser.add_argument("--calls", type=int, default=120, help="paced calls of each side, for the 99th percentiles")
    parser.add_argument("--parts", nargs="+", choices=("scoring", "batching"), default=["scoring", "batching"])
    return parser.parse_args(arguments)


def _progress(line: str) -> None:
    """On standard error, over itself, if that is a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def _machine(device: str, threads: int) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else f"CPU, {threads} thread(s) a side"


def _workload(base: Base, candidates: int, seed: int = _SEED) -> Workload:
    return make_workload(base.tokenizer, LAYOUT, WorkloadShape(candidates), seed)


def _scoring(base: Base, options: argparse.Namespace) -> list[Figure]:
    packed = {dtype: PackedBert(base.bert, Placement("cpu", dtype)) for dtype in _DTYPES}
    splits = [k for k in (0, 2, 4) if k < base.layers]
    found: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder, rivals(RivalSetup(Path(folder), Placement())) as every:
        save_cross_encoder(base, Path(folder), _SEED)
        there = _installed(every)
        for many in options.candidates:
            workload = _workload(base, many)
            models = [make_model(base, packed[dtype], k) for dtype in _DTYPES for k in splits]
            # Two towers: candidates never meet the user.
            models += [zero_shot_model(base, packed[dtype]) for dtype in _DTYPES]
            ours = [way for model in models for way in ways(model, workload)]
            beside = there if many == _ALL_RIVALS_AT else there[:1]
            figures = _compared(ours, beside, workload, options.repeats)
            print_comparison(f"{many} candidates of about 25 tokens, a user of 128", figures)
            found += figures
    return found


def _installed(every: Sequence[Rival]) -> list[Rival]:
    """Those that are there, the one that the others are compared with first."""
    for rival in every:
        if rival.why_missing:
            print(f"not measured: {rival.name} ({rival.why_missing})")
    return sorted((rival for rival in every if not rival.why_missing), key=lambda rival: "predict" not in rival.name)


def _compared(ours: Sequence[Way], beside: Sequence[Rival], workload: Workload, repeats: int) -> list[Figure]:
    many = len(workload.candidates)
    sides = {f"{way.name} k={way.k} {way.dtype}": way.run for way in ours}
    sides |= {rival.name: partial(rival.scores, workload.user, workload.candidates) for rival in beside}
    seconds = interleaved(sides, repeats, _progress)
    rows: list[tuple[str, int | None, str, float]] = [
        (way.name, way.k, way.dtype, seconds[f"{way.name} k={way.k} {way.dtype}"]) for way in ours
    ]
    rows += [(rival.name, None, "float32", seconds[rival.name]) for rival in beside]
    return [
        Figure(name, many, k, dtype, seconds[rival.name] / taken, many / taken, taken * 1e3, rival.name)
        for rival in beside
        for name, k, dtype, taken in rows
    ]


async def _batching(base: Base, options: argparse.Namespace) -> list[Figure]:
    plan = Plan(batch_tokens=1024, repeats=options.repeats, calls=options.calls, progress=_progress)
    found: list[Figure] = []
    for dtype in _DTYPES:
        packed = PackedBert(base.bert, Placement("cpu", dtype))
        split = max(base.layers - 2, 0)
        whole, late = make_model(base, packed, 0), make_model(base, packed, split)
        callers = [[_workload(base, many, seed) for seed in range(_CALLERS)] for many in (5, 100)]
        found += [await company(whole, each, plan) for each in callers]
        users = [[_workload(base, many, seed) for seed in range(1 + 4 * options.repeats)] for many in (20, 200)]
        found += [await overhead(late, each, plan) for each in users]
        workload = _workload(base, 200)
        library = [
            Item(f"library-{row}", "", ItemText(text)) for row, text in enumerate(_workload(base, 10_000).candidates)
        ]
        bulk = await beside_bulk(late, zero_shot_model(base, packed), workload, library, plan)
        print(f"\none bulk batch, {dtype}: {bulk.bulk_batch_s * 1e3:.0f} ms")
        found += [bulk.median, bulk.p99, *await swap(base, packed, late, workload, plan)]
    print_table("Batching", found)
    return found


if __name__ == "__main__":
    sys.exit(main())
