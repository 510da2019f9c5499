"""Item-based nearest neighbours: an item is likely for users whose history holds items that the same people liked.

The likeness of two items is the cosine of their columns in the matrix of users and positive acts, shrunk towards 0
where few users speak for it (Sarwar et al., 2001; shrinkage as in Bell, Koren, 2007).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.baselines import POSITIVE_ACTS
from services.trainer.corpus import Corpus, Example, Past
from shared.model.text import NEGATIVE_ACTIONS

_EXAMPLES_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class KnnOptions:
    """How likeness is computed and summed."""

    shrinkage: float = 10.0
    """Added to the denominator of the cosine: likenesses on fewer users count less."""
    neighbours: int = 500
    """Kept of each item."""
    acts_per_user: int = 2_000
    """The latest; a user with more costs the square of them and likes everything."""
    dislike_weight: float = 0.0
    """What a disliked history entry takes away, a liked one adding 1; 0 = left out."""


@dataclass(frozen=True, slots=True, eq=False)
class ItemKnn:
    """A scorer: the sum of likenesses between a candidate and the user's history."""

    likeness: Any
    """scipy.sparse.csr_array [items, items], float32: the neighbours of each item (row) and how alike they are."""
    options: KnnOptions
    name: str = "item-kNN"
    probabilistic: bool = False

    def scores(self, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        """[candidates] of each example; 0 where nothing is known."""
        found: list[NDArray[np.float32]] = []
        for start in range(0, len(examples), _EXAMPLES_AT_ONCE):
            some = examples[start : start + _EXAMPLES_AT_ONCE]
            sums = self._histories(some) @ self.likeness
            lengths = [len(example.candidates) for example in some]
            columns = np.concatenate([example.candidates for example in some])
            values = np.asarray(sums[np.repeat(np.arange(len(some)), lengths), columns], np.float32).ravel()
            found += np.split(values, np.cumsum(lengths)[:-1])
        return found

    def _histories(self, examples: Sequence[Example]) -> Any:
        """scipy.sparse.csr_array [examples, items]: what each history entry weighs."""
        from scipy.sparse import csr_array  # type: ignore[import-untyped]

        weighed = [_weighed(example.history, self.options.dislike_weight) for example in examples]
        bounds = np.cumsum([0, *map(len, weighed)])
        items = np.array([item for each in weighed for item, _ in each], np.int32)
        weights = np.array([weight for each in weighed for _, weight in each], np.float32)
        return csr_array((weights, items, bounds), shape=(len(examples), self.likeness.shape[0]))


def fit_item_knn(corpus: Corpus, options: KnnOptions | None = None) -> ItemKnn:
    """Counts who liked what together in corpus.events; needs scipy."""
    from scipy.sparse import csr_array

    options = options or KnnOptions()
    liked: dict[str, list[int]] = {}
    for event in corpus.events:
        if event.action in POSITIVE_ACTS:
            liked.setdefault(event.user, []).append(event.item)
    sets = [np.unique(items[-options.acts_per_user :]) for items in liked.values()]
    columns = np.concatenate([*sets, np.empty(0, np.int64)]).astype(np.int32)
    bounds = np.cumsum([0, *map(len, sets)])
    users = csr_array((np.ones(len(columns), np.float32), columns, bounds), shape=(len(sets), len(corpus.items)))
    together = (users.T @ users).tocoo()
    row, column = together.row, together.col
    apart = row != column
    row, column, counts = row[apart], column[apart], together.data[apart]
    of_item = np.bincount(columns, minlength=len(corpus.items))
    cosine = counts / (np.sqrt(of_item[row] * of_item[column]) + options.shrinkage)
    kept = _nearest(row, cosine, options.neighbours)
    shape = (len(corpus.items), len(corpus.items))
    likeness = csr_array((cosine[kept].astype(np.float32), (row[kept], column[kept])), shape=shape)
    return ItemKnn(likeness, options)


def _nearest(row: NDArray[np.integer], values: NDArray[np.floating], most: int) -> NDArray[np.int64]:
    """Entries that are among the `most` largest of their row."""
    order = np.lexsort((-values, row))
    sorted_row = row[order]
    place = np.arange(len(order)) - np.searchsorted(sorted_row, sorted_row)
    return order[place < most]


def _weighed(history: Sequence[Past], dislike_weight: float) -> list[tuple[int, float]]:
    """Each item once, by the latest act that tells an opinion."""
    found: dict[int, float] = {}
    for past in history:
        if past.action in POSITIVE_ACTS:
            found.setdefault(past.item, 1.0)
        elif past.action in NEGATIVE_ACTIONS:
            found.setdefault(past.item, -dislike_weight)
    return [(item, weight) for item, weight in found.items() if weight]
