"""A scorer's figures on a split of a corpus, overall and by slice, each with its interval.

Everything is measured from the same scores and written as sums over users (see bootstrap.py): so intervals cost one
product of matrices, and two scorers can be compared user by user.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.trainer.baselines import event_counts, positive_counts
from services.trainer.bootstrap import (
    Floats,
    Interval,
    Resampling,
    Spread,
    Statistic,
    difference_statistic,
    divided,
    intervals,
    mean_statistic,
    over_seeds,
)
from services.trainer.corpus import Corpus, Example
from services.trainer.ranking_metrics import (
    Ints,
    Slates,
    category_diversities,
    diversities,
    equal_mass_bins,
    log_losses,
    novelties,
    placements,
    slate_auc,
    slate_figures,
    slates_of,
    top_rows,
)
from shared.model.manifest import Metric

Mask = NDArray[np.bool_]

LOWER_IS_BETTER = frozenset({"log_loss", "calibration_error"})
"""Metrics that are better the smaller they are."""
SHOWN = 5
"""Length of the list that coverage, novelty and diversity look at: of slates of ten, as many sources have them, a list
of ten would be the same for every scorer."""
_RANKED = ("ndcg", "recall")
"""Figures at a length that need both labels in a slate; the others at one do not."""
_NEW_USER = 5
_HISTORIES = (("history 0", 0, 0), ("history 1-4", 1, 4), ("history 5-19", 5, 19), ("history 20+", 20, None))


class ExampleScorer(Protocol):
    """Anything that can rank slates: a model, a baseline, a blend of several."""

    @property
    def name(self) -> str:
        """As tables show it."""

    @property
    def probabilistic(self) -> bool:
        """Whether scores are probabilities of Corpus.actions[0]."""

    def scores(self, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        """One array [candidates] for each example; higher is better. A candidate's does not depend on the others."""


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationOptions:
    """What is measured beside the fixed figures, and how intervals are drawn."""

    recall_at: tuple[int, ...] = (5, 10)
    calibration_bins: int = 15
    categories: int = 0
    """So many of the most frequent categories become slices."""
    item_vectors: NDArray[np.float32] | None = None
    """[items, width], of length 1: what diversity compares. None = categories."""
    resampling: Resampling = field(default_factory=Resampling)


@dataclass(frozen=True, slots=True)
class SliceCounts:
    """How much a slice holds. `slice` is empty for all of it."""

    slice: str
    impressions: int
    ranked: int
    """Impressions with both labels; the others have no ranking of their own and count in no figure by impression."""
    candidates: int
    """With a label."""
    positives: int
    users: int


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Candidates of like predicted probability."""

    predicted: float
    """Mean."""
    observed: float
    """Share of positives."""
    count: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a scorer reached on a split."""

    scorer: str
    corpus: str
    fingerprint: str
    split: str
    metrics: tuple[Metric, ...]
    """Overall first (slice empty), then by slice; a figure that does not exist there is left out."""
    counts: tuple[SliceCounts, ...]
    calibration: tuple[CalibrationBin, ...]
    """Overall, by predicted probability; empty for scores that are none."""

    def metric(self, name: str, slice_: str = "") -> Metric | None:
        """The figure of that name, if there is one."""
        return next((each for each in self.metrics if (each.name, each.slice) == (name, slice_)), None)


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The same before averaging: a statistic over users for each metric and slice."""

    scorer: str
    corpus: str
    fingerprint: str
    split: str
    names: tuple[tuple[str, str], ...]
    """Metric and slice of each statistic."""
    statistics: tuple[Statistic, ...]
    counts: tuple[SliceCounts, ...]
    calibration: tuple[CalibrationBin, ...]
    coverage: float


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """Scored slates with all that the figures need."""

    slates: Slates
    """With labels only."""
    user_of: Ints
    """[slates]."""
    users: int
    by_slate: tuple[tuple[str, Floats], ...]
    """Figures of each slate; not a number = does not count."""
    bins: int
    """Of the calibration; 0 = scores are no probabilities."""

    def of_users(self, values: Floats, user_of: Ints) -> Floats:
        """Sums [users] of values [n]."""
        return np.bincount(user_of, weights=values, minlength=self.users).astype(np.float64)


def evaluate(scorer: ExampleScorer, corpus: Corpus, split: str, options: EvaluationOptions | None = None) -> Evaluation:
    """Scores a split and measures it.

    Raises:
        ValueError: when there is no such split, it is empty, or the scorer gives other than one finite number each.
    """
    options = options or EvaluationOptions()
    return evaluation_of(measure(scorer, corpus, split, options), options.resampling)


def measure(scorer: ExampleScorer, corpus: Corpus, split: str, options: EvaluationOptions) -> Measured:
    """What `evaluate` averages; for comparing two scorers. Raises as `evaluate`."""
    examples = corpus.splits.get(split, ())
    if not examples:
        raise ValueError(f"{corpus.name} has no examples in a split {split!r}; it has {', '.join(corpus.splits)}")
    slates = slates_of(scorer.scores(examples), [example.labels[:, 0] for example in examples])
    labelled = slates.labelled()
    shown = _shown(slates, examples)
    _, user_of = np.unique([example.user for example in examples], return_inverse=True)
    scored = _Scored(
        labelled,
        user_of,
        int(user_of.max()) + 1,
        _by_slate(labelled, shown, corpus, options),
        options.calibration_bins if scorer.probabilistic else 0,
    )
    slices = _slices(corpus, examples, options)
    figures = [(name, slice_, each) for slice_, mask in slices for name, each in _statistics(scored, mask)]
    return Measured(
        scorer=scorer.name,
        corpus=corpus.name,
        fingerprint=corpus.fingerprint,
        split=split,
        names=tuple((name, slice_) for name, slice_, _ in figures),
        statistics=tuple(each for _, _, each in figures),
        counts=tuple(_counts(scored, slice_, mask) for slice_, mask in slices),
        calibration=_calibration(scored),
        coverage=len(np.unique(shown[shown >= 0])) / len(corpus.items),
    )


def evaluation_of(measured: Measured, resampling: Resampling) -> Evaluation:
    """Figures with their intervals."""
    found = intervals(measured.statistics, resampling)
    # What is shown to fewer users covers less: resampling them says nothing of coverage.
    metrics = [_metric(measured, f"coverage@{SHOWN}", "", Interval(measured.coverage, None, None))]
    for (name, slice_), interval in zip(measured.names, found, strict=True):
        if np.isfinite(interval.value):
            metrics.append(_metric(measured, name, slice_, interval))
    return Evaluation(
        scorer=measured.scorer,
        corpus=measured.corpus,
        fingerprint=measured.fingerprint,
        split=measured.split,
        metrics=tuple(metrics),
        counts=measured.counts,
        calibration=measured.calibration,
    )


def differences(one: Measured, other: Measured, resampling: Resampling) -> tuple[Metric, ...]:
    """`one` minus `other` for each metric and slice that both have, with the interval of the paired difference.

    Raises:
        ValueError: when they were not measured on the same split of the same data.
    """
    if (one.fingerprint, one.split) != (other.fingerprint, other.split):
        raise ValueError("these were measured on different data; evaluate both on the same split of the same data")
    theirs = dict(zip(other.names, other.statistics, strict=True))
    shared = [(name, each) for name, each in zip(one.names, one.statistics, strict=True) if name in theirs]
    found = intervals([difference_statistic(each, theirs[name]) for name, each in shared], resampling)
    return tuple(
        _metric(one, name, slice_, interval)
        for ((name, slice_), _), interval in zip(shared, found, strict=True)
        if np.isfinite(interval.value)
    )


def spread_of(evaluations: Sequence[Evaluation], name: str, slice_: str = "") -> Spread | None:
    """Mean and spread of a figure over runs that differ in their seed alone; None where no run has it."""
    found = [each for each in (evaluation.metric(name, slice_) for evaluation in evaluations) if each is not None]
    return over_seeds([each.value for each in found]) if found else None


def _metric(measured: Measured, name: str, slice_: str, interval: Interval) -> Metric:
    return Metric(
        name=name,
        value=interval.value,
        low=interval.low,
        high=interval.high,
        split=measured.split,
        slice=slice_,
        count=_averaged(next(each for each in measured.counts if each.slice == slice_), name),
        data=measured.fingerprint,
    )


def _averaged(counts: SliceCounts, name: str) -> int:
    """How many a figure is an average of."""
    if name == "uauc":
        return counts.users
    if name in {"pooled_auc", "log_loss", "calibration_error"}:
        return counts.candidates
    return counts.impressions if name.endswith(f"@{SHOWN}") and not name.startswith(_RANKED) else counts.ranked


def _shown(slates: Slates, examples: Sequence[Example]) -> Ints:
    """Items of the list that each slate's best candidates make, [slates, SHOWN], -1 = none."""
    items = np.concatenate([example.candidates for example in examples]).astype(np.int64)
    rows = top_rows(slates, SHOWN)
    return np.where(rows >= 0, items[rows], -1)


def _by_slate(
    slates: Slates, shown: Ints, corpus: Corpus, options: EvaluationOptions
) -> tuple[tuple[str, Floats], ...]:
    figures = slate_figures(slates, (5, 10), options.recall_at)
    recalls = [(f"recall@{k}", each) for k, each in zip(options.recall_at, figures.recall, strict=True)]
    if options.item_vectors is not None:
        diverse = diversities(shown, options.item_vectors)
    else:
        _, category_of = np.unique([item.category for item in corpus.items], return_inverse=True)
        diverse = category_diversities(shown, category_of)
    return (
        ("auc", figures.auc),
        ("mrr", figures.mrr),
        ("ndcg@5", figures.ndcg[0]),
        ("ndcg@10", figures.ndcg[1]),
        *recalls,
        (f"novelty@{SHOWN}", novelties(shown, positive_counts(corpus))),
        (f"diversity@{SHOWN}", diverse),
    )


def _statistics(scored: _Scored, mask: Mask) -> list[tuple[str, Statistic]]:
    """Every figure of the slates where `mask` is true."""
    user_of, slates = scored.user_of[mask], scored.slates.chosen(mask)
    found: list[tuple[str, Statistic]] = []
    for name, values in scored.by_slate:
        counted = np.isfinite(values[mask])
        totals = scored.of_users(np.where(counted, values[mask], 0.0), user_of)
        found.append((name, mean_statistic(totals, scored.of_users(counted.astype(float), user_of))))
    of_users = slate_auc(slates.regrouped(user_of, scored.users))
    found.append(("uauc", mean_statistic(np.nan_to_num(of_users), np.isfinite(of_users).astype(float))))
    user_of_row, positive = user_of[slates.slate_of], slates.labels > 0
    found.append(("pooled_auc", _pooled_auc(scored, slates, user_of_row)))
    if scored.bins:
        losses = scored.of_users(log_losses(slates.scores, positive), user_of_row)
        found.append(("log_loss", mean_statistic(losses, scored.of_users(np.ones(len(positive)), user_of_row))))
        found.append(("calibration_error", _calibration_error(scored, slates, user_of_row)))
    return found


def _pooled_auc(scored: _Scored, slates: Slates, user_of_row: Ints) -> Statistic:
    """AUC over all candidates together.

    Under resampling it is taken to first order: the mean placement of the positives, plus that of the negatives,
    minus the AUC (Obuchowski, 1997, for clustered data). The exact one would need all rows for every draw.
    """
    positive = slates.labels > 0
    places = placements(slates.scores, positive)
    auc = float(places[positive].mean()) if positive.any() and not positive.all() else np.nan
    places = np.nan_to_num(places)
    columns = [values * side for side in (positive, ~positive) for values in (places, np.ones(len(places)))]
    sums = np.stack([scored.of_users(column, user_of_row) for column in columns], axis=1)
    return Statistic(sums, lambda drawn: divided(drawn[:, 0], drawn[:, 1]) + divided(drawn[:, 2], drawn[:, 3]) - auc)


def _calibration_error(scored: _Scored, slates: Slates, user_of_row: Ints) -> Statistic:
    """Expected calibration error over bins of equal mass (Naeini et al., 2015): it is never below 0, so the interval
    of a well calibrated scorer lies above its value."""
    gaps = np.zeros((scored.users, scored.bins + 1))
    np.add.at(gaps, (user_of_row, equal_mass_bins(slates.scores, scored.bins)), slates.scores - slates.labels)
    gaps[:, -1] = scored.of_users(np.ones(len(user_of_row)), user_of_row)
    return Statistic(gaps, lambda drawn: divided(np.abs(drawn[:, :-1]).sum(axis=1), drawn[:, -1]))


def _calibration(scored: _Scored) -> tuple[CalibrationBin, ...]:
    if not scored.bins:
        return ()
    slates = scored.slates
    bin_of = equal_mass_bins(slates.scores, scored.bins)
    counts, predicted, observed = (
        np.bincount(bin_of, weights=values, minlength=scored.bins)
        for values in (np.ones(len(bin_of)), slates.scores, slates.labels)
    )
    return tuple(
        CalibrationBin(float(predicted[each] / counts[each]), float(observed[each] / counts[each]), int(counts[each]))
        for each in np.flatnonzero(counts)
    )


def _counts(scored: _Scored, slice_: str, mask: Mask) -> SliceCounts:
    slates = scored.slates.chosen(mask)
    auc = scored.by_slate[0][1][mask]
    return SliceCounts(
        slice=slice_,
        impressions=int(mask.sum()),
        ranked=int(np.isfinite(auc).sum()),
        candidates=len(slates.labels),
        positives=int(slates.labels.sum()),
        users=len(np.unique(scored.user_of[mask])),
    )


def _slices(corpus: Corpus, examples: Sequence[Example], options: EvaluationOptions) -> list[tuple[str, Mask]]:
    """Names and members; the history lengths divide all examples, and so do the domains."""
    lengths = np.array([len(example.history) for example in examples])
    acted = event_counts(corpus) > 0
    new_item = np.array([not acted[_positives(example)].all() for example in examples])
    found = [("", np.ones(len(examples), bool)), ("new users", lengths < _NEW_USER), ("new items", new_item)]
    for name, least, most in _HISTORIES:
        found.append((name, (lengths >= least) & (lengths <= (lengths.max() if most is None else most))))
    leading = [corpus.items[_leading(example)] for example in examples]
    domains = np.array([item.domain for item in leading])
    names = sorted(set(domains.tolist()))
    if len(names) > 1:
        found += [(f"domain {name or 'unknown'}", domains == name) for name in names]
    categories = np.array([item.category for item in leading])
    frequent = Counter(categories.tolist()).most_common(options.categories)
    found += [(f"category {name or 'unknown'}", categories == name) for name, _ in frequent]
    return [(name, mask) for name, mask in found if mask.any()]


def _positives(example: Example) -> NDArray[np.int32]:
    positives: NDArray[np.int32] = example.candidates[example.labels[:, 0] == 1]
    return positives


def _leading(example: Example) -> int:
    """The item that says what a slate is about: its first positive, or its first candidate where there is none."""
    return int(next(iter(_positives(example)), example.candidates[0]))
