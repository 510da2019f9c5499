"""Everything one Retrieve reads, as one value: what it sees cannot change under it, and the parts fit together."""

from dataclasses import dataclass

from services.retrieval.catalogue import Catalogue
from services.retrieval.index import VectorIndex
from services.retrieval.popularity import Popularity


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Items, vectors and popularity as they were together at one moment."""

    catalogue: Catalogue
    index: VectorIndex
    popularity: Popularity
