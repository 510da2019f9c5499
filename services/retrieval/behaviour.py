"""What users do, as far as retrieval cares: which acts speak for an item, and how much each adds to its popularity."""

from dataclasses import dataclass

from shared.action import Action

NEGATIVE = frozenset({Action.DISLIKE, Action.HIDE})

_WEIGHTS = {
    Action.VIEW: 0.2,
    Action.CLICK: 1.0,
    Action.LIKE: 2.0,
    Action.DISLIKE: -1.0,
    Action.HIDE: -2.0,
    Action.PURCHASE: 4.0,
    Action.COMMENT: 2.0,
    Action.SHARE: 2.0,
}


def popularity_weight(action: Action, value: float) -> float:
    """What one act adds to its item's popularity. `value`: seconds of a dwell, 0 to 5 of a rating, else unused.

    A dwell of a minute or more counts as a click; ratings run from -2 (a hide) over 0 (the middle, 2.5) to 2 (a like).
    """
    if action is Action.DWELL:
        return min(value / 60.0, 1.0)
    if action is Action.RATE:
        return (value - 2.5) * 0.8
    return _WEIGHTS[action]


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One act of the user whom candidates are sought for."""

    item_id: str
    action: Action


@dataclass(frozen=True, slots=True)
class CountedEvent:
    """One act of any user, as popularity counts it. `time` in unix seconds."""

    item_id: str
    weight: float
    time: float
