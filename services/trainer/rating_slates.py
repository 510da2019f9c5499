"""Slates of ratings: films that were liked, each among films that the user had left alone.

A slate that is trained on mixes negatives of two kinds, uniform and popular: uniform ones alone teach popularity,
popular ones alone teach to distrust it. What is measured keeps the two apart.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray

from services.trainer.assembly import Assembly, CorpusOptions, Draft
from services.trainer.corpus import TEST, TRAIN, VALID, Example, Past
from services.trainer.splitting import by_time, last_part
from shared.datasets import Interaction

LIKE = "like"
MEASURED_NEGATIVES = 50
MEASURED_PER_USER = 15
"""Likes of one user and period that are measured, drawn among all: or a few users would be the result."""
POPULAR_POWER = 0.75
"""Of the counts, for popular negatives of training slates (word2vec, arXiv 1310.4546)."""
_ROUNDS = 4
"""Of drawing and throwing away, before what is left is looked through."""


@dataclass(frozen=True, slots=True)
class Periods:
    """Ratings by time, cut into what is learnt from and what is measured."""

    train: Sequence[Interaction]
    valid: Sequence[Interaction]
    test: Sequence[Interaction]

    @property
    def train_until(self) -> float:
        """When what is measured begins, unix seconds."""
        return next((part[0].time for part in (self.valid, self.test) if part), inf)


def periods_of(ratings: Sequence[Interaction], until: float | None, options: CorpusOptions) -> Periods:
    """Cuts ratings that are in time order. `until`: when a fixed test begins, which takes the place of test_share."""
    known = list(ratings)
    if until is None:
        rest, test = last_part(known, options.test_share)
        train, valid = last_part(rest, options.valid_share / (1.0 - options.test_share))
    else:
        test = []
        train, valid = last_part([rating for rating in known if rating.time < until], options.valid_share)
    return Periods(train, valid, test)


def rating_draft(name: str, periods: Periods, fixed: Mapping[str, Sequence[Example]], assembly: Assembly) -> Draft:
    """Splits "train" and, from the later periods, e.g. "valid-uniform", "valid-popular" and "valid", which is both."""
    maker = _Maker(assembly, periods)
    splits: dict[str, Sequence[Example]] = {TRAIN: list(maker.trained_on(periods.train))}
    for split, ratings in ((VALID, periods.valid), (TEST, periods.test)):
        flavours = {f"{split}-{flavour}": list(maker.measured(flavour, split, ratings)) for flavour in maker.flavours}
        both = by_time([example for examples in flavours.values() for example in examples])
        if both:
            splits |= {**flavours, split: both}
    return Draft(name, (LIKE,), splits | dict(fixed), assembly.events(periods.train))


class NegativeSampler:
    """Draws different items in proportion to their weights [items], without those that are not wanted."""

    def __init__(self, weights: NDArray[np.float64]) -> None:
        self._weights = weights
        self._cumulative = np.cumsum(weights)

    def draw(
        self, count: int, unwanted: Collection[int], rng: np.random.Generator, among: int | None = None
    ) -> list[int]:
        """`count` rows, fewer where there are no more with a weight. `unwanted` should be a set; `among`: of so many
        first rows, None = of all."""
        chosen: dict[int, None] = {}
        among = len(self._weights) if among is None else among
        total = self._cumulative[among - 1] if among else 0.0
        for _ in range(_ROUNDS if total > 0 else 0):
            drawn = np.searchsorted(self._cumulative, rng.random(2 * count) * total, side="right")
            for row in drawn.tolist():
                if len(chosen) == count:
                    return list(chosen)
                if row not in unwanted and row < among:
                    chosen[row] = None
        weights = self._weights.copy()
        weights[[*unwanted, *chosen]] = 0.0
        return [*chosen, *self._drawn_from_what_is_left(count - len(chosen), weights[:among], rng)]

    @staticmethod
    def _drawn_from_what_is_left(count: int, weights: NDArray[np.float64], rng: np.random.Generator) -> list[int]:
        """Exact, and slow with many items: for users who have touched most of what there is."""
        left = np.flatnonzero(weights)
        count = min(count, len(left))
        if not count:
            return []
        share = weights[left] / weights[left].sum()
        rows: list[int] = rng.choice(left, size=count, replace=False, p=share).tolist()
        return rows


def mixed_sampler(counts: NDArray[np.float64]) -> NegativeSampler:
    """Draws items uniformly and by how often they were met, `counts` [items], in equal parts."""
    return NegativeSampler(_shares(np.ones(len(counts))) + _shares(counts**POPULAR_POWER))


@dataclass(slots=True)
class _Diary:
    """All that a user did, oldest first."""

    times: list[float] = field(default_factory=list)
    acts: list[Past] = field(default_factory=list)

    def before(self, time: float) -> list[Past]:
        return self.acts[: bisect_left(self.times, time)]

    def newest_before(self, time: float, most: int) -> tuple[Past, ...]:
        end = bisect_left(self.times, time)
        return tuple(reversed(self.acts[max(0, end - most) : end]))


class _Maker:
    """Makes slates of likes. Popularity is of the training period, and so is what a user is known to have touched while
    that period's slates are made: what is rated later must not show in what is learnt from."""

    def __init__(self, assembly: Assembly, periods: Periods) -> None:
        self._assembly, self._options = assembly, assembly.options
        self._ends = {
            TRAIN: periods.train_until,
            VALID: periods.test[0].time if periods.test else inf,
            TEST: inf,
        }
        self._diaries: dict[str, _Diary] = {}
        for rating in (*periods.train, *periods.valid, *periods.test):
            diary = self._diaries.setdefault(rating.user_id, _Diary())
            diary.times.append(rating.time)
            diary.acts.append(assembly.past(Past(assembly.rows[rating.item_id], rating.action, rating.time)))
        rated = np.array([assembly.rows[rating.item_id] for rating in periods.train], np.int64)
        counts = np.bincount(rated, minlength=len(assembly.items)).astype(np.float64)
        self.flavours = {"uniform": NegativeSampler(np.ones(len(counts))), "popular": NegativeSampler(counts)}
        self._mixed = mixed_sampler(counts)

    def trained_on(self, ratings: Sequence[Interaction]) -> Iterator[Example]:
        """A slate for every like, users without a past included: they come to a homepage, too."""
        rng = np.random.default_rng((self._options.seed, 0))
        likes = [rating for rating in ratings if rating.action == LIKE]
        return self._slates(likes, TRAIN, self._mixed, rng)

    def measured(self, flavour: str, split: str, ratings: Sequence[Interaction]) -> Iterator[Example]:
        """A slate for some likes of every user with a past."""
        rng = np.random.default_rng((self._options.seed, 1 + list(self.flavours).index(flavour), split == TEST))
        of_users: dict[str, list[int]] = {}
        for row, rating in enumerate(ratings):
            if rating.action == LIKE and self._diaries[rating.user_id].times[0] < rating.time:
                of_users.setdefault(rating.user_id, []).append(row)
        rows = sorted(
            row
            for liked in of_users.values()
            for row in rng.choice(liked, min(len(liked), MEASURED_PER_USER), replace=False).tolist()
        )
        return self._slates((ratings[row] for row in rows), f"{split}-{flavour}", self.flavours[flavour], rng)

    def _slates(
        self, likes: Iterable[Interaction], split: str, sampler: NegativeSampler, rng: np.random.Generator
    ) -> Iterator[Example]:
        count = self._options.negatives if split == TRAIN else MEASURED_NEGATIVES
        end = self._ends[split.partition("-")[0]]
        touched: dict[str, set[int]] = {}
        for like in likes:
            diary = self._diaries[like.user_id]
            if like.user_id not in touched:
                touched[like.user_id] = {past.item for past in diary.before(end)}
            negatives = sampler.draw(count, touched[like.user_id], rng)
            if not negatives:
                self._assembly.dropped["like with nothing to rank it against"] += 1
                continue
            # In random order: a ranking that prefers what comes first must not gain by it.
            candidates = rng.permutation(np.array([self._assembly.rows[like.item_id], *negatives], np.int32))
            yield Example(
                impression_id=f"{like.event_id}/{split}",
                user=like.user_id,
                time=like.time,
                history=diary.newest_before(like.time, self._options.max_history),
                candidates=candidates,
                labels=(candidates == self._assembly.rows[like.item_id]).astype(np.float32)[:, None],
            )


def _shares(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Summing to one; all zero where nothing has a weight."""
    total = float(weights.sum())
    return weights / total if total > 0 else weights
