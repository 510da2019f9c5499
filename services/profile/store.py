"""Where profiles and the event log are kept: one interface, which every backend meets in the same words.

Writing an entry and what profiles draw from it is one step: a profile never lags behind the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.profile.events import Entry, Event, ServedPage
from services.profile.interests import Interest
from shared.action import Action
from shared.start import StartError

MOST_HIDDEN = 1000
"""So many hidden items a profile tells."""


class StoreOpenError(StartError):
    """The store cannot be used at all; the text tells whoever starts the service what to change."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a batch: how many entries were new, by kind, and how many were known."""

    events: int = 0
    served_pages: int = 0
    duplicates: int = 0


@dataclass(frozen=True, slots=True)
class ActionCount:
    """How often an action was recorded."""

    action: Action
    count: int


@dataclass(frozen=True, slots=True)
class StoredProfile:
    """What the log says of one user; entries recorded with personalise = false and served pages leave no trace here."""

    version: int = 0
    """Sequence number of the user's newest recorded event; 0 = nothing is known."""
    updated_at: float | None = None
    """When that event was recorded, unix seconds."""
    recent_events: tuple[Event, ...] = ()
    """Newest first by time of the event."""
    interests: tuple[Interest, ...] = ()
    """All of them, each as of its own moment."""
    action_counts: tuple[ActionCount, ...] = ()
    hidden_item_ids: tuple[str, ...] = ()
    """Newest first, at most MOST_HIDDEN."""


@dataclass(frozen=True, slots=True)
class LogQuery:
    """A stretch of a log: entries after a sequence number, at most so many, and about so many bytes."""

    log_id: str
    after: int
    most_entries: int
    most_bytes: int
    for_training: bool
    """Leave out entries recorded with train = false."""


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """One entry of the log, its user under a pseudonym."""

    subject: str
    record: Event | ServedPage


@dataclass(frozen=True, slots=True)
class LogPage:
    """What a LogQuery found, in the order of recording."""

    entries: tuple[LoggedEntry, ...]
    next_after: int
    """Where to go on."""
    caught_up: bool
    """Nothing more was recorded when this was read."""


class ProfileStore(Protocol):
    """Profiles and the event log.

    Every method but `open` raises ServiceError(STORE_UNAVAILABLE) when the backend refuses. A refused batch leaves
    nothing behind or all of it, so sending it again is always right.
    """

    async def open(self) -> None:
        """Makes the store ready.

        Raises:
            StoreOpenError: when it cannot be used.
        """

    async def record(self, entries: Sequence[Entry]) -> Recorded:
        """Writes all entries or none; on disk when it returns. Known ids, within the batch too, change nothing."""

    async def profile(self, user: str, most_events: int) -> StoredProfile:
        """The profile of a namespaced user as of one moment; an empty one for a user without any."""

    async def log_id(self) -> str:
        """Names the log that is there now, 32 hexadecimal digits: positions in another log mean nothing in it."""

    async def read_log(self, query: LogQuery) -> LogPage:
        """A stretch of the log; an entry over `most_bytes` comes alone.

        Raises:
            ServiceError: INVALID_TOKEN when the log is another one by now, or `after` lies beyond its end.
        """

    async def close(self) -> None:
        """Finishes what was begun and lets go; harmless when it was never opened."""
