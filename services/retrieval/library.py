"""The library: what is on disk, and the snapshot of it in memory that every read uses.

Whatever changes it is written first and becomes visible after, as a new snapshot put in place of the old one by one
assignment. Changes must run one after the other in one thread; reads of `snapshot` need no lock. Where replicas share a
store, each change first takes over what the others have changed, and `follow` does just that; where one of them comes
between, the change is worked out anew from what is there then.

When the embedding model changes, the index in use goes on serving while its successor fills; the successor takes over
when it has every item and its graph, because vectors of different models must not be compared.
"""

import logging
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import ParamSpec, TypeVar

import numpy as np

from services.retrieval.catalogue import ABSENT, Catalogue, Floats, Rows
from services.retrieval.graph_builder import Build, caught_up
from services.retrieval.index import VectorIndex, unit_vectors
from services.retrieval.items import Item
from services.retrieval.loading import entries, is_current, load
from services.retrieval.popularity import CountsMovedError, EventPage, Popularity
from services.retrieval.snapshot import Snapshot
from services.retrieval.store import (
    LibraryStore,
    Progress,
    StoredVector,
    StoreMovedError,
    StoreOpenError,
    StoreReplacedError,
    Tally,
)
from services.retrieval.sums import Sums
from shared.errors import Reason, ServiceError
from shared.logs import FIELDS

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_MOST_TRIES = 40
"""How often a change is tried when others come between."""


@dataclass(frozen=True, slots=True)
class PutResult:
    """How many items of a put were new or different, and how many were there in the same form."""

    stored: int
    unchanged: int


@dataclass(frozen=True, slots=True)
class Status:
    """How far the library has come; see GetIndexStatusResponse."""

    items: int
    indexed: int
    pending: int
    index_version: str
    embedding_version: str
    counted_events: int


class Library:
    """See the module. `half_life_s`: of popularity, in seconds. `shuffle`: lets replicas embed different items."""

    def __init__(self, store: LibraryStore, half_life_s: float, shuffle: random.Random | None = None) -> None:
        self._store = store
        self._half_life_s = half_life_s
        self._shuffle = shuffle
        self._sums = Sums(half_life_s)
        self._loaded = False
        self._successor: VectorIndex | None = None
        self._refused: dict[str, str] = {}
        catalogue = Catalogue.empty()
        self.snapshot = Snapshot(catalogue, VectorIndex.empty(), Popularity(np.zeros(0), catalogue))

    # Reads: from any thread.

    @property
    def progress(self) -> Progress:
        """How far the event log has been counted."""
        return self._sums.progress

    def status(self) -> Status:
        """How far it has come."""
        snapshot, target = self.snapshot, self._target
        return Status(
            items=len(snapshot.catalogue),
            indexed=len(snapshot.index),
            pending=len(_without_vector(snapshot.catalogue, target)),
            index_version=snapshot.index.version,
            embedding_version=snapshot.index.embedding_version,
            counted_events=self.progress.counted,
        )

    def pending(self, most: int) -> tuple[Item, ...]:
        """At most `most` items that wait for their vector; those that the model refused are left out."""
        catalogue = self.snapshot.catalogue
        rows = _without_vector(catalogue, self._target)
        if self._shuffle is not None and len(rows):
            rows = np.roll(rows, self._shuffle.randrange(len(rows)))
        items = (catalogue.items[row] for row in rows)
        waiting = (item for item in items if item is not None and self._refused.get(item.item_id) != item.revision)
        return tuple(islice(waiting, most))

    def any_item(self) -> Item | None:
        """Some item, to ask the model's version with; None for an empty library."""
        return next((item for item in self.snapshot.catalogue.items if item is not None), None)

    def stale_index(self) -> VectorIndex | None:
        """An index that needs a new graph; the successor only once it has every item."""
        if self._successor is not None and not self.pending(1) and self._successor.graph_is_stale:
            return self._successor
        return self.snapshot.index if self.snapshot.index.graph_is_stale else None

    @property
    def _target(self) -> VectorIndex:
        """The index that new vectors go to."""
        return self.snapshot.index if self._successor is None else self._successor

    # Changes: one after the other, in one thread.

    def open(self) -> None:
        """Loads everything from the store. Raises StoreOpenError."""
        self._store.open()
        self._loaded = False
        try:
            self.follow()
        except ServiceError as error:
            self._store.close()
            raise StoreOpenError(f"the store failed while it was loaded: {error.__cause__ or error}") from error

    def close(self) -> None:
        """Closes the store."""
        self._store.close()

    def follow(self) -> None:
        """Takes over all that others have changed at a shared store, or all of it where it is another library now.

        Raises:
            ServiceError: STORE_UNAVAILABLE.
        """
        self._change(lambda: None)

    def _change(self, change: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Makes a change that goes by what is in memory, when that is all that is in the store."""
        for _ in range(_MOST_TRIES):
            try:
                if not self._loaded:
                    loaded = load(self._store, self._half_life_s)
                    self.snapshot, self._successor, self._sums = loaded.snapshot, loaded.successor, loaded.sums
                    self._loaded = True
                self._take_over()
                return change(*args, **kwargs)
            except StoreMovedError:
                continue
            except StoreReplacedError as error:
                log.error("the store may hold another library now: loading it", extra={FIELDS: {"why": str(error)}})
                self._loaded = False
        message = "others keep changing the library; sending the same again is safe"
        raise ServiceError(Reason.STORE_UNAVAILABLE, message, retry_after_s=1.0)

    def _take_over(self) -> None:
        while changes := self._store.changes():
            self._show_items(changes.items)
            self._show_without(changes.deleted)
            self._show_counts(changes.tallies, changes.faded, changes.progress)
            by_version: dict[str, list[StoredVector]] = {}
            for vector in changes.vectors:
                by_version.setdefault(vector.embedding_version, []).append(vector)
            for version, vectors in by_version.items():
                if missing := self._missing(vectors):
                    self._show_vectors(version, missing)

    def put(self, items: Sequence[Item]) -> PutResult:
        """Adds or replaces items, all of them or none; of equal ids the last counts.

        Raises:
            ServiceError: STORE_UNAVAILABLE.
        """
        return self._change(self._put, items)

    def _put(self, items: Sequence[Item]) -> PutResult:
        before = self.snapshot.catalogue
        changed: dict[str, Item] = {}
        stored = 0
        for item in items:
            if changed.get(item.item_id, before.find(item.item_id)) != item:
                changed[item.item_id] = item
                stored += 1
        self._store.put_items(list(changed.values()))  # also when there are none: see LibraryStore
        self._show_items(list(changed.values()))
        return PutResult(stored, len(items) - stored)

    def _show_items(self, items: Sequence[Item]) -> None:
        """Of distinct ids; what is here already in the same form stays the same object."""
        before = self.snapshot.catalogue
        items = [item for item in items if before.find(item.item_id) != item]
        if not items:
            return
        new_texts = [item for item in items if (old := before.find(item.item_id)) and old.revision != item.revision]
        outdated = before.rows_of(item.item_id for item in new_texts)
        catalogue = before.with_items(items)
        weights = np.full(catalogue.rows, -np.inf)
        weights[: before.rows] = self.snapshot.popularity.log_weights
        item_ids = [item.item_id for item in items]
        weights[catalogue.rows_of(item_ids)] = self._sums.log_weights(item_ids)
        self._publish(catalogue, outdated, weights)

    def delete(self, item_ids: Sequence[str]) -> int:
        """Removes items; returns how many were there.

        Raises:
            ServiceError: STORE_UNAVAILABLE.
        """
        return self._change(self._delete, item_ids)

    def _delete(self, item_ids: Sequence[str]) -> int:
        catalogue = self.snapshot.catalogue
        there = [item_id for item_id in dict.fromkeys(item_ids) if catalogue.find(item_id) is not None]
        self._store.delete_items(there)  # also when there are none: see LibraryStore
        self._show_without(there)
        return len(there)

    def _show_without(self, item_ids: Sequence[str]) -> None:
        before = self.snapshot.catalogue
        there = [item_id for item_id in item_ids if before.find(item_id) is not None]
        if not there:
            return
        for item_id in there:
            self._refused.pop(item_id, None)
        self._publish(before.without(there), before.rows_of(there), self.snapshot.popularity.log_weights)

    def _publish(self, catalogue: Catalogue, outdated: Rows, log_weights: Floats) -> None:
        """Shows new items; the vectors of `outdated` rows are no longer theirs."""
        if self._successor is not None:
            self._successor = self._successor.without(outdated)
        index = self.snapshot.index.without(outdated)
        self.snapshot = Snapshot(catalogue, index, Popularity(log_weights, catalogue))
        self._let_succeed()

    def put_vectors(self, vectors: Sequence[StoredVector]) -> None:
        """Adds vectors of one embedding version, those of items that have changed or gone left out.

        A version that is new here may be of a model that takes what others refused: all refusals are forgotten.

        Raises:
            InvalidVectorError: when one is not a unit vector of the right dimension; nothing is added then.
            ServiceError: STORE_UNAVAILABLE.
        """
        if vectors:
            self._change(self._put_vectors, vectors)

    def _put_vectors(self, vectors: Sequence[StoredVector]) -> None:
        version = vectors[0].embedding_version
        unit_vectors([vector.values for vector in vectors], self._index_for(version).storage.vectors.shape[1])
        missing = self._missing(vectors)
        if missing:
            self._store.put_vectors(missing)
        self._show_vectors(version, missing)

    def _missing(self, vectors: Sequence[StoredVector]) -> list[StoredVector]:
        """Those of one embedding version that belong to the items here and that the index does not have yet."""
        catalogue = self.snapshot.catalogue
        index = self._index_for(vectors[0].embedding_version)
        current = [vector for vector in vectors if is_current(catalogue, vector)]
        return [vector for vector in current if index.slots(catalogue.rows_of([vector.item_id]))[0] < 0]

    def _show_vectors(self, version: str, missing: Sequence[StoredVector]) -> None:
        index = self._index_for(version)
        if index not in (self.snapshot.index, self._successor):
            self._refused.clear()
        index = index.with_vectors(entries(self.snapshot.catalogue, missing))
        serving = self.snapshot.index
        if index.embedding_version == serving.embedding_version or not len(serving):
            self._successor = None
            self.snapshot = replace(self.snapshot, index=index)
        else:
            self._successor = index
        self._let_succeed()

    def refuse(self, item: Item) -> None:
        """Notes that the model cannot embed this text: not offered again until text or model change, or a restart."""
        self._refused[item.item_id] = item.revision
        self._let_succeed()

    def adopt(self, build: Build) -> None:
        """Takes a finished graph into use, unless its index is gone."""
        serving = caught_up(build, self.snapshot.index)
        if serving is not None:
            self.snapshot = replace(self.snapshot, index=serving)
        elif self._successor is not None and (renewed := caught_up(build, self._successor)) is not None:
            self._successor = renewed
            self._let_succeed()

    def count(self, page: EventPage, after: Progress) -> Progress:
        """Counts events for good, together with the cursor behind them. Returns how far that is.

        `after`: the progress from which the page goes on.

        Raises:
            CountsMovedError: another replica has counted meanwhile; the page is not.
            ServiceError: STORE_UNAVAILABLE.
        """
        return self._change(self._count, page, after)

    def _count(self, page: EventPage, after: Progress) -> Progress:
        self._expect(after)
        tallies = self._sums.with_events(page.events)
        gone = self._sums.faded(self.snapshot.catalogue, tallies.keys())
        progress = replace(after, cursor=page.next_cursor, counted=after.counted + len(page.events))
        self._store.put_counts(tallies, progress, gone)
        self._show_counts(tallies, gone, progress)
        return progress

    def forget_counts(self, after: Progress) -> None:
        """Counting begins anew, from no sums and no cursor. `after` and errors as for `count`."""
        self._change(self._forget_counts, after)

    def _forget_counts(self, after: Progress) -> None:
        self._expect(after)
        self._sums = Sums(self._half_life_s, progress=self._store.forget_counts())
        self._show_popularity(np.full(self.snapshot.catalogue.rows, -np.inf))

    def _expect(self, progress: Progress) -> None:
        if self.progress != progress:
            raise CountsMovedError

    def _show_counts(self, tallies: Mapping[str, Tally], gone: Collection[str], progress: Progress) -> None:
        anew = progress.generation != self.progress.generation
        self._sums.change(tallies, gone, progress)
        if not tallies and not gone and not anew:
            return
        catalogue = self.snapshot.catalogue
        here = [item_id for item_id in (*tallies, *gone) if catalogue.row(item_id) != ABSENT]
        weights = np.full(catalogue.rows, -np.inf) if anew else self.snapshot.popularity.log_weights.copy()
        weights[catalogue.rows_of(here)] = self._sums.log_weights(here)
        self._show_popularity(weights)

    def _show_popularity(self, log_weights: Floats) -> None:
        popularity = Popularity(log_weights, self.snapshot.catalogue)
        _ = popularity.best_first  # sorted here, so that no reader has to
        self.snapshot = replace(self.snapshot, popularity=popularity)

    def _index_for(self, version: str) -> VectorIndex:
        """The index of an embedding version; an empty one for a new version."""
        for index in (self.snapshot.index, self._successor):
            if index is not None and index.embedding_version == version:
                return index
        return VectorIndex.empty(version)

    def _let_succeed(self) -> None:
        """The successor takes over once it has every item and a graph over them."""
        successor = self._successor
        if successor is None or self.pending(1) or successor.graph_is_stale:
            return
        self.snapshot = replace(self.snapshot, index=successor)
        self._successor = None
        log.info("new embedding version", extra={FIELDS: {"embedding_version": successor.embedding_version}})


def _without_vector(catalogue: Catalogue, index: VectorIndex) -> Rows:
    """Live rows that an index does not have."""
    live = np.flatnonzero(catalogue.columns.live)
    return live[index.slots(live) < 0]
