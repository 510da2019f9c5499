"""A whole library from its store, as it is kept in memory."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from services.retrieval.catalogue import Catalogue
from services.retrieval.index import IndexEntry, VectorIndex, fingerprint
from services.retrieval.popularity import Popularity
from services.retrieval.snapshot import Snapshot
from services.retrieval.store import LibraryStore, StoredVector
from services.retrieval.sums import Sums


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a library consists of; `successor`: the index of a model that does not serve yet."""

    snapshot: Snapshot
    successor: VectorIndex | None
    sums: Sums


def load(store: LibraryStore, half_life_s: float) -> Loaded:
    """Reads everything. What others change meanwhile may be there or not: follow them after.

    Raises:
        ServiceError: STORE_UNAVAILABLE.
        StoreReplacedError: what was read may be of different libraries.
    """
    progress = store.progress()
    sums = Sums(half_life_s, store.tallies(), progress)
    catalogue = Catalogue.empty().with_items(list(store.items()))
    vectors = [vector for vector in store.vectors() if is_current(catalogue, vector)]
    store.progress()  # says whether that was one library
    # A change of model may have been cut short: the version with most vectors serves, the other is made up for.
    versions = Counter(vector.embedding_version for vector in vectors).most_common(2)
    indexes = []
    for version, _ in versions:
        own = [vector for vector in vectors if vector.embedding_version == version]
        indexes.append(VectorIndex.empty(version).with_vectors(entries(catalogue, own)))
    index = indexes[0] if indexes else VectorIndex.empty()
    weights = sums.log_weights([item.item_id for item in catalogue.items if item])
    successor = indexes[1] if len(indexes) > 1 else None
    return Loaded(Snapshot(catalogue, index, Popularity(weights, catalogue)), successor, sums)


def is_current(catalogue: Catalogue, vector: StoredVector) -> bool:
    """Whether a vector belongs to the present text of an item that is there."""
    item = catalogue.find(vector.item_id)
    return item is not None and item.revision == vector.revision


def entries(catalogue: Catalogue, vectors: Sequence[StoredVector]) -> list[IndexEntry]:
    """Vectors of items that are there, as an index takes them."""
    return [
        IndexEntry(catalogue.row(vector.item_id), fingerprint(vector.item_id, vector.revision), vector.values)
        for vector in vectors
    ]
