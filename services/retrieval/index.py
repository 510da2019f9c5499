"""The vector index: finds the rows whose vectors are nearest to given ones, by cosine.

Built like a log-structured merge tree, so that hnswlib is only ever read after it was published: an immutable HNSW
graph (Malkov and Yashunin, 2018) over the older vectors, and the vectors since then, which are searched exactly.
An index never changes; adding or removing gives a new one that shares the storage. A removed vector stays in the
graph and is masked out of its answers. `graph_builder.py` makes a new graph when the exact part or the mask has grown
too large. Vectors are kept twice, in the graph and in a matrix for exact search: 3.3 KB per item at 384 dimensions.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import hnswlib
import numpy as np
import numpy.typing as npt

from services.retrieval.catalogue import Floats, Mask, Rows
from services.retrieval.store import Vector

Matrix = npt.NDArray[np.float32]
Prints = npt.NDArray[np.uint64]

EXACT_UP_TO = 1_000
"""So many vectors are searched exactly before a graph is worth while."""
EXACT_SHARE = 0.1
MASKED_SHARE = 0.25
_NORM_TOLERANCE = 0.01


class InvalidVectorError(ValueError):
    """A vector is not a finite unit vector of the index's dimension."""


@dataclass(frozen=True, slots=True, eq=False)
class IndexEntry:
    """A vector to be added: its row in the catalogue, a fingerprint of what it stands for, and its values."""

    row: int
    fingerprint: int
    values: Vector


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """What a search found, one line per query, best first, padded with row -1 and cosine minus infinity."""

    rows: Rows
    """int64 [queries, k]"""
    cosines: Floats
    """float64 [queries, k]"""
    looked_at: Rows
    """Rows that were found before the filters, each once."""


class Storage:
    """Growing arrays behind the indexes of one lineage. What an index has once seen of them never changes."""

    def __init__(self, dimensions: int, capacity: int) -> None:
        self.vectors: Matrix = np.empty((capacity, dimensions), np.float32)
        self.rows: Rows = np.empty(capacity, np.int64)
        self.prints: Prints = np.empty(capacity, np.uint64)
        self.used = 0

    def extended(self, size: int, vectors: Matrix, rows: Rows, prints: Prints) -> "Storage":
        """Storage whose first `size` slots are as here and whose next ones are given: this one where it has room."""
        if not len(rows):
            return self  # which may not even know its dimensions yet
        new_size = size + len(rows)
        storage = self
        if self.used != size or new_size > len(self.rows):
            storage = Storage(vectors.shape[1], max(2 * size, new_size, 64))
            if size:
                storage._write(0, self.vectors[:size], self.rows[:size], self.prints[:size])
        storage._write(size, vectors, rows, prints)
        return storage

    def _write(self, start: int, vectors: Matrix, rows: Rows, prints: Prints) -> None:
        self.used = start + len(rows)
        self.vectors[start : self.used] = vectors
        self.rows[start : self.used] = rows
        self.prints[start : self.used] = prints


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """An HNSW graph over the first `size` slots, complete and never written to again."""

    index: hnswlib.Index
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class VectorIndex:
    """See the module. A slot is a vector's place in the storage; a row is its item's place in the catalogue."""

    embedding_version: str
    storage: Storage
    alive: Mask
    """By slot: the vector counts."""
    slot_of_row: Rows
    """By row, -1 = no vector; may be shorter than the catalogue."""
    fingerprint: int = 0
    graph: Graph | None = None
    lineage: object = field(default_factory=object)
    """The same for all indexes that grew out of one another."""

    @classmethod
    def empty(cls, embedding_version: str = "", dimensions: int = 0) -> "VectorIndex":
        """An index without vectors; dimensions 0 = those of the first vector."""
        return cls(embedding_version, Storage(dimensions, 0), np.zeros(0, np.bool_), np.zeros(0, np.int64))

    def __len__(self) -> int:
        """How many vectors can be found."""
        return int(np.count_nonzero(self.alive))

    @property
    def version(self) -> str:
        """Says what can be found: the same on every replica that holds the same vectors, another after any change."""
        return f"{self.embedding_version}/{self.fingerprint:016x}"

    @property
    def size(self) -> int:
        """How many slots there are, masked ones included."""
        return len(self.alive)

    @property
    def graph_is_stale(self) -> bool:
        """Whether a new graph should be built: see EXACT_UP_TO, EXACT_SHARE and MASKED_SHARE."""
        in_graph = self.graph.size if self.graph else 0
        exact = int(np.count_nonzero(self.alive[in_graph:]))
        masked = in_graph - int(np.count_nonzero(self.alive[:in_graph]))
        # Masked slots of the exact part go on the same occasion; they must not pile up without bound either.
        crowded = self.size - in_graph > 2 * max(EXACT_UP_TO, EXACT_SHARE * in_graph)
        return crowded or exact > max(EXACT_UP_TO, EXACT_SHARE * in_graph) or masked > MASKED_SHARE * in_graph

    def slots(self, rows: Rows) -> Rows:
        """The slots of rows, -1 where there is no vector."""
        slots = np.full(len(rows), -1, np.int64)
        known = rows < len(self.slot_of_row)
        slots[known] = self.slot_of_row[rows[known]]
        return slots

    def vectors_of(self, rows: Rows) -> Matrix:
        """The vectors of rows that have one: float32 [rows, dimensions]."""
        return self.storage.vectors[self.slots(rows)]

    def with_vectors(self, entries: Sequence[IndexEntry]) -> "VectorIndex":
        """An index with these vectors (distinct rows) added or replaced.

        Raises:
            InvalidVectorError: when one is not a finite unit vector of the right dimension; nothing is added then.
        """
        if not entries:
            return self
        vectors = unit_vectors([entry.values for entry in entries], self.storage.vectors.shape[1])
        rows = np.array([entry.row for entry in entries], np.int64)
        prints = np.array([entry.fingerprint for entry in entries], np.uint64)
        base = self.without(rows)
        storage = base.storage.extended(base.size, vectors, rows, prints)
        slot_of_row = np.full(max(len(base.slot_of_row), int(rows.max()) + 1), -1, np.int64)
        slot_of_row[: len(base.slot_of_row)] = base.slot_of_row
        slot_of_row[rows] = np.arange(base.size, base.size + len(rows))
        return replace(
            base,
            storage=storage,
            alive=np.concatenate((base.alive, np.ones(len(rows), np.bool_))),
            slot_of_row=slot_of_row,
            fingerprint=base.fingerprint ^ int(np.bitwise_xor.reduce(prints)),
        )

    def without(self, rows: Rows) -> "VectorIndex":
        """An index in which these rows have no vector."""
        slots = self.slots(rows)
        gone, slots = rows[slots >= 0], slots[slots >= 0]
        if not len(slots):
            return self
        alive, slot_of_row = self.alive.copy(), self.slot_of_row.copy()
        alive[slots] = False
        slot_of_row[gone] = -1
        fingerprint = self.fingerprint ^ int(np.bitwise_xor.reduce(self.storage.prints[slots]))
        return replace(self, alive=alive, slot_of_row=slot_of_row, fingerprint=fingerprint)

    def search(self, queries: Matrix, k: int, allowed: Mask) -> Hits:
        """The `k` allowed rows nearest to each query. `queries`: float32 [queries, dimensions]; `allowed`: bool by row.

        Looks at twice as many as asked for; where filters and removals leave fewer than `k` of these, all allowed
        vectors are compared, so they neither starve a search nor let far vectors pass for near ones.
        """
        if not self.size:
            none = np.zeros((len(queries), 0), np.int64)
            return Hits(none, none.astype(np.float64), none.ravel())
        rows = self.storage.rows[: self.size]
        permitted = self.alive & allowed[rows]
        slots, cosines, horizon = self._nearest(queries, min(2 * k, self.size))
        seen = np.unique(slots[cosines > -np.inf])
        cosines = np.where(permitted[slots], cosines, -np.inf)
        wanted = min(k, int(np.count_nonzero(permitted)))
        certain = (cosines > -np.inf) & (cosines >= horizon)
        if (np.count_nonzero(certain, axis=1) < wanted).any():
            slots, cosines = self._exactly(queries, np.flatnonzero(permitted), k)
            seen = np.union1d(seen, slots)
        slots, cosines = _best(slots, cosines, k)
        return Hits(np.where(cosines > -np.inf, rows[slots], -1), cosines, rows[seen])

    def _nearest(self, queries: Matrix, k: int) -> tuple[Rows, Floats, Floats]:
        """The `k` nearest slots, masked ones with cosine minus infinity, and each query's horizon.

        The horizon [queries, 1] is the cosine of the farthest vector the graph came up with, masked ones included: what
        is farther away may have neighbours in the graph that are nearer, so it is not known to be among the best.
        """
        horizon = np.full((len(queries), 1), -np.inf)
        in_graph = self.graph.size if self.graph else 0
        late = np.arange(in_graph, self.size)
        slots, cosines = self._exactly(queries, late, k, self.storage.vectors[in_graph : self.size])
        if self.graph is not None:
            old_slots, old_cosines, horizon = self._in_graph(self.graph, queries, min(k, in_graph))
            slots = np.concatenate((old_slots, slots), axis=1)
            cosines = np.concatenate((old_cosines, cosines), axis=1)
        return (*_best(slots, cosines, k), horizon)

    def _in_graph(self, graph: Graph, queries: Matrix, k: int) -> tuple[Rows, Floats, Floats]:
        """See `_nearest`."""
        # A search for a large part of the graph is slower than comparing all, and may not reach that many.
        if 2 * k <= graph.size:
            try:
                labels, distances = graph.index.knn_query(queries, k=k, num_threads=1)
            except RuntimeError as error:
                if "contiguous 2D array" not in str(error):
                    raise
            else:
                slots, cosines = labels.astype(np.int64), 1.0 - distances.astype(np.float64)
                return slots, np.where(self.alive[slots], cosines, -np.inf), cosines.min(axis=1, keepdims=True)
        exact = self._exactly(queries, np.arange(graph.size), k, self.storage.vectors[: graph.size])
        return (*exact, np.full((len(queries), 1), -np.inf))

    def _exactly(self, queries: Matrix, slots: Rows, k: int, vectors: Matrix | None = None) -> tuple[Rows, Floats]:
        """The `k` best of the given slots by comparing all; `vectors`: theirs, where that needs no copying."""
        cosines = queries @ (self.storage.vectors[slots] if vectors is None else vectors).T
        cosines[:, ~self.alive[slots]] = -np.inf
        if len(slots) <= k:
            return np.broadcast_to(slots, cosines.shape), cosines.astype(np.float64)
        kept = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        return slots[kept], np.take_along_axis(cosines, kept, axis=1).astype(np.float64)


def _best(slots: Rows, cosines: Floats, k: int) -> tuple[Rows, Floats]:
    """The `k` best of each line, best first."""
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(slots, order, axis=1), np.take_along_axis(cosines, order, axis=1)


def unit_vectors(vectors: Iterable[Vector], dimensions: int = 0) -> Matrix:
    """The vectors as float32 [vectors, dimensions], brought to exact unit length. `dimensions` 0 = any, but all alike.

    Raises:
        InvalidVectorError: for values that are not finite, other dimensions, or a length off 1 by over 1 %.
    """
    listed = list(vectors)
    wanted = dimensions or (listed[0].size if listed else 0)
    if not wanted or any(vector.shape != (wanted,) for vector in listed):
        raise InvalidVectorError(f"a vector does not have {wanted} dimensions")
    matrix = np.stack(listed).astype(np.float32, copy=False)
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    if not (np.isfinite(norms) & (np.abs(norms - 1.0) <= _NORM_TOLERANCE)).all():
        raise InvalidVectorError("a vector is not a finite unit vector")
    unit: Matrix = matrix / norms
    return unit


def fingerprint(item_id: str, revision: str) -> int:
    """64 bits that stand for an item's text in an index's version."""
    digest = hashlib.blake2b(digest_size=8)
    for part in (item_id.encode(), revision.encode()):
        digest.update(len(part).to_bytes(8, "big") + part)
    return int.from_bytes(digest.digest(), "big")
