"""What Retrieve's nearest source would have said of candidates, were the library the corpus' items.

It finds only the best few hundred neighbours of what a user liked last. Training must know as little of the others
as serving does, or a fusion would take "not found" for average.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.corpus import Example
from shared.model.text import NEGATIVE_ACTIONS

ANCHORS, RECENCY, LEAST_PER_ANCHOR = 10, 0.9, 20
"""Those of services/retrieval/sources.py; a test holds them to it."""


@dataclass(frozen=True, slots=True, eq=False)
class NearestSource:
    """The source over unit vectors [items, width], those that the library is searched by."""

    vectors: NDArray[np.float32]
    quota: int = 200
    """Candidates that a page is made from."""

    def scores(self, example: Example) -> NDArray[np.float64]:
        """[candidates], 0 to 1; not a number where it would not have found it, as for what was seen.

        10,000 items take about 5 ms.
        """
        newest: dict[int, str] = {}
        for past in example.history:
            newest.setdefault(past.item, past.action)
        anchors = [item for item, action in newest.items() if action not in NEGATIVE_ACTIONS][:ANCHORS]
        if not anchors:
            return np.full(len(example.candidates), np.nan)
        best = self._best(np.array(anchors), np.array([*newest]))
        return np.where(np.isfinite(best), best, np.nan)[example.candidates]

    def _best(self, anchors: NDArray[np.int64], seen: NDArray[np.int64]) -> NDArray[np.float64]:
        """[items]; minus infinity where it finds nothing."""
        cosines = (self.vectors[anchors] @ self.vectors.T).astype(np.float64)
        cosines[:, seen] = -np.inf
        each = min(self.quota, max(LEAST_PER_ANCHOR, math.ceil(2 * self.quota / len(anchors))), cosines.shape[1])
        near = np.argpartition(-cosines, each - 1, axis=1)[:, :each]
        found = np.take_along_axis(cosines, near, axis=1)
        recency = RECENCY ** np.arange(len(anchors))[:, None]
        scores = np.where(np.isfinite(found), np.clip(found * recency, 0.0, 1.0), -np.inf)
        best = np.full(cosines.shape[1], -np.inf)
        np.maximum.at(best, near, scores)
        if np.isfinite(best).sum() > self.quota:
            best[np.argpartition(-best, self.quota)[self.quota :]] = -np.inf
        return best
