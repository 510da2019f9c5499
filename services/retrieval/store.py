"""The durable form of the library: what must survive a restart, and nothing that can be derived from it.

A store is used from one thread. Every method that changes something returns only when the change is on disk, and
does all of it or nothing.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from services.retrieval.items import Item
from shared.start import StartError

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class StoredVector:
    """The vector of an item's text: float32 [dimensions], of unit length."""

    item_id: str
    revision: str
    embedding_version: str
    values: Vector


@dataclass(frozen=True, slots=True)
class Tally:
    """A decayed sum: what it was worth at `as_of` (unix seconds); later it is worth less by the half-life."""

    total: float
    as_of: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the event log has been counted: where to go on, and how many events that makes."""

    cursor: str = ""
    counted: int = 0


class StoreOpenError(StartError):
    """The store cannot be used at all; the text tells whoever starts the service what to change."""


class LibraryStore(Protocol):
    """Items, vectors, popularity. Changes raise ServiceError(STORE_UNAVAILABLE) when the disk refuses."""

    def open(self) -> None:
        """Makes it ready for use. Raises StoreOpenError when it cannot be used."""

    def close(self) -> None:
        """Gives everything back."""

    def items(self) -> Iterable[Item]:
        """All items, by id."""

    def vectors(self) -> Iterable[StoredVector]:
        """All vectors, by item id; they may belong to an older text of the item."""

    def tallies(self) -> Iterable[tuple[str, Tally]]:
        """All popularity sums with their item ids, which need not be in the library (yet)."""

    def progress(self) -> Progress:
        """How far the event log has been counted."""

    def put_items(self, items: Sequence[Item]) -> None:
        """Adds or replaces items."""

    def delete_items(self, item_ids: Sequence[str]) -> None:
        """Removes items and their vectors; popularity stays, as an item may come back."""

    def put_vectors(self, vectors: Sequence[StoredVector]) -> None:
        """Adds or replaces vectors."""

    def put_counts(self, tallies: Mapping[str, Tally], progress: Progress, faded: Collection[str] = ()) -> None:
        """Adds or replaces sums together with the cursor behind them, so that no event counts twice; drops `faded`."""

    def forget_counts(self) -> None:
        """Drops all sums together with the cursor: the next event is the first of a log."""
