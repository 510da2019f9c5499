"""Latency over offered load as a picture: where the curve bends up is where the set is full."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.cli.loadtest.figures import Figures, Measured

_SIZE_INCHES = (8.0, 7.0)
_DOTS_PER_INCH = 130
_PERCENTILES = ("p50", "p95", "p99")


def draw(measured: Measured, path: Path) -> None:
    """Writes a PNG (needs matplotlib): percentiles above, goodput and errors below, over the offered rate.

    A run whose rate does not rise from step to step is drawn over time.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    rising = measured.rises
    places = [step.rate if rising else step.begins_s + step.seconds / 2 for step in measured.steps]
    _draw_latency(above, places, measured)
    _draw_goodput(below, places, measured.steps)
    held = measured.saturation if measured.saturated else None
    if held is not None:
        for axes in (above, below):
            axes.axvline(held.rate, color="0.6", linestyle=":", label=f"saturation, {held.rate:g}/s")
    for axes in (above, below):
        axes.grid(visible=True, color="0.92")
        axes.legend(loc="best", framealpha=0.9, edgecolor="0.9")
    below.set(xlabel="offered load, calls a second" if rising else "seconds since the beginning")
    figure.suptitle(f"{measured.name}: latency over {'offered load' if rising else 'time'}")
    figure.savefig(path, format="png", dpi=_DOTS_PER_INCH)


def _draw_latency(axes: Any, places: Sequence[float], measured: Measured) -> None:
    from matplotlib.ticker import LogLocator

    for name in _PERCENTILES:
        times = [getattr(step, f"{name}_s") for step in measured.steps]
        axes.plot(places, [None if time is None else time * 1000 for time in times], marker="o", label=name)
    axes.axhline(measured.timeout_s * 1000, color="tab:red", linestyle="--", linewidth=1, label="timeout")
    axes.set(ylabel="latency of OK answers, ms", yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")


def _draw_goodput(axes: Any, places: Sequence[float], steps: Sequence[Figures]) -> None:
    axes.plot(places, [step.rate for step in steps], color="0.7", linestyle="--", label="offered")
    axes.plot(places, [step.goodput_per_s for step in steps], marker="o", color="tab:green", label="goodput")
    errors = [(step.calls - step.ok) / step.seconds for step in steps]
    axes.plot(places, errors, marker="o", color="tab:red", label="errors")
    axes.set(ylabel="a second", ylim=(0, None))
