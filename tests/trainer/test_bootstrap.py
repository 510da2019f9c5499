"""Intervals hold what they promise, over users."""

import numpy as np
import pytest

from services.trainer.bootstrap import (
    Resampling,
    difference_statistic,
    intervals,
    mean_statistic,
    over_seeds,
)


def rates_of_users(seed: int, users: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Rows per user 1 to 20, all of a user alike: the mean of every user's own rate is 0.4."""
    draw = np.random.default_rng(seed)
    counts = draw.integers(1, 21, users).astype(float)
    return draw.beta(2, 3, users) * counts, counts


def test_intervals_hold_the_true_value_about_as_often_as_they_say() -> None:
    held = 0
    for seed in range(200):
        (interval,) = intervals([mean_statistic(*rates_of_users(seed))], Resampling(draws=400, seed=seed))
        held += interval.low < 0.4 < interval.high
    assert 0.90 <= held / 200 <= 0.98


def test_the_value_is_that_of_all_users_and_the_seed_decides_the_draws() -> None:
    totals, counts = rates_of_users(0)
    first, again, other = (
        intervals([mean_statistic(totals, counts)], Resampling(draws=100, seed=seed))[0] for seed in (1, 1, 2)
    )
    assert first.value == pytest.approx(totals.sum() / counts.sum())
    assert first == again
    assert first != other


def test_what_chance_does_to_both_cancels_out_in_a_difference() -> None:
    totals, counts = rates_of_users(3)
    one, other = mean_statistic(totals + 0.01 * counts, counts), mean_statistic(totals, counts)
    alone, paired = intervals([one, difference_statistic(one, other)])
    assert paired.value == pytest.approx(0.01)
    assert paired.high - paired.low < 1e-9
    assert alone.high - alone.low > 0.05


def test_one_user_has_a_value_but_no_interval() -> None:
    (interval,) = intervals([mean_statistic(np.array([3.0]), np.array([4.0]))])
    assert (interval.value, interval.low, interval.high) == (0.75, None, None)


def test_a_figure_without_rows_is_not_a_number() -> None:
    (interval,) = intervals([mean_statistic(np.zeros(3), np.zeros(3))])
    assert np.isnan(interval.value)
    assert interval.low is None


def test_the_spread_over_seeds_is_the_sample_deviation() -> None:
    spread = over_seeds([0.1, 0.2, 0.3])
    assert (spread.mean, spread.deviation, spread.seeds) == (pytest.approx(0.2), pytest.approx(0.1), 3)
    assert over_seeds([0.5]).deviation == 0.0
    with pytest.raises(ValueError, match="no run"):
        over_seeds([])
