"""What a run amounts to, step by step.

Every time counts from the moment at which the schedule wanted the call, not from when the generator got to it: a
generator that falls behind would otherwise hide the waiting (coordinated omission).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.cli.loadtest.fallbacks import Fallbacks
from services.cli.loadtest.ghz import OK, Run
from services.cli.loadtest.schedule import Step

SATURATED_BELOW = 0.95
"""Saturated is a set whose goodput is less than this share of what is offered."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of the calls of a stretch of load. Times in seconds, rates a second."""

    rate: float
    """Calls that the schedule offered."""
    begins_s: float
    seconds: float
    calls: int
    ok: int
    good: int
    """Answered OK within the timeout."""
    p50_s: float | None
    """Percentiles of the calls answered OK; None without any."""
    p95_s: float | None
    p99_s: float | None
    errors: tuple[tuple[str, int], ...]
    """Statuses other than OK with their counts, the most frequent first."""
    fallbacks: float | None = None
    """Stages replaced by a fallback, per page that was made; None where nobody told."""

    @property
    def answered_per_s(self) -> float:
        """Calls answered OK."""
        return self.ok / self.seconds

    @property
    def goodput_per_s(self) -> float:
        """Calls answered OK within the timeout."""
        return self.good / self.seconds

    @property
    def error_share(self) -> float:
        """Calls that were not answered OK, out of all."""
        return 1 - self.ok / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A whole run."""

    name: str
    timeout_s: float
    steps: tuple[Figures, ...]
    rises: bool
    """Whether every step offers more than the one before."""
    calls: "TimedCalls"

    def together(self, rate: float | None = None) -> Figures | None:
        """All steps of that rate as one, or of all rates; None when there is no such step."""
        wanted = [number for number, step in enumerate(self.steps) if rate is None or step.rate == rate]
        if not wanted:
            return None
        parts = [self.steps[number] for number in wanted]
        seconds = sum(part.seconds for part in parts)
        offered = sum(part.rate * part.seconds for part in parts) / seconds
        whole = Step(offered, parts[0].begins_s, seconds)
        return _figures(whole, self.calls.of(np.isin(self.calls.step, wanted)), self.timeout_s)

    @property
    def saturation(self) -> Figures | None:
        """The step of the highest rate whose goodput still is SATURATED_BELOW of what is offered, if any."""
        holding = [step for step in self.steps if step.goodput_per_s >= SATURATED_BELOW * step.rate]
        return max(holding, key=lambda step: step.rate, default=None)

    @property
    def saturated(self) -> bool:
        """Whether some step of a rising run offers more than the set can do."""
        held = self.saturation
        return self.rises and self.steps[-1].rate > (held.rate if held else 0.0)

    def late_s(self, percentile: float) -> float:
        """How late the generator itself was."""
        return float(np.percentile(self.calls.late_s, percentile))

    def beyond(self, times: float) -> Figures | None:
        """The first step that offers at least so many times the saturation rate, if the run went that far."""
        held = self.saturation
        return next((step for step in self.steps if held and step.rate >= times * held.rate), None)


@dataclass(frozen=True, slots=True)
class TimedCalls:
    """The calls of a run in the order they began. All arrays have shape [calls]."""

    step: NDArray[np.intp]
    latency_s: NDArray[np.float64]
    """Since the call was due."""
    late_s: NDArray[np.float64]
    """Of that, what the generator was late."""
    status: NDArray[np.str_]

    def of(self, chosen: NDArray[np.bool_]) -> "TimedCalls":
        """Those chosen by a mask of shape [calls]."""
        return TimedCalls(self.step[chosen], self.latency_s[chosen], self.late_s[chosen], self.status[chosen])


def measure(run: Run, fallbacks: Fallbacks | None = None) -> Measured:
    """The figures of a run; with those of the pages' fallbacks where somebody watched them.

    The k-th call that began is the k-th that was due, and the one that was least late was on time.
    """
    order = np.argsort(run.calls.began_at, kind="stable")
    began = run.calls.began_at[order]
    due = run.schedule.due_s(len(began))
    zero = float(np.min(began - due))
    late = began - zero - due
    calls = TimedCalls(
        run.schedule.step_of(len(due)), run.calls.latency_s[order] + late, late, np.asarray(run.calls.status)[order]
    )
    steps = []
    for number, step in enumerate(run.schedule.steps):
        begins = zero + step.begins_s
        told = fallbacks.per_page(begins, begins + step.seconds) if fallbacks else None
        steps.append(_figures(step, calls.of(calls.step == number), run.settings.timeout, told))
    return Measured(run.settings.title, run.settings.timeout, tuple(steps), run.schedule.rises, calls)


def _figures(step: Step, calls: TimedCalls, timeout_s: float, fallbacks: float | None = None) -> Figures:
    ok = calls.status == OK
    answered = calls.latency_s[ok]
    count = int(ok.sum())
    p50, p95, p99 = _percentiles(answered, (50, 95, 99))
    return Figures(
        rate=step.rate,
        begins_s=step.begins_s,
        seconds=step.seconds,
        calls=len(ok),
        ok=count,
        good=int((answered <= timeout_s).sum()),
        p50_s=p50,
        p95_s=p95,
        p99_s=p99,
        errors=tuple(Counter(calls.status[~ok].tolist()).most_common()),
        fallbacks=fallbacks,
    )


def _percentiles(values: NDArray[np.float64], wanted: Sequence[int]) -> list[float | None]:
    """By nearest rank: each is the time of a call that happened."""
    if not len(values):
        return [None] * len(wanted)
    return [float(value) for value in np.percentile(values, wanted, method="inverted_cdf")]
