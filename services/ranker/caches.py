"""What is known from earlier calls: token ids, item states, user contexts; least recently used out first.

Every key holds all that its value depends on, so nothing is ever out of date. Tokens are known by the text itself. An
item's state is known by what computed it, the item and its revision: a changed text has another revision, and the old
one ages out. A user context is known by its tokens: whoever's history reads the same shares it, no user is named, and
a history that changed can never meet an old one. One event loop owns the caches, so they need no lock.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from sys import getsizeof
from typing import Generic, TypeVar

import numpy as np

from shared.clock import Clock
from shared.model.ranking_model import ItemState, UserContext
from shared.model.tokens import TokenIds

Key = TypeVar("Key")
Value = TypeVar("Value")

_ENTRY_BYTES = 400
"""About what an entry costs besides its content: objects, links, headers."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bytes in all, and seconds that an entry stays without being used; 0 s = as long as there is room."""

    most_bytes: int
    idle_s: float = 0.0


class BoundedLru(Generic[Key, Value]):
    """A mapping bounded in bytes and in idle time."""

    def __init__(self, bounds: Bounds, size: Callable[[Key, Value], int], clock: Clock) -> None:
        """`size`: bytes of a key and its value. What is put in must own its memory: a view would keep its base."""
        self._bounds = bounds
        self._size = size
        self._clock = clock
        self._bytes = 0
        self._entries: OrderedDict[Key, tuple[Value, float]] = OrderedDict()
        """Value and when it was used last; the order is that of the times."""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Key) -> bool:
        """Whether it is there; this is no use of it."""
        return key in self._entries

    @property
    def used_bytes(self) -> int:
        """Estimate of the memory held."""
        return self._bytes

    @property
    def most_bytes(self) -> int:
        """The bound."""
        return self._bounds.most_bytes

    def get(self, key: Key) -> Value | None:
        """The value, which counts as used now; None when it is not there."""
        self.forget_idle()
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries[key] = (entry[0], self._clock.monotonic())
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: Key, value: Value) -> None:
        """Keeps a value; what was used longest ago makes room, and what is larger than the cache is not kept."""
        self.forget_idle()
        replaced = self._entries.pop(key, None)
        if replaced is not None:
            self._bytes -= self.cost(key, replaced[0])
        cost = self.cost(key, value)
        if cost > self._bounds.most_bytes:
            return
        self._entries[key] = (value, self._clock.monotonic())
        self._bytes += cost
        while self._bytes > self._bounds.most_bytes:
            self._drop_oldest()

    def newest_first(self) -> Iterator[tuple[Key, Value]]:
        """Keys and values, last used first; the cache must not change meanwhile."""
        for key, (value, _) in reversed(self._entries.items()):
            yield key, value

    def cost(self, key: Key, value: Value) -> int:
        """Bytes that an entry takes."""
        return _ENTRY_BYTES + self._size(key, value)

    def forget_idle(self) -> None:
        """Drops what was not used for the idle time. Every use of the cache does so; call it where uses may cease."""
        if not self._bounds.idle_s:
            return
        limit = self._clock.monotonic() - self._bounds.idle_s
        while self._entries and next(iter(self._entries.values()))[1] < limit:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        key, (value, _) = self._entries.popitem(last=False)
        self._bytes -= self.cost(key, value)


@dataclass(frozen=True, slots=True)
class ItemKey:
    """What an item's state depends on; `computed_by` is RankingModel.item_key."""

    computed_by: str
    item_id: str
    revision: str


@dataclass(frozen=True, slots=True)
class KnownItem:
    """An item's state, and the text it was made from, from which another model can make its own."""

    state: ItemState
    text: str


@dataclass(frozen=True, slots=True)
class ContextKey:
    """What a user context depends on: the model's name and version, and the tokens whole, four bytes each."""

    model: str
    token_ids: bytes


def context_key(model: str, token_ids: TokenIds) -> ContextKey:
    """The key of a user context; `model` tells name and version."""
    return ContextKey(model, packed_ids(token_ids))


def packed_ids(token_ids: TokenIds) -> bytes:
    """Token ids in a tenth of the memory of a tuple."""
    return np.array(token_ids, dtype=np.int32).tobytes()


def unpacked_ids(packed: bytes) -> TokenIds:
    """The token ids again."""
    return tuple(np.frombuffer(packed, dtype=np.int32).tolist())


@dataclass(frozen=True, slots=True)
class CacheBounds:
    """Of each cache."""

    tokens: Bounds
    items: Bounds
    contexts: Bounds


class Caches:
    """The caches of one ranker, shared by all its models."""

    def __init__(self, bounds: CacheBounds, clock: Clock) -> None:
        self.tokens: BoundedLru[str, bytes] = BoundedLru(
            bounds.tokens, lambda text, ids: getsizeof(text) + len(ids), clock
        )
        self.items: BoundedLru[ItemKey, KnownItem] = BoundedLru(bounds.items, _item_bytes, clock)
        self.contexts: BoundedLru[ContextKey, UserContext] = BoundedLru(bounds.contexts, _context_bytes, clock)

    def forget_idle(self) -> None:
        """Drops what was not used for its idle time, so that memory is free again when calls cease.

        To be called every second or so, on the event loop that owns the caches: seldom calls would drop much at once.
        """
        for cache in (self.tokens, self.items, self.contexts):
            cache.forget_idle()


def _item_bytes(key: ItemKey, known: KnownItem) -> int:
    return sum(map(getsizeof, (key.item_id, key.revision, known.text))) + known.state.nbytes


def _context_bytes(key: ContextKey, context: UserContext) -> int:
    return len(key.token_ids) + context.nbytes
