"""The objectives of a scenario, and the lines of them that a run did not keep."""

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from services.cli.loadtest.failure import LoadTestError
from services.cli.loadtest.figures import Figures, Measured
from services.cli.loadtest.scenarios import told


class Objective(BaseModel):
    """What must hold of the steps at `rate` taken together, or of all steps; at least one limit is set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: float | None = Field(default=None, gt=0)
    p50_ms: float | None = Field(default=None, gt=0)
    p99_ms: float | None = Field(default=None, gt=0)
    error_share: float | None = Field(default=None, ge=0, le=1)
    goodput_per_s: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _limits(self) -> "Objective":
        if all(limit is None for limit in (self.p50_ms, self.p99_ms, self.error_share, self.goodput_per_s)):
            raise ValueError("set p50_ms, p99_ms, error_share or goodput_per_s")
        return self


_FILE = TypeAdapter(dict[str, tuple[Objective, ...]])


def read_objectives(path: Path, name: str) -> tuple[Objective, ...]:
    """The objectives of the scenario of that name; none when the file has none for it.

    Raises:
        LoadTestError: when the file cannot be read.
    """
    try:
        found: Mapping[str, tuple[Objective, ...]] = _FILE.validate_python(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise LoadTestError(f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise LoadTestError(f"{path}: {error}") from error
    except ValidationError as error:
        raise LoadTestError(f"{path}: {told(error)}") from error
    return found.get(name, ())


def failures(measured: Measured, objectives: tuple[Objective, ...]) -> tuple[str, ...]:
    """Every line that does not hold, in words; empty when all hold."""
    lines: list[str] = []
    for objective in objectives:
        place = measured.name if objective.rate is None else f"{measured.name} at {objective.rate:g}/s"
        figures = measured.together(objective.rate)
        if figures is None:
            offered = ", ".join(f"{step.rate:g}" for step in measured.steps)
            lines.append(f"{place}: no step offers that; there are {offered}")
        else:
            lines += [f"{place}: {line}" for line in _broken(figures, objective)]
    return tuple(lines)


def _broken(figures: Figures, objective: Objective) -> list[str]:
    at_most = (
        ("p50_ms", objective.p50_ms, _ms(figures.p50_s)),
        ("p99_ms", objective.p99_ms, _ms(figures.p99_s)),
        ("error_share", objective.error_share, figures.error_share),
    )
    lines = [
        f"{name} = {limit:g} is broken, it was {found:.4g}" if found < math.inf else f"{name}: nothing was answered OK"
        for name, limit, found in at_most
        if limit is not None and found > limit
    ]
    least, found = objective.goodput_per_s, figures.goodput_per_s
    if least is not None and found < least:
        lines.append(f"goodput_per_s = {least:g} is broken, it was {found:.4g}")
    return lines


def _ms(seconds: float | None) -> float:
    """Milliseconds; without any answer there is no limit that they keep."""
    return math.inf if seconds is None else seconds * 1000
