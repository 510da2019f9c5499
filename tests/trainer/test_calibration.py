"""Platt scaling finds what made the labels, and refuses what would turn an order round."""

import numpy as np
import pytest

from services.trainer.calibration import fit_calibration, fit_platt, starting_bias
from shared.model.manifest import Platt


def drawn(slope: float, intercept: float, rows: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    logits = random.normal(3.0, 2.0, rows).astype(np.float32)
    chances = 1 / (1 + np.exp(-(slope * logits + intercept)))
    return logits, (random.random(rows) < chances).astype(np.float32)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.3, -2.0), (4.0, -9.0)])
def test_the_scaling_that_made_the_labels_is_found(slope: float, intercept: float) -> None:
    found = fit_platt(*drawn(slope, intercept))
    assert found is not None
    assert found.slope == pytest.approx(slope, rel=0.1)
    assert found.intercept == pytest.approx(intercept, abs=0.25)


def test_mean_probability_is_the_rate_seen() -> None:
    logits, labels = drawn(0.5, -3.0)
    found = fit_platt(logits, labels)
    assert found is not None
    chances = 1 / (1 + np.exp(-(found.slope * logits + found.intercept)))
    assert chances.mean() == pytest.approx(labels.mean(), abs=1e-3)


def test_the_fit_is_that_of_scikit_learn_where_smoothing_does_not_matter() -> None:
    from sklearn.linear_model import LogisticRegression

    logits, labels = drawn(0.7, -1.0)
    theirs = LogisticRegression(C=1e9, tol=1e-10).fit(logits[:, None].astype(np.float64), labels)
    mine = fit_platt(logits, labels)
    assert mine is not None
    assert mine.slope == pytest.approx(theirs.coef_[0, 0], rel=2e-3)
    assert mine.intercept == pytest.approx(theirs.intercept_[0], abs=5e-3)


def test_separable_classes_give_a_finite_scaling() -> None:
    found = fit_platt(np.asarray([-1, -2, 1, 2], np.float32), np.asarray([0, 0, 1, 1], np.float32))
    assert found is not None
    assert 0 < found.slope < 100


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        ([1, 2, 3, 4], [1, 1, 0, 0]),  # the order is wrong
        ([1, 2, 3, 4], [0, 0, 0, 0]),
        ([1, 2, 3, 4], [1, 1, 1, np.nan]),
        ([2, 2, 2, 2], [1, 0, 1, 0]),
        ([], []),
    ],
)
def test_nothing_is_fitted_where_a_slope_above_zero_is_not_to_be_had(logits: list, labels: list) -> None:
    assert fit_platt(np.asarray(logits, np.float32), np.asarray(labels, np.float32)) is None


def test_one_action_that_cannot_be_fitted_makes_the_whole_not_calibrated() -> None:
    logits, labels = drawn(0.5, -1.0, rows=1000)
    both = np.stack([labels, np.full_like(labels, np.nan)], axis=1)
    found = fit_calibration(np.stack([logits, logits], axis=1), both)
    assert not found.fitted
    assert found.platts[0] == fit_platt(logits, labels)
    assert found.platts[1] == Platt()
    assert fit_calibration(logits[:, None], labels[:, None]).fitted


def test_an_action_that_is_told_the_wrong_way_round_gets_its_rate_unless_it_is_what_is_ranked_by() -> None:
    logits, labels = drawn(0.5, -1.0, rows=1000)
    both = np.stack([logits, -logits], axis=1)
    found = fit_calibration(both, np.stack([labels, labels], axis=1))
    assert found.fitted
    chances = 1 / (1 + np.exp(-(found.platts[1].slope * -logits + found.platts[1].intercept)))
    assert chances == pytest.approx(np.full(1000, labels.mean()), abs=1e-4)
    assert found.platts[1].slope > 0
    assert not fit_calibration(-logits[:, None], labels[:, None]).fitted


def test_the_starting_bias_gives_the_rate_of_the_known_labels() -> None:
    logits, labels = drawn(1.0, -4.0)
    labels[:5000] = np.nan
    bias = starting_bias(logits, labels)
    assert (1 / (1 + np.exp(-(logits[5000:] + bias)))).mean() == pytest.approx(labels[5000:].mean(), abs=1e-3)
    assert starting_bias(logits[:3], labels[:3]) == 0
    assert np.isfinite(starting_bias(logits[-9:], np.zeros(9, np.float32)))
