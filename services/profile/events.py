"""What is recorded: acts of users and pages served to them, as plain values.

Entries are facts. Each has an id of its own kind (an event_id or a recommendation_id), is recorded once, and is never
changed afterwards.
"""

import enum
from dataclasses import dataclass

from shared.action import Action


class Kind(enum.IntEnum):
    """The kinds of entries; ids of one kind never meet ids of the other."""

    EVENT = 1
    SERVED_PAGE = 2


@dataclass(frozen=True, slots=True)
class Event:
    """One act of a user on one item. `time` in unix seconds; `value` as the action has it (seconds, amount, rating)."""

    event_id: str
    time: float
    action: Action
    item_id: str
    value: float = 0.0
    category: str = ""
    recommendation_id: str = ""
    position: int = 0
    surface: str = ""
    session_id: str = ""

    @property
    def kind(self) -> Kind:
        """Always EVENT."""
        return Kind.EVENT

    @property
    def entry_id(self) -> str:
        """The idempotency key."""
        return self.event_id


@dataclass(frozen=True, slots=True)
class ServedItem:
    """One item of a served page; `slot_kind` is the number of the contract's SlotKind."""

    item_id: str
    position: int
    slot_kind: int
    score: float
    propensity: float


@dataclass(frozen=True, slots=True)
class ServedPage:
    """A page as it was served at `time` (unix seconds)."""

    recommendation_id: str
    time: float
    surface: str = ""
    items: tuple[ServedItem, ...] = ()
    model_version: str = ""
    session_id: str = ""

    @property
    def kind(self) -> Kind:
        """Always SERVED_PAGE."""
        return Kind.SERVED_PAGE

    @property
    def entry_id(self) -> str:
        """The idempotency key."""
        return self.recommendation_id


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry for the log: of whom, what, and what the user allowed at that moment."""

    user: str
    """Namespaced name: "u:" and a user_id, or "v:" and a visitor_id."""
    record: Event | ServedPage
    personalise: bool = True
    """False: kept in the log, but seen by no profile."""
    train: bool = True
    """False: left out of what models learn from."""
