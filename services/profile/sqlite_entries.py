"""Writes entries to the log, and keeps beside it what profiles draw from it, in the same transaction."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from services.profile.events import Entry, Event, Kind
from services.profile.interests import HalfLives, Interest, added
from services.profile.payloads import event_of, to_json
from services.profile.store import Recorded
from shared.action import Action
from shared.clock import Clock
from shared.ids import IdSource

_APPEND = """INSERT INTO log (user, kind, entry_id, time, recorded_at, personalise, train, payload)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
_KEEP_INTEREST = """INSERT INTO interests (user, category, as_of, short_term, long_term) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE
    SET as_of = excluded.as_of, short_term = excluded.short_term, long_term = excluded.long_term"""
_COUNT_ACTION = """INSERT INTO action_counts (user, action, count) VALUES (?, ?, 1)
                   ON CONFLICT DO UPDATE SET count = count + 1"""
_HIDE_ITEM = """INSERT INTO hidden_items (user, item_id, time) VALUES (?, ?, ?)
                ON CONFLICT DO UPDATE SET time = max(time, excluded.time)"""
_PROFILED = "SELECT user, payload FROM log WHERE kind = 1 AND personalise = 1 ORDER BY user, time"


@dataclass(frozen=True, slots=True)
class EntryWriter:
    """Statements on the writing connection; whoever calls owns the transaction."""

    connection: sqlite3.Connection
    half_lives: HalfLives
    clock: Clock
    ids: IdSource

    def write(self, entries: Sequence[Entry]) -> Recorded:
        """Appends what is new."""
        now = self.clock.now()
        new = [entry.record.kind for entry in entries if self._append(entry, now)]
        return Recorded(new.count(Kind.EVENT), new.count(Kind.SERVED_PAGE), len(entries) - len(new))

    def refresh_interests(self) -> None:
        """Sums up the log anew when the stored interests were made by another rule."""
        edition = self.half_lives.edition
        if self.connection.execute("SELECT interest_edition FROM about").fetchone() == (edition,):
            return
        self.connection.execute("DELETE FROM interests")
        for user, payload in self.connection.execute(_PROFILED):
            self._add_interest(user, event_of(json.loads(payload)))
        self.connection.execute("UPDATE about SET interest_edition = ?", (edition,))

    def _append(self, entry: Entry, now: float) -> bool:
        record = entry.record
        user = self._user(entry.user)
        key = (user, int(record.kind), record.entry_id)
        if self.connection.execute("SELECT 1 FROM log WHERE user = ? AND kind = ? AND entry_id = ?", key).fetchone():
            return False
        row = (*key, record.time, now, entry.personalise, entry.train, to_json(record))
        sequence = self.connection.execute(_APPEND, row).lastrowid
        if isinstance(record, Event) and entry.personalise:
            self.connection.execute(
                "UPDATE users SET version = ?, updated_at = ? WHERE user = ?", (sequence, now, user)
            )
            self._profile(user, record)
        return True

    def _user(self, name: str) -> int:
        row = self.connection.execute("SELECT user FROM users WHERE name = ?", (name,)).fetchone()
        if row is None:
            insert = "INSERT INTO users (name, subject) VALUES (?, ?) RETURNING user"
            row = self.connection.execute(insert, (name, self.ids())).fetchone()
        return int(row[0])

    def _profile(self, user: int, event: Event) -> None:
        self.connection.execute(_COUNT_ACTION, (user, event.action))
        if event.action is Action.HIDE:
            self.connection.execute(_HIDE_ITEM, (user, event.item_id, event.time))
        self._add_interest(user, event)

    def _add_interest(self, user: int, event: Event) -> None:
        if not event.category:
            return
        query = "SELECT category, as_of, short_term, long_term FROM interests WHERE user = ? AND category = ?"
        row = self.connection.execute(query, (user, event.category)).fetchone()
        sums = added(Interest(*row) if row else None, event, self.half_lives)
        values = (user, sums.category, sums.as_of, sums.short_term, sums.long_term)
        self.connection.execute(_KEEP_INTEREST, values)
