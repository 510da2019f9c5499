"""How well scores rank slates, and how true probabilities are: figures for each slate, user or row, without averaging.

Averages, slices and intervals are made elsewhere from these parts. Ties count by expectation: each figure is its mean
over all orders of the tied candidates. So a constant score gives an AUC of 1/2 and what a random order would give of
the rest, whichever way the slates were written down. Candidates without a label (not a number) are left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CELLS_AT_ONCE = 1_000_000
"""Bounds the memory of padded slates."""
_SMALLEST_PROBABILITY = 1e-7
"""That of float32 next to 1: a model cannot be surer than its number format."""


@dataclass(frozen=True, slots=True, eq=False)
class Slates:
    """Scored candidates, slate after slate."""

    scores: Floats
    """[rows], finite; higher is better."""
    labels: Floats
    """[rows]: 1, 0 or not a number."""
    bounds: Ints
    """[slates + 1], where each slate begins and the last one ends."""

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def slate_of(self) -> Ints:
        """[rows]."""
        return np.repeat(np.arange(len(self)), np.diff(self.bounds))

    def labelled(self) -> "Slates":
        """The same without candidates that have no label; there may be empty slates."""
        known = np.isfinite(self.labels)
        kept = np.concatenate(([0], np.cumsum(known)))[self.bounds]
        return Slates(self.scores[known], self.labels[known], kept)

    def chosen(self, mask: NDArray[np.bool_]) -> "Slates":
        """The slates where `mask` [slates] is true."""
        rows = np.repeat(mask, np.diff(self.bounds))
        return Slates(self.scores[rows], self.labels[rows], _bounds(np.diff(self.bounds)[mask]))

    def regrouped(self, group_of: Ints, groups: int) -> "Slates":
        """Slates of the same group (`group_of` [slates], 0 to `groups` - 1) become one."""
        of_row = np.repeat(group_of, np.diff(self.bounds))
        order = np.argsort(of_row, kind="stable")
        return Slates(self.scores[order], self.labels[order], _bounds(np.bincount(of_row, minlength=groups)))


def slates_of(scores: Sequence[NDArray[np.floating]], labels: Sequence[NDArray[np.floating]]) -> Slates:
    """Slates from one array [n] of scores and of labels each.

    Raises:
        ValueError: when lengths differ or a score is not finite.
    """
    lengths = [len(each) for each in scores]
    if lengths != [len(each) for each in labels]:
        raise ValueError("there must be one score for each candidate")
    flat = np.concatenate([*scores, np.empty(0)]).astype(np.float64)
    if not np.isfinite(flat).all():
        raise ValueError("a score is not a finite number")
    return Slates(flat, np.concatenate([*labels, np.empty(0)]).astype(np.float64), _bounds(np.array(lengths, int)))


@dataclass(frozen=True, slots=True, eq=False)
class SlateFigures:
    """Figures of each slate, [slates]; not a number where it has not both labels, and so nothing to rank."""

    auc: Floats
    """Share of pairs of a positive and a negative that stand in the right order."""
    mrr: Floats
    """1 / rank of the first positive. (MIND's own script averages 1 / rank over all positives instead: it gives less
    where a slate has several, the same where it has one.)"""
    ndcg: tuple[Floats, ...]
    """One for each of `ks`: discounted cumulative gain over that of the best order (Järvelin, Kekäläinen, 2002)."""
    recall: tuple[Floats, ...]
    """One for each of `recall_at`: share of the positives among the first k."""


def slate_figures(slates: Slates, ndcg_at: Sequence[int] = (5, 10), recall_at: Sequence[int] = (10,)) -> SlateFigures:
    """The figures of each slate; 100,000 slates of 50 candidates take seconds."""
    known = slates.labelled()
    auc, mrr = np.full(len(slates), np.nan), np.full(len(slates), np.nan)
    ndcg = tuple(np.full(len(slates), np.nan) for _ in ndcg_at)
    recall = tuple(np.full(len(slates), np.nan) for _ in recall_at)
    for numbers, rows, filled in _blocks(known):
        ranked = _ranked(known, rows, filled)
        positives = ranked.positive.sum(axis=1)
        both = (positives > 0) & (positives < filled.sum(axis=1))
        ranked, chosen = ranked.chosen(both), numbers[both]
        auc[chosen] = ranked.auc()
        mrr[chosen] = ranked.reciprocal_rank()
        for k, into in zip(ndcg_at, ndcg, strict=True):
            into[chosen] = ranked.ndcg(k)
        for k, into in zip(recall_at, recall, strict=True):
            into[chosen] = ranked.expected(_first(k, ranked.width)) / ranked.positive.sum(axis=1)
    return SlateFigures(auc, mrr, ndcg, recall)


def slate_auc(slates: Slates) -> Floats:
    """The AUC of each slate alone, [slates]; not a number where it has not both labels."""
    return slate_figures(slates, (), ()).auc


@dataclass(frozen=True, slots=True, eq=False)
class _Ranked:
    """Slates of one block, best candidate first; all arrays [slates, width], pads last."""

    positive: NDArray[np.bool_]
    filled: NDArray[np.bool_]
    start: Ints
    """Place of the first candidate with the same score."""
    end: Ints
    """One past the last."""

    @property
    def width(self) -> int:
        return int(self.positive.shape[1])

    def chosen(self, mask: NDArray[np.bool_]) -> "_Ranked":
        return _Ranked(self.positive[mask], self.filled[mask], self.start[mask], self.end[mask])

    def expected(self, weights: Floats) -> Floats:
        """[slates]: what the positives collect when each place is worth its weight [width]."""
        sums = np.concatenate(([0.0], np.cumsum(weights)))
        mean = (sums[self.end] - sums[self.start]) / (self.end - self.start)
        return _total(mean, self.positive)

    def auc(self) -> Floats:
        negatives = np.pad(np.cumsum(self.filled & ~self.positive, axis=1), ((0, 0), (1, 0)))
        above = np.take_along_axis(negatives, self.start, axis=1)
        reached = np.take_along_axis(negatives, self.end, axis=1)
        beaten = negatives[:, -1:] - (above + reached) / 2
        pairs = self.positive.sum(axis=1) * negatives[:, -1]
        return np.asarray(_total(beaten, self.positive) / pairs, np.float64)

    def ndcg(self, k: int) -> Floats:
        discounts = _first(k, self.width) / np.log2(np.arange(self.width) + 2.0)
        best = np.cumsum(discounts)[self.positive.sum(axis=1) - 1]
        return np.asarray(self.expected(discounts) / best, np.float64)

    def reciprocal_rank(self) -> Floats:
        """Of p positives among n tied ones, the first is the j-th with probability C(n - j, p - 1) / C(n, p)."""
        first = self.positive.argmax(axis=1)[:, None]
        start = np.take_along_axis(self.start, first, axis=1)[:, 0]
        tied = np.take_along_axis(self.end, first, axis=1)[:, 0] - start
        positives = (self.positive & (self.start == start[:, None])).sum(axis=1)
        chance, total = positives / tied, np.zeros(len(start))
        for place in range(1, int((tied - positives).max(initial=0)) + 2):
            total += chance / (start + place)
            chance = chance * np.maximum(tied - place - positives + 1, 0) / np.maximum(tied - place, 1)
        return total


def _ranked(slates: Slates, rows: Ints, filled: NDArray[np.bool_]) -> _Ranked:
    scores = np.where(filled, slates.scores[rows], -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")
    scores = np.take_along_axis(scores, order, axis=1)
    filled = np.take_along_axis(filled, order, axis=1)
    positive = np.take_along_axis(slates.labels[rows] > 0, order, axis=1) & filled
    width = scores.shape[1]
    places = np.arange(width)
    new = np.ones(scores.shape, bool)
    new[:, 1:] = scores[:, 1:] != scores[:, :-1]
    start = np.maximum.accumulate(np.where(new, places, 0), axis=1)
    closes = np.ones(scores.shape, bool)
    closes[:, :-1] = new[:, 1:]
    end = np.minimum.accumulate(np.where(closes, places + 1, width)[:, ::-1], axis=1)[:, ::-1]
    return _Ranked(positive, filled, start, end)


def _total(values: Floats, counted: NDArray[np.bool_]) -> Floats:
    """[slates]: the sum over what is counted."""
    return np.asarray(np.where(counted, values, 0.0).sum(axis=1), np.float64)


def _first(k: int, width: int) -> Floats:
    """[width]: 1 for the first k places, else 0."""
    return (np.arange(width) < k).astype(np.float64)


def _bounds(lengths: NDArray[np.integer]) -> Ints:
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)


def _blocks(slates: Slates) -> Iterator[tuple[Ints, Ints, NDArray[np.bool_]]]:
    """Slates of like length together: their numbers [n], their rows [n, width], and which of these are no pads."""
    lengths = np.diff(slates.bounds)
    order = np.argsort(lengths, kind="stable")
    order = order[np.searchsorted(lengths[order], 1) :]
    while len(order):
        # The longest come last: shrink the block until it fits.
        count = len(order)
        while count > 1 and count * lengths[order[count - 1]] > _CELLS_AT_ONCE:
            count //= 2
        numbers, order = order[:count], order[count:]
        places = np.arange(lengths[numbers[-1]])
        filled = places < lengths[numbers, None]
        yield numbers, np.where(filled, slates.bounds[numbers, None] + places, 0), filled


def placements(scores: Floats, positive: NDArray[np.bool_]) -> Floats:
    """[rows]: for a positive the share of negatives below it, for a negative the share of positives above it.

    Ties count half. The mean over the positives, as over the negatives, is the AUC of all rows together (DeLong et
    al., 1988). Not a number where there is only one label.
    """
    _, tie = np.unique(scores, return_inverse=True)
    totals = _counts(tie, positive)
    below = np.cumsum(totals, axis=1) - totals / 2
    negatives, positives = totals.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(positive, below[0, tie] / negatives, 1 - below[1, tie] / positives), np.float64)


def _counts(tie: Ints, positive: NDArray[np.bool_]) -> Floats:
    """[2, ties]: negatives and positives with each score."""
    many = tie.max(initial=-1) + 1
    return np.stack([np.bincount(tie[side], minlength=many) for side in (~positive, positive)]).astype(np.float64)


def log_losses(probabilities: Floats, positive: NDArray[np.bool_]) -> Floats:
    """[rows], in nats."""
    of_label = np.where(positive, probabilities, 1 - probabilities)
    return np.asarray(-np.log(np.clip(of_label, _SMALLEST_PROBABILITY, 1.0)), np.float64)


def equal_mass_bins(probabilities: Floats, bins: int) -> Ints:
    """[rows], 0 to `bins` - 1: like many rows in each; equal probabilities stay together, so some may be empty."""
    if not len(probabilities):
        return np.empty(0, np.int64)
    edges = np.quantile(probabilities, np.arange(1, bins) / bins)
    return np.searchsorted(edges, probabilities, side="right").astype(np.int64)


def top_rows(slates: Slates, k: int, seed: int = 0) -> Ints:
    """[slates, k]: rows of the best k candidates, labelled or not, best first; -1 where a slate has fewer.

    Ties are broken by chance, once: a list must be shown in some order.
    """
    chance = np.random.default_rng(seed).random(len(slates.scores))
    found = np.full((len(slates), k), -1, np.int64)
    for numbers, rows, filled in _blocks(slates):
        keys = np.where(filled, -slates.scores[rows], np.inf)
        best = np.lexsort((chance[rows], keys), axis=1)[:, :k]
        shown = np.where(np.take_along_axis(filled, best, axis=1), np.take_along_axis(rows, best, axis=1), -1)
        found[numbers, : shown.shape[1]] = shown
    return found


def novelties(shown: Ints, counts: NDArray[np.integer]) -> Floats:
    """[slates]: mean of -log2 of the popularity of the items shown, in bits (Vargas, Castells, 2011).

    Args:
        shown: items of each slate [slates, k], -1 = none.
        counts: positive acts on each item [items]; one is added to each, so that no item is infinitely new.
    """
    bits = -np.log2((counts + 1.0) / (counts.sum() + len(counts)))
    there = shown >= 0
    return _ratio(np.where(there, bits[shown], 0.0).sum(axis=1), there.sum(axis=1))


def diversities(shown: Ints, vectors: NDArray[np.floating]) -> Floats:
    """[slates]: 1 - mean cosine over all pairs of the items shown; not a number with fewer than two.

    Args:
        shown: items of each slate [slates, k], -1 = none.
        vectors: of length 1, [items, width].
    """
    found = np.empty(len(shown))
    step = max(1, _CELLS_AT_ONCE // max(1, shown.shape[1] * vectors.shape[1]))
    for start in range(0, len(shown), step):
        some = shown[start : start + step]
        many = (some >= 0).sum(axis=1)
        sums = np.where((some >= 0)[:, :, None], vectors[some], 0.0).sum(axis=1)
        found[start : start + step] = 1 - _ratio((sums * sums).sum(axis=1) - many, many * (many - 1))
    return found


def category_diversities(shown: Ints, category_of: Ints) -> Floats:
    """[slates]: share of the pairs of items shown whose categories (`category_of` [items]) differ; else as above."""
    there = shown >= 0
    category = np.where(there, category_of[shown], -1)
    pairs = there[:, :, None] & there[:, None, :] & ~np.eye(shown.shape[1], dtype=bool)
    return _ratio((pairs & (category[:, :, None] != category[:, None, :])).sum(axis=(1, 2)), pairs.sum(axis=(1, 2)))


def _ratio(totals: NDArray[np.floating], counts: NDArray[np.integer]) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(totals / np.where(counts > 0, counts, np.nan), np.float64)
