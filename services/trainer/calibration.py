"""From logits to rates: Platt scaling, fitted to behaviour that training did not see (Platt, 1999).

The fit is Newton's method on two numbers, with the targets that Lin, Lin and Weng (2007) give to keep it finite where
the classes are separable. A slope that is not positive would turn the order round: then there is no calibration of the
first action, by which candidates are ranked, and any other is answered by its rate.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.model.manifest import Platt

_MOST_STEPS, _MOST_HALVINGS = 100, 30
_CONVERGED = 1e-10
_LEAST_OF_EACH = 1
_FLAT = 1e-6
"""Slope of what is the same for all candidates."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """One Platt scaling for each action; `fitted`: whether all are fits, so that probabilities are rates."""

    platts: tuple[Platt, ...]
    fitted: bool


def fit_calibration(logits: NDArray[np.float32], labels: NDArray[np.float32]) -> Calibration:
    """The calibration of all actions; one of which too little is known keeps sigmoid(logit).

    An action that the model tells nothing of, or the wrong way round, as of dislikes where it has learnt what is
    clicked, gets its rate for all candidates: so it cannot pull down what the user would like.

    Args:
        logits: [candidates, actions], uncalibrated.
        labels: the same shape; not a number = not known.
    """
    found = [fit_platt(logits[:, action], labels[:, action]) for action in range(logits.shape[1])]
    found[1:] = [platt or _rate(labels[:, action]) for action, platt in enumerate(found[1:], start=1)]
    return Calibration(tuple(platt or Platt() for platt in found), all(platt is not None for platt in found))


def fit_platt(logits: NDArray[np.float32], labels: NDArray[np.float32]) -> Platt | None:
    """The scaling of greatest likelihood; None when one class is missing or its slope is not above 0."""
    known = np.isfinite(labels)
    x, y = logits[known].astype(np.float64), labels[known] == 1
    done, not_done = int(y.sum()), int((~y).sum())
    if min(done, not_done) < _LEAST_OF_EACH or np.ptp(x) == 0:
        return None
    targets = np.where(y, (done + 1) / (done + 2), 1 / (not_done + 2))
    centre, spread = x.mean(), x.std()
    slope, intercept = _newton((x - centre) / spread, targets)
    slope, intercept = slope / spread, intercept - slope * centre / spread
    return Platt(float(slope), float(intercept)) if slope > 0 and np.isfinite([slope, intercept]).all() else None


def _rate(labels: NDArray[np.float32]) -> Platt | None:
    """The share of the known labels that are 1, whatever the logit; None when one class is missing."""
    known = labels[np.isfinite(labels)] == 1
    done, not_done = int(known.sum()), int((~known).sum())
    if min(done, not_done) < _LEAST_OF_EACH:
        return None
    return Platt(_FLAT, float(np.log(done / not_done)))


def starting_bias(logits: NDArray[np.float32], labels: NDArray[np.float32]) -> float:
    """What to add to logits so that the mean of their sigmoids is the rate of the known labels, kept off 0 and 1."""
    known = np.isfinite(labels)
    if not known.any():
        return 0.0
    x = logits[known].astype(np.float64)
    rate = (labels[known].sum() + 0.5) / (len(x) + 1)
    low, high = -50.0 - np.abs(x).max(), 50.0 + np.abs(x).max()
    for _ in range(_MOST_STEPS):
        middle = (low + high) / 2
        mean = _sigmoid(x + middle).mean()
        low, high = (middle, high) if mean < rate else (low, middle)
    return float((low + high) / 2)


def _newton(x: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slope and intercept; each step is halved until it does not make things worse."""
    design = np.stack([x, np.ones_like(x)], axis=1)
    found = np.array([0.0, np.log(targets.mean() / (1 - targets.mean()))])
    loss = _loss(design @ found, targets)
    for _ in range(_MOST_STEPS):
        chances = _sigmoid(design @ found)
        gradient = design.T @ (chances - targets)
        curvature = (design * (chances * (1 - chances))[:, None]).T @ design + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        for _ in range(_MOST_HALVINGS):
            if _loss(design @ (found - step), targets) <= loss:
                break
            step = step / 2
        found = found - step
        before, loss = loss, _loss(design @ found, targets)
        if before - loss < _CONVERGED * len(x):
            break
    return found


def _loss(logits: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    return float((np.logaddexp(0, logits) - targets * logits).sum())


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    chances: NDArray[np.float64] = 0.5 * (1 + np.tanh(logits / 2))
    return chances
