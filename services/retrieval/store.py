"""The durable form of the library: what must survive a restart, and nothing that can be derived from it.

A store is used from one thread. Every method that changes something returns only when the change is on disk, and
does all of it or nothing. Several processes may share a store that says what the others have changed: `changes`.
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
    generation: int = 0
    """How often counting has begun anew, where a store is shared; sums of different generations never meet."""


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What has become of all that was changed at a shared store since the last look.

    Items come before their vectors. Sums and progress belong together once there are no further changes.
    """

    items: Sequence[Item]
    deleted: Sequence[str]
    """Ids of items that have gone with their vectors."""
    vectors: Sequence[StoredVector]
    tallies: Mapping[str, Tally]
    faded: Collection[str]
    progress: Progress
    """Of another generation than before: all earlier sums are gone."""


class StoreMovedError(Exception):
    """Others have changed the store meanwhile: follow, then try again; nothing was written."""


class StoreReplacedError(Exception):
    """The store may hold another library than the one that was loaded: load all of it anew; nothing was written.

    The text says how that was noticed. From now on the store is about the library that it holds now.
    """


class StoreOpenError(StartError):
    """The store cannot be used at all; the text tells whoever starts the service what to change."""


class LibraryStore(Protocol):
    """Items, vectors, popularity. Changes raise ServiceError(STORE_UNAVAILABLE) when the disk refuses.

    At a shared store they raise StoreMovedError unless the caller has been told of all that others have changed, and
    StoreReplacedError, which `changes` and `progress` raise too. Once a change is acknowledged, be it one of nothing,
    none that was sent before it can still take effect.
    """

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

    def forget_counts(self) -> Progress:
        """Drops all sums together with the cursor, so that the next event is the first of a log; returns the start."""

    def changes(self) -> Changes | None:
        """What others have changed since the last look, or since it was opened: a piece at a time, None = no more.

        Own changes may be among it. A change whose outcome was not known is there if it was written.
        """
