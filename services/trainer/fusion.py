"""One probability from several signals: a small model over scores of text, crowd and time, fitted on validation slates.

A feature belongs to a candidate and its user alone. Features that look at the rest of the slate, such as a rank or a
score relative to the best, would raise quality on slates like those fitted on; but then a candidate's probability would
change with its neighbours: with the page asked for, with what retrieval found, with how a request was split. The ranker
promises that it does not, pages and caches rely on it, and slates of training are made otherwise than those of serving.
So there are none.

What is fitted is either a logistic regression or gradient-boosted trees, whichever predicts users left out better. Both
become plain numbers (shared.model.fusion): serving needs no scikit-learn.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.corpus import Corpus, Example
from services.trainer.evaluation import ExampleScorer
from services.trainer.ranking_metrics import log_losses
from shared.model.forest import LEAF, Floats, Tree
from shared.model.fusion import Features, Fusion, logits_of

LOGISTIC, TREES, ALONE = "logistic", "trees", "model alone"
_FOLDS = 5
_DAY_S = 86_400.0
_LEAST_SCALE = 1e-6
_LARGEST = sys.float_info.max


_Fit = Callable[[Features, Floats, Mapping[str, float]], Fusion]
"""From features and labels; the log losses are only written down."""


@dataclass(frozen=True, slots=True, eq=False)
class FusedScorer:
    """A scorer that blends others."""

    corpus: Corpus
    signals: tuple[ExampleScorer, ...]
    """Those that the fusion was fitted on, in that order."""
    fusion: Fusion
    name: str = "fusion"
    probabilistic: bool = True

    def scores(self, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        """Probabilities [candidates] of each example."""
        flat = self.fusion.scores(features_of(self.corpus, examples, self.signals).chosen(self.fusion.names)).astype(
            np.float32
        )
        return np.split(flat, np.cumsum([len(example.candidates) for example in examples])[:-1])


def fit_fused(corpus: Corpus, split: str, signals: Sequence[ExampleScorer], name: str = "fusion") -> FusedScorer:
    """A scorer that blends `signals`, fitted on a split that none of them was fitted on; raises as `fit_fusion`."""
    examples = corpus.splits[split]
    labels = np.concatenate([example.labels[:, 0] for example in examples]).astype(np.float64)
    users = np.repeat([example.user for example in examples], [len(example.candidates) for example in examples])
    fusion = fit_fusion(features_of(corpus, examples, signals), labels, users)
    return FusedScorer(corpus, tuple(signals), fusion, name)


def features_of(corpus: Corpus, examples: Sequence[Example], signals: Sequence[ExampleScorer]) -> Features:
    """The features of all candidates, example after example.

    They are: of each signal its score, or its logit where it is a probability; the logarithm of the item's age in days
    at the example's time; the logarithm of the history's length.
    """
    lengths = [len(example.candidates) for example in examples]
    published = np.array([np.nan if item.published_at is None else item.published_at for item in corpus.items])
    now = np.repeat([np.nan if example.time is None else example.time for example in examples], lengths)
    items = np.concatenate([example.candidates for example in examples])
    columns = [_signal(signal, examples) for signal in signals]
    columns.append(np.log1p(np.maximum(now - published[items], 0.0) / _DAY_S))
    columns.append(np.log1p(np.repeat([float(len(example.history)) for example in examples], lengths)))
    names = (*(signal.name for signal in signals), "log age", "log history")
    return Features(names, np.stack(columns, axis=1))


def fit_fusion(features: Features, labels: Floats, groups: NDArray[Any], alone: Floats | None = None) -> Fusion:
    """Fits both kinds and keeps the one with the lower log loss on users left out; needs scikit-learn.

    Args:
        features: of the candidates of validation slates.
        labels: [rows], 1 or 0; rows that are not a number are left out.
        groups: [rows], the user of each, so that nobody is in two folds.
        alone: [rows], probabilities to compare with: their log loss on the same rows is written down as ALONE.

    Raises:
        ValueError: when there are not both labels.
    """
    known = np.isfinite(labels)
    features, labels = Features(features.names, features.values[known]), labels[known]
    if len(np.unique(labels)) < 2:
        raise ValueError("there must be positives and negatives to fit a fusion on")
    _, group_of = np.unique(groups[known], return_inverse=True)
    by_row = {kind: _left_out_losses(fit, features, labels, group_of) for kind, fit in _KINDS.items()}
    best = min(_KINDS, key=lambda kind: _mean(by_row[kind]))
    if alone is not None:
        compared = np.isfinite(by_row[best])
        by_row[ALONE] = np.where(compared, log_losses(alone[known], labels > 0), np.nan)
    return _KINDS[best](features, labels, {kind: _mean(losses) for kind, losses in by_row.items()})


def _left_out_losses(fit: _Fit, features: Features, labels: Floats, group_of: NDArray[np.int64]) -> Floats:
    """Log losses [rows], each predicted without its user; not a number where that left nothing to fit on."""
    losses = np.full(len(labels), np.nan)
    for fold in range(_FOLDS):
        left_out = group_of % _FOLDS == fold
        if len(np.unique(labels[~left_out])) == 2 and left_out.any():
            fitted = fit(Features(features.names, features.values[~left_out]), labels[~left_out], {})
            predicted = fitted.scores(Features(features.names, features.values[left_out]))
            losses[left_out] = log_losses(predicted, labels[left_out] > 0)
    return losses


def _mean(losses: Floats) -> float:
    """Of the rows that could be predicted; 0 without any, so that with one user the first kind is taken."""
    return float(np.nanmean(losses)) if np.isfinite(losses).any() else 0.0


def _fit_logistic(features: Features, labels: Floats, losses: Mapping[str, float]) -> Fusion:
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    known = np.isfinite(features.values)
    counts = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, features.values, 0.0).sum(axis=0) / counts
    apart = np.where(known, features.values - means, 0.0)
    scales = np.sqrt((apart**2).sum(axis=0) / counts)
    scales[scales < _LEAST_SCALE] = 1.0
    fitted = LogisticRegression(max_iter=1000).fit(apart / scales, labels > 0)
    weights, bias = fitted.coef_[0].tolist(), float(fitted.intercept_[0])
    return Fusion(features.names, tuple(means.tolist()), tuple(scales.tolist()), tuple(weights), bias, (), losses)


def _fit_trees(features: Features, labels: Floats, losses: Mapping[str, float]) -> Fusion:
    from sklearn.ensemble import HistGradientBoostingClassifier  # type: ignore[import-untyped]

    # A feature that is nowhere known stops scikit-learn; as a constant it splits nothing.
    values = np.where(np.isfinite(features.values).any(axis=0), features.values, 0.0)
    # Its own early stopping draws rows, not users, and so sees users it was fitted on.
    fitted = HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_iter=120,
        max_leaf_nodes=15,
        min_samples_leaf=100,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=0,
    ).fit(values, labels > 0)
    return exported(fitted, features.names, losses)


def exported(fitted: Any, names: tuple[str, ...], losses: Mapping[str, float]) -> Fusion:
    """The trees of a fitted HistGradientBoostingClassifier of two classes, without categories, as plain numbers."""
    none = tuple(0.0 for _ in names)
    ones = tuple(1.0 for _ in names)
    # scikit-learn gives trees away only under private names; a test holds them to its own predictions.
    trees = tuple(_tree(stage[0].nodes) for stage in fitted._predictors)
    return Fusion(names, none, ones, none, float(fitted._baseline_prediction.ravel()[0]), trees, losses)


def _tree(nodes: NDArray[Any]) -> Tree:
    leaf = nodes["is_leaf"].astype(bool)
    # Where known and unknown part, the threshold is infinite, which JSON has no form for.
    threshold = np.clip(nodes["num_threshold"], -_LARGEST, _LARGEST)
    return Tree(
        feature=tuple(np.where(leaf, LEAF, nodes["feature_idx"]).tolist()),
        threshold=tuple(np.where(leaf, 0.0, threshold).tolist()),
        left=tuple(nodes["left"].tolist()),
        right=tuple(nodes["right"].tolist()),
        unknown_left=tuple(nodes["missing_go_to_left"].astype(bool).tolist()),
        value=tuple(np.where(leaf, nodes["value"], 0.0).tolist()),
    )


def _signal(signal: ExampleScorer, examples: Sequence[Example]) -> Floats:
    """[rows]."""
    flat = np.concatenate(signal.scores(examples)).astype(np.float64)
    if not signal.probabilistic:
        return flat
    return logits_of(flat)


_KINDS: Mapping[str, _Fit] = {LOGISTIC: _fit_logistic, TREES: _fit_trees}
