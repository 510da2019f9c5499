"""How far a figure may be trusted: intervals over resampled users, and the spread over seeds.

Users are drawn, not rows: what one user does hangs together, and rows drawn one by one would promise too much. A figure
is written as a function of sums over users, so that a draw is a weight for each user and a product of matrices gives
all figures of all draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Statistic:
    """A figure as a function of sums over users."""

    sums: Floats
    """[users, columns]."""
    figure: Callable[[Floats], Floats]
    """From weighted sums [draws, columns] to figures [draws]; not a number where there is none."""


@dataclass(frozen=True, slots=True)
class Resampling:
    """How intervals are drawn."""

    draws: int = 1000
    seed: int = 0
    level: float = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with the ends of its interval; None with fewer than two users, who tell nothing of the others."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over training seeds."""

    mean: float
    deviation: float
    """Sample standard deviation; 0 with one seed."""
    seeds: int


def mean_statistic(totals: Floats, counts: Floats) -> Statistic:
    """Sum of `totals` over sum of `counts`, both [users]."""
    return Statistic(np.stack([totals, counts], axis=1), lambda sums: divided(sums[:, 0], sums[:, 1]))


def difference_statistic(one: Statistic, other: Statistic) -> Statistic:
    """`one` minus `other` over the same users in the same order: what chance does to both cancels out."""
    columns = one.sums.shape[1]
    return Statistic(
        np.concatenate([one.sums, other.sums], axis=1),
        lambda sums: one.figure(sums[:, :columns]) - other.figure(sums[:, columns:]),
    )


def intervals(statistics: Sequence[Statistic], resampling: Resampling | None = None) -> list[Interval]:
    """The percentile interval of each statistic (Efron, 1979), all over the same users and the same draws."""
    resampling = resampling or Resampling()
    if not statistics:
        return []
    users = len(statistics[0].sums)
    columns = np.concatenate([each.sums for each in statistics], axis=1)
    ends = np.cumsum([0, *(each.sums.shape[1] for each in statistics)])
    drawn = _drawn_sums(columns, resampling) if users > 1 else None
    tail = 100 * (1 - resampling.level) / 2
    found: list[Interval] = []
    for statistic, start, end in zip(statistics, ends, ends[1:], strict=False):
        value = float(statistic.figure(columns[:, start:end].sum(axis=0, keepdims=True))[0])
        figures = np.empty(0) if drawn is None else statistic.figure(drawn[:, start:end])
        figures = figures[np.isfinite(figures)]
        low, high = np.percentile(figures, [tail, 100 - tail]).tolist() if len(figures) else (None, None)
        found.append(Interval(value, low, high))
    return found


def over_seeds(values: Sequence[float]) -> Spread:
    """Mean and spread of one figure over runs that differ in their seed alone.

    Raises:
        ValueError: when there is no run.
    """
    if not values:
        raise ValueError("there is no run to take the mean of")
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return Spread(float(np.mean(values)), deviation, len(values))


def divided(totals: Floats, counts: Floats) -> Floats:
    """`totals` / `counts`; not a number where the count is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(totals / np.where(counts > 0, counts, np.nan), np.float64)


def _drawn_sums(columns: Floats, resampling: Resampling) -> Floats:
    """[draws, columns]: sums over as many users as there are, drawn with replacement."""
    users = len(columns)
    generator = np.random.default_rng(resampling.seed)
    step = max(1, _CELLS_AT_ONCE // users)
    parts: list[Floats] = []
    for start in range(0, resampling.draws, step):
        weights = np.empty((min(step, resampling.draws - start), users))
        for row in weights:
            row[:] = np.bincount(generator.integers(users, size=users), minlength=users)
        parts.append(weights @ columns)
    return np.concatenate(parts)
