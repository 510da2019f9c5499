"""What a trained model must beat: chance, popularity, and the untrained encoder. All are fitted on corpus.events only,
which end before the first example that is evaluated.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.corpus import Corpus, Example, Past
from shared.datasets import Item
from shared.model.ranking_model import RankingModel
from shared.model.text import NEGATIVE_ACTIONS, ItemText, text_of_item

POSITIVE_ACTS = frozenset({"click", "like", "purchase", "comment", "share"})
"""Acts that speak for an item. A view or a dwell alone does not; a click says what they would say."""
DAY_S = 86_400.0
_HALF_LIVES = 20

Scores = list[NDArray[np.float32]]


def positive_counts(corpus: Corpus) -> NDArray[np.int64]:
    """[items]: how many users' positive acts each item has; a user who clicks and likes counts once."""
    pairs = {(event.user, event.item) for event in corpus.events if event.action in POSITIVE_ACTS}
    return np.bincount(np.array([item for _, item in pairs], np.int64), minlength=len(corpus.items))


def event_counts(corpus: Corpus) -> NDArray[np.int64]:
    """[items]: events of any kind."""
    return np.bincount(np.array([event.item for event in corpus.events], np.int64), minlength=len(corpus.items))


@dataclass(frozen=True, slots=True)
class RandomScorer:
    """Chance; the same for a slate whatever stands before it."""

    seed: int = 0
    name: str = "random"
    probabilistic: bool = False

    def scores(self, examples: Sequence[Example]) -> Scores:
        """[candidates] of each example, uniform in [0, 1)."""
        found: Scores = []
        for example in examples:
            generator = np.random.default_rng((self.seed, zlib.crc32(example.impression_id.encode())))
            found.append(generator.random(len(example.candidates), np.float32))
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Popularity:
    """The logarithm of 1 + the number of users who acted on an item, positively, in the training period."""

    log_counts: NDArray[np.float32]
    """[items]."""
    name: str = "popularity"
    probabilistic: bool = False

    def scores(self, examples: Sequence[Example]) -> Scores:
        """[candidates] of each example."""
        return [self.log_counts[example.candidates] for example in examples]


def fit_popularity(corpus: Corpus) -> Popularity:
    """On train examples it has seen the answers: fit nothing on its scores there."""
    return Popularity(np.log1p(positive_counts(corpus)).astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class RecentPopularity:
    """The logarithm of 1 + the positive acts on an item before the example's time, each halved every half-life.

    Only training events count, and of them only those before the example. Ages are counted from the last of these, not
    from the example: the order is the same, and sums stay comparable however long after training an example is. An
    example without a time is taken to be after all events.
    """

    keys: NDArray[np.int64]
    """[events]: item x (events + 1) + place in the order of time, ascending."""
    log_sums: NDArray[np.float64]
    """[events]: log2 of the item's sum with this event, as it would be at the first event's time."""
    times: NDArray[np.float64]
    """[events], by time."""
    half_life_s: float
    name: str = "recent popularity"
    probabilistic: bool = False

    def scores(self, examples: Sequence[Example]) -> Scores:
        """[candidates] of each example."""
        base = len(self.times) + 1
        found: Scores = []
        for example in examples:
            time = np.inf if example.time is None else example.time
            before = int(np.searchsorted(self.times, time, side="left"))
            if not before:
                found.append(np.zeros(len(example.candidates), np.float32))
                continue
            items = example.candidates.astype(np.int64)
            last = np.searchsorted(self.keys, items * base + before, side="left") - 1
            there = (last >= 0) & (self.keys[last] // base == items)
            faded = (self.times[before - 1] - self.times[0]) / self.half_life_s
            values = np.zeros(len(items))
            values[there] = np.log1p(np.exp2(self.log_sums[last[there]] - faded))
            found.append(values.astype(np.float32))
        return found


def fit_recent_popularity(corpus: Corpus, half_life_s: float | None = None) -> RecentPopularity:
    """Sums are kept as logarithms, which no half-life can overflow.

    Args:
        corpus: its events are counted.
        half_life_s: None = a twentieth of the time that they span: a day and a half in a month of news, a year in
            twenty years of films.
    """
    positive = [event for event in corpus.events if event.action in POSITIVE_ACTS]
    times = np.array([event.time for event in positive])
    items = np.array([event.item for event in positive], np.int64)
    if half_life_s is None:
        half_life_s = max(float(np.ptp(times)) / _HALF_LIVES, 1.0) if len(times) else DAY_S
    keys = items * (len(times) + 1) + np.arange(len(times))
    order = np.argsort(keys)
    log_sums = (times[order] - times[:1].sum()) / half_life_s
    starts = np.flatnonzero(np.diff(items[order], prepend=-1))
    for run in np.split(log_sums, starts[1:]) if len(log_sums) else ():
        np.logaddexp2.accumulate(run, out=run)
    return RecentPopularity(keys[order], log_sums, times, half_life_s)


def item_vectors(items: Sequence[Item], model: RankingModel) -> NDArray[np.float32]:
    """Unit vectors [items, width] of a two-tower model, as the service stores them; minutes for 10,000 on a CPU."""
    texts = [text_of_item(ItemText(item.title, item.category, item.publisher)) for item in items]
    return model.vectors(model.encode_items(model.tokeniser.candidates(texts)))


@dataclass(frozen=True, slots=True, eq=False)
class CosineScorer:
    """Cosine to the mean vector of what the user liked, minus cosine to the mean of what the user disliked.

    What was disliked tells apart films that a user has seen; among films that nobody showed the user, being like a
    disliked one is rather a good sign, since people watch one kind. So a blend should read both sides as two signals.
    """

    vectors: NDArray[np.float32]
    """[items, width], of length 1."""
    dislike_weight: float = 1.0
    """Of the second cosine; 0 = likes alone."""
    most: int = 50
    """Of the newest entries on each side."""
    name: str = "zero-shot cosine"
    probabilistic: bool = False

    def scores(self, examples: Sequence[Example]) -> Scores:
        """[candidates] of each example; 0 without history."""
        found: Scores = []
        for example in examples:
            likes = self._mean(example.history, POSITIVE_ACTS)
            dislikes = self._mean(example.history, NEGATIVE_ACTIONS)
            found.append(self.vectors[example.candidates] @ (likes - np.float32(self.dislike_weight) * dislikes))
        return found

    def _mean(self, history: Sequence[Past], acts: frozenset[str]) -> NDArray[np.float32]:
        """[width], of length 1, or zeros."""
        items = list(dict.fromkeys(past.item for past in history if past.action in acts))[: self.most]
        mean = self.vectors[items].sum(axis=0)
        return np.asarray(mean / (np.linalg.norm(mean) or 1.0), np.float32)
