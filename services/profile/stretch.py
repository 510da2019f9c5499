"""Cuts a stretch out of the event log, the same way for every store."""

from services.profile.events import Kind
from services.profile.payloads import from_json
from services.profile.store import LoggedEntry, LogPage, LogQuery


class Stretch:
    """Takes entries in the order of recording until a LogQuery has enough."""

    def __init__(self, query: LogQuery) -> None:
        self._query = query
        self._entries: list[LoggedEntry] = []
        self._last = query.after
        self._bytes = 0

    def take(self, sequence: int, subject: str, kind: Kind, payload: bytes) -> bool:
        """Takes one more entry; False: it does not fit any more, and the stretch ends before it."""
        self._bytes += len(payload)
        full = len(self._entries) == self._query.most_entries or self._bytes > self._query.most_bytes
        if self._entries and full:
            return False
        self._entries.append(LoggedEntry(subject, from_json(kind, payload)))
        self._last = sequence
        return True

    def cut(self) -> LogPage:
        """What was taken; there is more."""
        return LogPage(tuple(self._entries), self._last, caught_up=False)

    def whole(self, end: int) -> LogPage:
        """What was taken, and nothing that is wanted follows up to the end of the log."""
        return LogPage(tuple(self._entries), end, caught_up=True)
