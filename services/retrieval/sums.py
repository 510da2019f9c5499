"""The popularity sums of all items, and how far the event log has been counted to make them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice

import numpy as np

from services.retrieval.behaviour import CountedEvent
from services.retrieval.catalogue import Catalogue, Floats
from services.retrieval.popularity import counted, faded, log_weight
from services.retrieval.store import Progress, Tally

_LEAST_TALLIES = 10_000
"""Up to so many sums are kept before any are looked through for what has faded."""
_MOST_FADED = 1000
"""Sums that go at once; where even more come at once, that many: a store is not to be held up, nor to grow."""


class Sums:
    """Sums by item id; the items need not be in the library (yet). `half_life_s`: of popularity, in seconds."""

    def __init__(
        self, half_life_s: float, tallies: Iterable[tuple[str, Tally]] = (), progress: Progress | None = None
    ) -> None:
        self._half_life_s = half_life_s
        self._look_through_at = _LEAST_TALLIES
        self.tallies = dict(tallies)
        self.progress = progress or Progress()
        """Replaced as a whole."""

    def log_weights(self, item_ids: Sequence[str]) -> Floats:
        """Base-2 logarithms of the sums as of unix time 0: float64 [items]."""
        weights = [log_weight(self.tallies.get(item_id), self._half_life_s) for item_id in item_ids]
        return np.array(weights, np.float64)

    def with_events(self, events: Iterable[CountedEvent]) -> dict[str, Tally]:
        """What these events make of the sums of their items."""
        tallies: dict[str, Tally] = {}
        for event in events:
            before = tallies.get(event.item_id) or self.tallies.get(event.item_id)
            tallies[event.item_id] = counted(before, event, self._half_life_s)
        return tallies

    def faded(self, catalogue: Catalogue, kept: Collection[str]) -> list[str]:
        """Some sums of items that are not here and have decayed to nothing.

        Looked for whenever the sums have doubled, and then until there are none.
        """
        if len(self.tallies) < self._look_through_at:
            return []
        candidates = faded(self.tallies, self._half_life_s)
        found = (item_id for item_id in candidates if item_id not in kept and catalogue.find(item_id) is None)
        gone = list(islice(found, max(_MOST_FADED, len(kept))))
        self._look_through_at = _LEAST_TALLIES if gone else 2 * len(self.tallies)
        return gone

    def change(self, tallies: Mapping[str, Tally], gone: Iterable[str], progress: Progress) -> None:
        """Takes over what has been counted; of another generation than before: all earlier sums are gone."""
        if progress.generation != self.progress.generation:
            self.tallies.clear()
        self.progress = progress
        self.tallies.update(tallies)
        for item_id in gone:
            self.tallies.pop(item_id, None)
