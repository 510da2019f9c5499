"""Vectors by what they depend on: least recently used out first, bounded in bytes.

An item is known by (embedding version, item, revision): a changed text has another revision, and the old one ages
out. A user context is known by its tokens themselves, so whoever's history reads the same shares its vector, and a
history that changed can never meet an old one. One event loop owns the cache, so it needs no lock.
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from shared.model.encoder import Vectors
from shared.model.tokens import TokenIds

_ENTRY_BYTES = 400
"""About what an entry costs besides vector and key texts: objects, links, headers."""


@dataclass(frozen=True, slots=True)
class ItemKey:
    """What an item's vector depends on."""

    embedding_version: str
    item_id: str
    revision: str

    def own_bytes(self) -> int:
        """Memory of what is this key's alone; the version is shared by all."""
        return len(self.item_id.encode()) + len(self.revision.encode())


@dataclass(frozen=True, slots=True)
class ContextKey:
    """What a user context's vector depends on; see `context_key`."""

    embedding_version: str
    token_ids: bytes

    def own_bytes(self) -> int:
        """Memory of what is this key's alone; the version is shared by all."""
        return len(self.token_ids)


VectorKey = ItemKey | ContextKey


def context_key(embedding_version: str, token_ids: TokenIds) -> ContextKey:
    """The key of a user context: the ids whole, four bytes each, so that no two contexts share a key."""
    return ContextKey(embedding_version, np.array(token_ids, dtype=np.int32).tobytes())


class VectorCache:
    """Vectors [width]; what is put in must not be a view of a larger array, which it would keep alive."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._vectors: OrderedDict[VectorKey, Vectors] = OrderedDict()

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def used_bytes(self) -> int:
        """Estimate of the memory held."""
        return self._bytes

    def get(self, key: VectorKey) -> Vectors | None:
        """The vector, which counts as used now; None when it is not there."""
        vector = self._vectors.get(key)
        if vector is not None:
            self._vectors.move_to_end(key)
        return vector

    def put(self, key: VectorKey, vector: Vectors) -> None:
        """Keeps a vector; what was used longest ago makes room, and what is larger than the cache is not kept."""
        replaced = self._vectors.pop(key, None)
        if replaced is not None:
            self._bytes -= _size(key, replaced)
        size = _size(key, vector)
        if size > self._most_bytes:
            return
        self._vectors[key] = vector
        self._bytes += size
        while self._bytes > self._most_bytes:
            self._bytes -= _size(*self._vectors.popitem(last=False))


def _size(key: VectorKey, vector: Vectors) -> int:
    return _ENTRY_BYTES + int(vector.nbytes) + key.own_bytes()
