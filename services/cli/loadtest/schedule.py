"""When the calls of a run are due: ghz's open-loop pacing as plain arithmetic.

ghz tells of a call when it began and how long it took, not when it was due. The schedule says that: it assigns a call
to its step, and shows how late the generator itself was.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from services.cli.loadtest.failure import LoadTestError
from services.cli.loadtest.settings import LoadSettings

_SHORTEST_STEP_S = 0.5
"""A shorter rest at the end of a schedule belongs to the step before."""


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of constant load: `rate` calls a second for `seconds`, beginning at `begins_s` of the run."""

    rate: float
    begins_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """The steps of a run, one after another, at least one."""

    steps: tuple[Step, ...]

    @property
    def lowest_rate(self) -> float:
        """Calls a second of the gentlest step."""
        return min(step.rate for step in self.steps)

    @property
    def rises(self) -> bool:
        """Whether every step asks for more than the one before, and there are several."""
        rates = [step.rate for step in self.steps]
        return len(rates) > 1 and all(low < high for low, high in pairwise(rates))

    def step_of(self, count: int) -> NDArray[np.intp]:
        """The index of the step to which each of the first `count` calls belongs; shape [count].

        Calls beyond the last step belong to it.
        """
        return np.asarray(np.searchsorted(self._before(), np.arange(1, count + 1), side="left") - 1)

    def due_s(self, count: int) -> NDArray[np.float64]:
        """When the first `count` calls are due, in seconds of the run; shape [count].

        As ghz does it, the first call comes one interval after the beginning.
        """
        step = self.step_of(count)
        begins = np.array([each.begins_s for each in self.steps])[step]
        rates = np.array([each.rate for each in self.steps])[step]
        return np.asarray(begins + (np.arange(1, count + 1) - self._before()[step]) / rates)

    def _before(self) -> NDArray[np.float64]:
        """How many calls are due before each step; shape [steps]."""
        calls = np.cumsum([step.rate * step.seconds for step in self.steps])
        return np.asarray(np.concatenate(([0.0], calls))[:-1])


def schedule_of(settings: LoadSettings) -> Schedule:
    """The schedule that ghz follows with these settings.

    Raises:
        LoadTestError: when they are no open loop whose rates are known.
    """
    if settings.duration <= 0:
        raise LoadTestError(f"{settings.title}: set duration, so that the length of every step is known")
    if settings.load_schedule == "step":
        return Schedule(_steps(settings))
    if settings.load_schedule == "line":
        raise LoadTestError(f"{settings.title}: load-schedule line has no steps; use step")
    if settings.rps <= 0:
        raise LoadTestError(f"{settings.title}: set rps or load-schedule; without a rate there is no open load")
    return Schedule((Step(settings.rps, 0.0, settings.duration),))


def _steps(settings: LoadSettings) -> tuple[Step, ...]:
    """One step each `load-step-duration`. From `load-end` on the rate stays, and is still cut into such steps."""
    if settings.load_start <= 0 or settings.load_step == 0 or settings.load_step_duration <= 0:
        raise LoadTestError(f"{settings.title}: a step schedule needs load-start, load-step and load-step-duration")
    if settings.load_end <= 0 or settings.load_max_duration > 0:
        raise LoadTestError(f"{settings.title}: name the last rate by load-end, and not by load-max-duration")
    steps: list[Step] = []
    begins, rate = 0.0, settings.load_start
    while settings.duration - begins >= _SHORTEST_STEP_S:
        steps.append(Step(rate, begins, min(settings.load_step_duration, settings.duration - begins)))
        begins += settings.load_step_duration
        wanted = rate + settings.load_step
        beyond = wanted > settings.load_end if settings.load_step > 0 else wanted < settings.load_end
        rate = settings.load_end if beyond else wanted
    return tuple(steps)
