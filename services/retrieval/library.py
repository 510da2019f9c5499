"""The library: what is on disk, and the snapshot of it in memory that every read uses.

Whatever changes it is written first and becomes visible after, as a new snapshot put in place of the old one by one
assignment. Changes must run one after the other in one thread; reads of `snapshot` need no lock. Where replicas share a
store, each change first takes over what the others have changed, and `follow` does just that.

When the embedding model changes, the index in use goes on serving while its successor fills; the successor takes over
when it has every item and its graph, because vectors of different models must not be compared.
"""

import logging
import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from services.retrieval.catalogue import ABSENT, Catalogue, Floats, Rows
from services.retrieval.graph_builder import Build, caught_up
from services.retrieval.index import IndexEntry, VectorIndex, fingerprint, unit_vectors
from services.retrieval.items import Item
from services.retrieval.popularity import EventPage, Popularity, counted, faded, log_weight
from services.retrieval.snapshot import Snapshot
from services.retrieval.store import LibraryStore, Progress, StoredVector, Tally
from shared.logs import FIELDS

log = logging.getLogger(__name__)

_LEAST_TALLIES = 10_000
"""Up to so many sums are kept before any are looked through for what has faded."""


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
        self._tallies: dict[str, Tally] = {}
        self._look_through_at = _LEAST_TALLIES
        self.progress = Progress()
        """How far the event log has been counted; replaced as a whole."""
        self._successor: VectorIndex | None = None
        self._refused: dict[str, str] = {}
        catalogue = Catalogue.empty()
        self.snapshot = Snapshot(catalogue, VectorIndex.empty(), Popularity(np.zeros(0), catalogue))

    # Reads: from any thread.

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
        self.progress = self._store.progress()
        self._tallies = dict(self._store.tallies())
        catalogue = Catalogue.empty().with_items(list(self._store.items()))
        vectors = [vector for vector in self._store.vectors() if _is_current(catalogue, vector)]
        # A change of model may have been cut short: the version with most vectors serves, the other is made up for.
        versions = Counter(vector.embedding_version for vector in vectors).most_common(2)
        indexes = []
        for version, _ in versions:
            own = [vector for vector in vectors if vector.embedding_version == version]
            indexes.append(VectorIndex.empty(version).with_vectors(_entries(catalogue, own)))
        weights = [log_weight(self._tallies.get(item.item_id), self._half_life_s) for item in catalogue.items if item]
        popularity = Popularity(np.array(weights, np.float64), catalogue)
        self._successor = indexes[1] if len(indexes) > 1 else None
        self.snapshot = Snapshot(catalogue, indexes[0] if indexes else VectorIndex.empty(), popularity)

    def close(self) -> None:
        """Closes the store."""
        self._store.close()

    def follow(self) -> None:
        """Takes over all that others have changed at a shared store.

        Raises:
            ServiceError: STORE_UNAVAILABLE.
        """
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
        self.follow()
        before = self.snapshot.catalogue
        changed: dict[str, Item] = {}
        stored = 0
        for item in items:
            if changed.get(item.item_id, before.find(item.item_id)) != item:
                changed[item.item_id] = item
                stored += 1
        if changed:
            self._store.put_items(list(changed.values()))
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
        for item in items:
            tally = self._tallies.get(item.item_id)
            weights[catalogue.row(item.item_id)] = log_weight(tally, self._half_life_s)
        self._publish(catalogue, outdated, weights)

    def delete(self, item_ids: Sequence[str]) -> int:
        """Removes items; returns how many were there.

        Raises:
            ServiceError: STORE_UNAVAILABLE.
        """
        self.follow()
        catalogue = self.snapshot.catalogue
        there = [item_id for item_id in dict.fromkeys(item_ids) if catalogue.find(item_id) is not None]
        if there:
            self._store.delete_items(there)
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
        if not vectors:
            return
        self.follow()
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
        current = [vector for vector in vectors if _is_current(catalogue, vector)]
        return [vector for vector in current if index.slots(catalogue.rows_of([vector.item_id]))[0] < 0]

    def _show_vectors(self, version: str, missing: Sequence[StoredVector]) -> None:
        index = self._index_for(version)
        if index not in (self.snapshot.index, self._successor):
            self._refused.clear()
        index = index.with_vectors(_entries(self.snapshot.catalogue, missing))
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
        self.follow()
        tallies: dict[str, Tally] = {}
        for event in page.events:
            before = tallies.get(event.item_id) or self._tallies.get(event.item_id)
            tallies[event.item_id] = counted(before, event, self._half_life_s)
        gone = self._faded(tallies.keys())
        progress = replace(after, cursor=page.next_cursor, counted=after.counted + len(page.events))
        self._store.put_counts(tallies, progress, after, gone)
        self._show_counts(tallies, gone, progress)
        return progress

    def forget_counts(self, after: Progress) -> None:
        """Counting begins anew, from no sums and no cursor. `after` and errors as for `count`."""
        self.follow()
        self._begin_counts_anew(self._store.forget_counts(after))

    def _show_counts(self, tallies: Mapping[str, Tally], gone: Collection[str], progress: Progress) -> None:
        if progress.generation != self.progress.generation:
            self._begin_counts_anew(progress)
        self.progress = progress
        if not tallies and not gone:
            return
        self._tallies.update(tallies)
        for item_id in gone:
            self._tallies.pop(item_id, None)
        catalogue = self.snapshot.catalogue
        weights = self.snapshot.popularity.log_weights.copy()
        for item_id in (*tallies, *gone):
            if (row := catalogue.row(item_id)) != ABSENT:
                weights[row] = log_weight(self._tallies.get(item_id), self._half_life_s)
        self._show_popularity(weights)

    def _begin_counts_anew(self, progress: Progress) -> None:
        self.progress = progress
        self._tallies.clear()
        self._show_popularity(np.full(self.snapshot.catalogue.rows, -np.inf))

    def _faded(self, kept: Collection[str]) -> list[str]:
        """Sums of items that are not here and have decayed to nothing; looked for whenever the sums have doubled."""
        if len(self._tallies) < self._look_through_at:
            return []
        catalogue = self.snapshot.catalogue
        candidates = faded(self._tallies, self._half_life_s)
        gone = [item_id for item_id in candidates if item_id not in kept and catalogue.find(item_id) is None]
        self._look_through_at = max(_LEAST_TALLIES, 2 * (len(self._tallies) - len(gone)))
        return gone

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


def _is_current(catalogue: Catalogue, vector: StoredVector) -> bool:
    """Whether a vector belongs to the present text of an item that is there."""
    item = catalogue.find(vector.item_id)
    return item is not None and item.revision == vector.revision


def _entries(catalogue: Catalogue, vectors: Sequence[StoredVector]) -> list[IndexEntry]:
    return [
        IndexEntry(catalogue.row(vector.item_id), fingerprint(vector.item_id, vector.revision), vector.values)
        for vector in vectors
    ]
