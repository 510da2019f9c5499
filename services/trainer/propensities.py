"""How likely each place of a slate is looked at, as far as choices tell: how often what stood there was chosen, over
the same of the first place.

Only where the order of slates was random do places differ in nothing but how likely they are looked at (Joachims et
al., 2017, arXiv 1608.04468). Where a ranker put the best first, these rates are its merit as well, and to weight by
their inverse would be to unlearn it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.corpus import Example

Counts = NDArray[np.int64]
_PRIOR = 100.0
"""Candidates that every place is taken to have shown besides, chosen as often as all are: or few would decide."""


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """What happened at each place, the first one first."""

    shown: Counts
    """[places]: candidates that stood there and whose first action is known."""
    chosen: Counts
    """[places]: those of them with the first action done."""

    def relative(self, most: int) -> tuple[float | None, ...]:
        """The rates of the first places over that of the first; None where nothing stood, empty where nothing was
        chosen at the first."""
        if not self.chosen[:1].any():
            return ()
        first = self.chosen[0] / self.shown[0]
        return tuple(
            float(chosen / shown / first) if shown else None
            for shown, chosen in zip(self.shown[:most].tolist(), self.chosen[:most].tolist(), strict=True)
        )

    def propensities(self, least: float, most: int) -> tuple[float, ...]:
        """Smoothed rates over that of the first place, from `least` to 1; of up to `most` places, the last of which
        stands for all beyond. Empty where nothing was chosen."""
        if not self.chosen.any():
            return ()
        beyond = [min(most, len(self.shown)) - 1]
        starts = np.concatenate([np.arange(beyond[0]), beyond])
        shown, chosen = (np.add.reduceat(counts, starts) for counts in (self.shown, self.chosen))
        rates = (chosen + _PRIOR * chosen.sum() / shown.sum()) / (shown + _PRIOR)
        found: list[float] = np.clip(rates / rates[0], least, 1.0).round(4).tolist()
        return tuple(found)


def places_in(examples: Iterable[Example]) -> Places:
    """Counts the slates whose positions are known; not those with sampled negatives, where nothing tells what was
    passed over."""
    placed = [one for one in examples if one.positions is not None and one.positions.all()]
    positions = np.concatenate([np.empty(0, np.int64), *(one.positions for one in placed if one.positions is not None)])
    labels = np.concatenate([np.empty(0), *(one.labels[:, 0] for one in placed)])
    known = np.isfinite(labels)
    longest = int(positions.max(initial=0))
    shown, chosen = (np.bincount(positions[rows], minlength=longest + 1)[1:] for rows in (known, labels == 1))
    return Places(shown, chosen)
