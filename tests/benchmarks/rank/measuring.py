"""Interleaved timing, and what becomes of it: a row of the table and of the JSON file."""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """One row; `against` names what it is compared with."""

    way: str
    candidates: int
    k: int | None
    dtype: str
    ratio: float
    """How many times as fast, or, for overheads and percentiles, how many times as long: `unit` says it."""
    candidates_per_s: float
    milliseconds: float
    against: str
    unit: Literal["times as fast", "times as long"] = "times as fast"


def interleaved(
    sides: Mapping[str, Callable[[], object]], repeats: int, progress: Callable[[str], None]
) -> dict[str, float]:
    """Median seconds of each side. Each runs once to warm up, then all take turns, so that a slow spell hits all."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(1 + repeats):
        for name, run in sides.items():
            progress(f"turn {turn} of {repeats}: {name}")
            started = time.perf_counter()
            run()
            if turn:
                taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def print_table(title: str, figures: Iterable[Figure]) -> None:
    """Markdown on standard output."""
    print(f"\n### {title}\n")
    print("| way | candidates | k | dtype | ms | candidates/s | ratio | |")
    print("|---|---:|---:|---|---:|---:|---:|---|")
    for each in figures:
        k = "" if each.k is None else each.k
        print(
            f"| {each.way} | {each.candidates} | {k} | {each.dtype} | {each.milliseconds:.1f} "
            f"| {each.candidates_per_s:.0f} | {each.ratio:.2f} | {each.unit}: {each.against} |",
            flush=True,
        )


def print_comparison(title: str, figures: Sequence[Figure]) -> None:
    """Markdown on standard output: one row for each way, one column for each way that it is compared with."""
    others = list(dict.fromkeys(each.against for each in figures))
    print(f"\n### {title}\n")
    print("| way | k | dtype | ms | candidates/s | " + " | ".join(f"× {other}" for other in others) + " |")
    print("|---|---:|---|---:|---:|" + "---:|" * len(others))
    for each in figures:
        if each.against == others[0]:
            mine = [row for row in figures if (row.way, row.k, row.dtype) == (each.way, each.k, each.dtype)]
            ratios = " | ".join(f"{row.ratio:.1f}" for row in mine)
            name = f"{each.way} | {'' if each.k is None else each.k} | {each.dtype}"
            print(f"| {name} | {each.milliseconds:.0f} | {each.candidates_per_s:.0f} | {ratios} |", flush=True)


def write_json(path: Path, figures: Iterable[Figure]) -> None:
    """All rows as a list of objects."""
    path.write_text(json.dumps([asdict(each) for each in figures], indent=2) + "\n")
