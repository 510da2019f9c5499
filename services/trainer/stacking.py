"""Signals and their blend from the same few examples: what is fitted is scored on users it was not fitted on.

A signal fitted on the examples that the blend learns from looks better there than it is, and gets too much weight.
So every fold of users is scored by signals fitted without it (stacked generalisation, Wolpert, 1992), and every
opinion in a history is an example of its own, with what came before it: ten times as many as there are rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.corpus import TRAIN, Corpus, Example
from services.trainer.evaluation import ExampleScorer
from services.trainer.fusion import FusedScorer, features_of
from services.trainer.opinions import Opinion, opinion_of, opinions_in
from shared.model.fusion import Features, Fusion

Floats = NDArray[np.float64]
FitSignals = Callable[[Sequence[Opinion]], Sequence[ExampleScorer]]
"""Signals from opinions, always of the same names in the same order."""
NAME = "stacked"
_LEAST_HISTORY = 3
"""Opinions that must come before the one which is learnt from."""


@dataclass(frozen=True, slots=True)
class StackingOptions:
    """How the blend is fitted."""

    folds: int = 10
    penalty: float = 5.0
    """On half the squared weights of standardised features, in examples."""
    never_negative: tuple[str, ...] = ()
    """Signals that can only speak for a candidate: a negative weight would be an accident of few examples."""


def fit_stacked(
    corpus: Corpus, ready: Sequence[ExampleScorer], fit: FitSignals, options: StackingOptions | None = None
) -> FusedScorer:
    """A blend of `ready` signals, which need no fitting, and of those that `fit` makes, learnt from "train" alone.

    Raises:
        ValueError: when the examples do not have both labels.
    """
    options = options or StackingOptions()
    train = corpus.splits[TRAIN]
    examples, opinions = list(told_by(train)), list(opinions_in(train))
    users = sorted({example.user for example in examples})
    parts, labels = [], []
    for fold in range(min(options.folds, len(users))):
        held_out = set(users[fold :: options.folds])
        rows = [example for example in examples if example.user in held_out]
        signals = (*ready, *fit([each for each in opinions if each.user not in held_out]))
        # The signals alone: few examples cannot tell what age or a long history mean.
        parts.append(features_of(corpus, rows, signals).chosen([signal.name for signal in signals]))
        labels.append(np.concatenate([example.labels[:, 0] for example in rows]))
    features = Features(parts[0].names, np.concatenate([part.values for part in parts]))
    known = np.concatenate(labels).astype(np.float64)
    sizes = [len(part.values) for part in parts]
    plain = Features(features.names[: len(ready)], features.values[:, : len(ready)])
    if _helps(features, plain, known, np.repeat(np.arange(len(parts)), sizes), options):
        return FusedScorer(corpus, (*ready, *fit(opinions)), _fit_logistic(features, known, options), NAME)
    return FusedScorer(corpus, tuple(ready), _fit_logistic(plain, known, options), NAME)


def told_by(examples: Sequence[Example]) -> Iterator[Example]:
    """The examples, and one for every opinion in their histories, each item of a user once with its longest history."""
    found: dict[tuple[str, int], Example] = {}
    for example in examples:
        for place, past in enumerate(example.history):
            liked, key = opinion_of(past.action), (example.user, past.item)
            before = example.history[place + 1 :]
            known = found.get(key)
            if liked is None or len(before) < _LEAST_HISTORY or (known and len(known.history) >= len(before)):
                continue
            label = np.full((1, example.labels.shape[1]), np.nan, np.float32)
            label[0, 0] = liked
            candidates = np.array([past.item], np.int32)
            name = f"{example.impression_id}/{place}"
            found[key] = Example(name, example.user, past.time, before, candidates, label)
    given = {(example.user, int(item)) for example in examples for item in example.candidates}
    yield from examples
    yield from (example for key, example in found.items() if key not in given)


def _helps(
    features: Features, plain: Features, labels: Floats, fold_of: NDArray[np.int64], options: StackingOptions
) -> bool:
    """Whether the blend with all features is better than the `plain` one on folds left out."""
    gain = 0.0
    for fold in np.unique(fold_of):
        out = fold_of == fold
        if len(np.unique(labels[~out])) < 2:
            return False
        losses = []
        for each in (plain, features):
            fitted = _fit_logistic(Features(each.names, each.values[~out]), labels[~out], options)
            logits = fitted.logits(Features(each.names, each.values[out]))
            losses.append(float((np.logaddexp(0, logits) - labels[out] * logits).sum()))
        gain += losses[0] - losses[1]
    return gain > 0


def _fit_logistic(features: Features, labels: Floats, options: StackingOptions) -> Fusion:
    """Logistic regression with a ridge penalty and bounds; what is not known counts as the mean."""
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    if len(np.unique(labels)) < 2:
        raise ValueError("there must be positives and negatives to fit a blend on")
    known = np.isfinite(features.values)
    means = np.where(known, features.values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    apart = np.where(known, features.values - means, 0.0)
    scales = np.sqrt((apart**2).mean(axis=0))
    scales[scales < 1e-6] = 1.0
    design = np.column_stack([apart / scales, np.ones(len(apart))])
    penalty = np.array([options.penalty] * len(scales) + [0.0])

    def loss(weights: Floats) -> tuple[float, Floats]:
        logits = design @ weights
        chances = 0.5 * (1 + np.tanh(logits / 2))
        value = (np.logaddexp(0, logits) - labels * logits).sum() + 0.5 * (penalty * weights**2).sum()
        return float(value), design.T @ (chances - labels) + penalty * weights

    bounds = [(0.0 if name in options.never_negative else None, None) for name in features.names]
    start = np.zeros(design.shape[1])
    fitted = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[*bounds, (None, None)]).x
    none: dict[str, float] = {}
    numbers = [tuple(each.tolist()) for each in (means, scales, fitted[:-1])]
    return Fusion(features.names, numbers[0], numbers[1], numbers[2], float(fitted[-1]), (), none)
