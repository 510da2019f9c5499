"""What became of a page: the difference of two lists of item ids, as one change per item."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """What happened to an item between two pages."""

    ENTERED = "entered"
    LEFT = "left"
    UP = "up"
    DOWN = "down"
    STAYED = "stayed"


@dataclass(frozen=True, slots=True)
class Change:
    """One item on two pages. Places count from 1; None = not on that page."""

    item_id: str
    kind: Kind
    before: int | None
    after: int | None

    @property
    def places(self) -> int:
        """By how many places it moved, at least 0; 0 for what entered or left."""
        return abs(self.before - self.after) if self.before is not None and self.after is not None else 0


def compare(before: Sequence[str], after: Sequence[str]) -> tuple[Change, ...]:
    """One change for every item of either page: those of `after` in its order, then those that left, in theirs.

    Raises:
        ValueError: when a page holds an item twice.
    """
    if len(set(before)) != len(before) or len(set(after)) != len(after):
        raise ValueError("a page holds an item twice")
    old = {item_id: place for place, item_id in enumerate(before, start=1)}
    new = {item_id: place for place, item_id in enumerate(after, start=1)}
    present = [_change(item_id, old.get(item_id), place) for item_id, place in new.items()]
    left = [_change(item_id, place, None) for item_id, place in old.items() if item_id not in new]
    return (*present, *left)


def of_kind(changes: Sequence[Change], *kinds: Kind) -> tuple[Change, ...]:
    """The changes of these kinds, in their order."""
    return tuple(change for change in changes if change.kind in kinds)


def _change(item_id: str, before: int | None, after: int | None) -> Change:
    if before is None:
        kind = Kind.ENTERED
    elif after is None:
        kind = Kind.LEFT
    elif before == after:
        kind = Kind.STAYED
    else:
        kind = Kind.UP if after < before else Kind.DOWN
    return Change(item_id, kind, before, after)
