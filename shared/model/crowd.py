"""What everybody did, as tables that are shipped with a version: how popular an item is, and which are liked together.

A text says nothing of either. Both are numbers that keep their scale when they are counted again over a longer time,
so weights fitted on an earlier count go on to hold. Items that are not in the tables, such as new ones, score 0 like
items that nobody acted on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

Rows = NDArray[np.int64]

ABSENT = -1
LIKING = frozenset({"", "click", "like", "purchase", "comment", "share", "dwell"})
"""Newest acts on an item of a history that speak for it. A dwell is what mostly follows a click; an act that a caller
does not name is taken for one."""
ACTS_OF_A_SHARE = 100_000
_TYPES: Mapping[str, type[np.generic]] = {
    "ids": np.uint8,
    "id_ends": np.int64,
    "popularity": np.float32,
    "bounds": np.int64,
    "neighbours": np.int32,
    "likeness": np.float32,
}


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """The tables; an item is a row of all of them."""

    item_ids: tuple[str, ...]
    popularity: NDArray[np.float32]
    """[items]: log(1 + the item's acts among 100,000 positive ones); see `log_shares`."""
    bounds: Rows
    """[items + 1]: where the neighbours of each item begin, and of the last one end."""
    neighbours: NDArray[np.int32]
    """[entries]: rows of items."""
    likeness: NDArray[np.float32]
    """[entries]: how much liking the row's item speaks for this one."""
    _rows: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_rows", {item_id: row for row, item_id in enumerate(self.item_ids)})

    def rows(self, item_ids: Sequence[str]) -> Rows:
        """int64, one for each id; ABSENT for items that are not in the tables."""
        row = self._rows.get
        return np.array([row(item_id, ABSENT) for item_id in item_ids], np.int64)

    def popularity_of(self, rows: Rows) -> NDArray[np.float64]:
        """Of each row; 0 for ABSENT."""
        return _taken(self.popularity, rows)

    def likeness_to(self, liked: Rows, rows: Rows) -> NDArray[np.float64]:
        """For each of `rows` how much the liked items, each once, speak for it in sum (item-kNN); 0 for ABSENT."""
        liked = liked[liked != ABSENT]
        parts = [slice(self.bounds[row], self.bounds[row + 1]) for row in liked]
        if not parts:
            return np.zeros(len(rows))
        neighbours = np.concatenate([self.neighbours[part] for part in parts])
        likeness = np.concatenate([self.likeness[part] for part in parts])
        sums = np.bincount(neighbours, weights=likeness, minlength=len(self.item_ids))
        return _taken(np.asarray(sums, np.float64), rows)

    def check(self) -> None:
        """Whether the tables fit together.

        Raises:
            ValueError: saying what does not.
        """
        count = len(self.item_ids)
        if len(self._rows) != count or len(self.popularity) != count or len(self.bounds) != count + 1:
            raise ValueError("its items must have different ids, and each a popularity and bounds")
        if self.bounds[0] != 0 or self.bounds[-1] != len(self.neighbours) or (np.diff(self.bounds) < 0).any():
            raise ValueError("the bounds of its neighbours must rise from 0 to the last of them")
        inside = (self.neighbours >= 0) & (self.neighbours < count)
        if len(self.likeness) != len(self.neighbours) or not inside.all():
            raise ValueError("its neighbours must be items, and each have a likeness")
        if not (np.isfinite(self.popularity).all() and np.isfinite(self.likeness).all()):
            raise ValueError("its numbers must be finite")


def log_shares(acts: NDArray[np.integer]) -> NDArray[np.float32]:
    """From how many users acted on each item [items], positively, to what does not grow with the time counted."""
    shares = acts * (ACTS_OF_A_SHARE / max(int(acts.sum()), 1))
    return np.asarray(np.log1p(shares), np.float32)


def crowd_bytes(crowd: Crowd) -> bytes:
    """As safetensors.

    Raises:
        ValueError: when its tables do not fit together.
    """
    crowd.check()
    ids = [item_id.encode() for item_id in crowd.item_ids]
    tables = {
        "ids": np.frombuffer(b"".join(ids), np.uint8),
        "id_ends": np.cumsum([len(each) for each in ids], dtype=np.int64),
        "popularity": crowd.popularity,
        "bounds": crowd.bounds,
        "neighbours": crowd.neighbours,
        "likeness": crowd.likeness,
    }
    return save({name: np.ascontiguousarray(table, _TYPES[name]) for name, table in tables.items()})


def read_crowd(content: bytes) -> Crowd:
    """Undoes `crowd_bytes`.

    Raises:
        ValueError: saying, in half a sentence and without the content, what is wrong with it.
    """
    try:
        tables = load(content)
    except (SafetensorError, ValueError, TypeError) as error:
        raise ValueError("it is not safetensors of this program") from error
    found = {name: (table.dtype, table.ndim) for name, table in tables.items()}
    if found != {name: (np.dtype(kind), 1) for name, kind in _TYPES.items()}:
        raise ValueError(f"it must hold the lists {', '.join(_TYPES)} and no others")
    text, ends = tables["ids"].tobytes(), tables["id_ends"]
    if (np.diff(ends, prepend=0) < 0).any() or (ends[-1] if len(ends) else 0) != len(text):
        raise ValueError("the ends of its item ids must rise from 0 to the last of them")
    starts = [0, *ends.tolist()[:-1]]
    try:
        ids = tuple(text[start:end].decode() for start, end in zip(starts, ends.tolist(), strict=False))
    except UnicodeDecodeError as error:
        raise ValueError("its item ids must be UTF-8") from error
    crowd = Crowd(ids, tables["popularity"], tables["bounds"], tables["neighbours"], tables["likeness"])
    crowd.check()
    return crowd


def _taken(table: NDArray[np.floating], rows: Rows) -> NDArray[np.float64]:
    """Of each row, 0 for ABSENT."""
    found = np.zeros(len(rows))
    known = rows != ABSENT
    found[known] = table[rows[known]]
    return found
