"""Item vectors by (embedding version, item, revision): least recently used out first, bounded in bytes.

One event loop owns it, so it needs no lock. A changed text has another revision, and the old one ages out.
"""

from collections import OrderedDict
from dataclasses import dataclass

from shared.model.encoder import Vectors

_ENTRY_BYTES = 400
"""About what an entry costs besides vector and key texts: objects, links, headers."""


@dataclass(frozen=True, slots=True)
class VectorKey:
    """What an item's vector depends on."""

    embedding_version: str
    item_id: str
    revision: str


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
        self._vectors[key] = vector
        self._bytes += _size(key, vector)
        while self._bytes > self._most_bytes:
            self._bytes -= _size(*self._vectors.popitem(last=False))


def _size(key: VectorKey, vector: Vectors) -> int:
    return _ENTRY_BYTES + int(vector.nbytes) + len(key.item_id) + len(key.revision)
