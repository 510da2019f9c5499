"""All items in memory, each at a row, with what filters and sources read of them as one numpy column per property.

A catalogue never changes: `with_items` and `without` give a new one that shares the item objects, so whoever holds
one reads it without locks. Only the look-up from id to row is shared with later catalogues while items are added,
and grows in place; a reader therefore checks that its own catalogue has the item there. Removing makes a new look-up,
and frees rows for later items.

An item costs about 1 KB here with a summary of 300 characters: the object, its texts, its entry in the look-up and
its columns. Its vector (index.py) and its ready-made message (translation.py) come on top.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from services.retrieval.items import Item, Moderation

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

ABSENT = -1
_MAY_BE_SHOWN = frozenset({Moderation.UNSPECIFIED, Moderation.APPROVED})


class Vocabulary:
    """Numbers for the values of a text column, counted from 0 in the order they came; only ever grows."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def code(self, word: str) -> int:
        """The number of a value; a new one for a new value."""
        return self._codes.setdefault(word, len(self._codes))

    def words(self) -> list[str]:
        """All values so far; the position is the number."""
        return list(self._codes)


@dataclass(frozen=True, slots=True)
class Columns:
    """One entry per row. Rows without an item are not live; the rest of their entries means nothing."""

    live: Mask
    published: Floats
    """Unix seconds; NaN = not known."""
    expires: Floats
    """Unix seconds; infinity = never."""
    not_approved: Mask
    unavailable: Mask
    category: npt.NDArray[np.int32]
    language: npt.NDArray[np.int32]
    domain: npt.NDArray[np.int32]
    tie: npt.NDArray[np.uint64]
    """A hash of the id: orders equals the same way on every replica and favours no alphabet."""

    def copied(self, size: int) -> "Columns":
        """A copy with room for `size` rows."""
        return Columns(*(_resized(getattr(self, column.name), size) for column in fields(self)))


@dataclass(frozen=True, slots=True)
class Vocabularies:
    """Numbers of categories, languages (lower case) and domains."""

    category: Vocabulary
    language: Vocabulary
    domain: Vocabulary


@dataclass(frozen=True)
class Catalogue:
    """See the module. Not slotted, because the orders it can be asked for are kept."""

    items: list[Item | None]
    """By row; never changed after the catalogue was made."""
    columns: Columns
    vocabularies: Vocabularies
    _row_of_id: dict[str, int]
    _free_rows: tuple[int, ...] = ()

    @classmethod
    def empty(cls) -> "Catalogue":
        """A catalogue without items."""
        columns = Columns(
            live=np.zeros(0, np.bool_),
            published=np.zeros(0, np.float64),
            expires=np.zeros(0, np.float64),
            not_approved=np.zeros(0, np.bool_),
            unavailable=np.zeros(0, np.bool_),
            category=np.zeros(0, np.int32),
            language=np.zeros(0, np.int32),
            domain=np.zeros(0, np.int32),
            tie=np.zeros(0, np.uint64),
        )
        return cls([], columns, Vocabularies(Vocabulary(), Vocabulary(), Vocabulary()), {})

    def __len__(self) -> int:
        """How many items there are."""
        return len(self.items) - len(self._free_rows)

    @property
    def rows(self) -> int:
        """How many rows there are, those without an item included."""
        return len(self.items)

    def row(self, item_id: str) -> int:
        """The row of an item, or ABSENT."""
        row = self._row_of_id.get(item_id, ABSENT)
        if row == ABSENT or row >= len(self.items):
            return ABSENT
        item = self.items[row]
        return row if item is not None and item.item_id == item_id else ABSENT

    def rows_of(self, item_ids: Iterable[str]) -> Rows:
        """The rows of those items that are there."""
        found = (self.row(item_id) for item_id in item_ids)
        return np.fromiter((row for row in found if row != ABSENT), np.int64)

    def find(self, item_id: str) -> Item | None:
        """An item by its id."""
        row = self.row(item_id)
        return None if row == ABSENT else self.items[row]

    def at(self, row: int) -> Item:
        """The item at a live row."""
        item = self.items[row]
        if item is None:
            raise KeyError(row)
        return item

    def with_items(self, items: Sequence[Item]) -> "Catalogue":
        """A catalogue in which `items` (distinct ids) are added or replaced."""
        free = list(self._free_rows)
        listed = list(self.items)
        rows = []
        for item in items:
            row = self.row(item.item_id)
            if row == ABSENT:
                row = free.pop() if free else len(listed)
                self._row_of_id[item.item_id] = row
            if row == len(listed):
                listed.append(item)
            listed[row] = item
            rows.append(row)
        columns = self.columns.copied(len(listed))
        for row, item in zip(rows, items, strict=True):
            self._fill(columns, row, item)
        return replace(self, items=listed, columns=columns, _free_rows=tuple(free))

    def without(self, item_ids: Iterable[str]) -> "Catalogue":
        """A catalogue in which these items (distinct ids, all there) are missing."""
        listed = list(self.items)
        row_of_id = dict(self._row_of_id)
        columns = self.columns.copied(len(listed))
        rows = [row_of_id.pop(item_id) for item_id in item_ids]
        for row in rows:
            listed[row] = None
            columns.live[row] = False
        free = (*self._free_rows, *rows)
        return replace(self, items=listed, columns=columns, _row_of_id=row_of_id, _free_rows=free)

    def _fill(self, columns: Columns, row: int, item: Item) -> None:
        columns.live[row] = True
        columns.published[row] = np.nan if item.published_at is None else item.published_at
        columns.expires[row] = np.inf if item.expires_at is None else item.expires_at
        columns.not_approved[row] = item.moderation not in _MAY_BE_SHOWN
        columns.unavailable[row] = item.unavailable
        columns.category[row] = self.vocabularies.category.code(item.category)
        columns.language[row] = self.vocabularies.language.code(item.language.lower())
        columns.domain[row] = self.vocabularies.domain.code(item.domain)
        digest = hashlib.blake2b(item.item_id.encode(), digest_size=8).digest()
        columns.tie[row] = int.from_bytes(digest, "big")

    @cached_property
    def newest_first(self) -> Rows:
        """Live rows with a date, newest first."""
        dated = np.flatnonzero(self.columns.live & ~np.isnan(self.columns.published))
        return dated[np.lexsort((self.columns.tie[dated], -self.columns.published[dated]))]


def _resized(column: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    resized = np.zeros(size, column.dtype)
    resized[: len(column)] = column
    return resized
