"""Profiles and the event log in one SQLite file: the store that needs no server.

Writes go through one thread that commits in groups; reads have connections and threads of their own, and each sees
one moment of the file (WAL snapshot).
"""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeVar

from services.profile.cursor import bad_cursor
from services.profile.events import Entry, Kind
from services.profile.group_commit import GroupCommit
from services.profile.interests import HalfLives, Interest
from services.profile.payloads import event_of
from services.profile.sqlite_database import SqliteOptions, is_refusal, open_reader, open_writer, opening, unavailable
from services.profile.sqlite_entries import EntryWriter
from services.profile.store import MOST_HIDDEN, ActionCount, LogPage, LogQuery, Recorded, StoredProfile
from services.profile.stretch import Stretch
from shared.action import Action
from shared.clock import Clock
from shared.errors import Reason, ServiceError
from shared.ids import IdSource

Result = TypeVar("Result")

# One statement, so one moment; and one row, because Python's sqlite3 gives up the interpreter lock at every row and
# waits for it again, which under load costs more than the reading. Lists come as JSON; quote() keeps every digit.
_PROFILE = """
    SELECT version, updated_at,
        (SELECT group_concat(payload) FROM (
            SELECT payload FROM log WHERE log.user = users.user AND kind = 1 AND personalise = 1
            ORDER BY time DESC, sequence DESC LIMIT :most_events)),
        (SELECT group_concat(
            '[' || json_quote(category) || ',' || quote(as_of) || ',' || quote(short_term) || ',' || quote(long_term)
            || ']') FROM interests WHERE interests.user = users.user),
        (SELECT group_concat(json_array(action, count)) FROM (
            SELECT action, count FROM action_counts WHERE action_counts.user = users.user ORDER BY action)),
        (SELECT group_concat(json_quote(item_id)) FROM (
            SELECT item_id FROM hidden_items WHERE hidden_items.user = users.user
            ORDER BY time DESC, item_id LIMIT :most_hidden))
    FROM users WHERE name = :name"""
_STRETCH = """SELECT sequence, subject, kind, payload FROM log JOIN users USING (user)
              WHERE sequence > ? AND train >= ? ORDER BY sequence LIMIT ?"""


@dataclass(frozen=True, slots=True)
class _Parts:
    """What an open store consists of."""

    log_id: str
    entries: EntryWriter
    commits: GroupCommit
    read_threads: ThreadPoolExecutor
    readers: SimpleQueue[sqlite3.Connection]
    """As many as there are threads, so that none ever waits."""


class SqliteProfileStore:
    """A ProfileStore in one file."""

    def __init__(self, options: SqliteOptions, half_lives: HalfLives, clock: Clock, ids: IdSource) -> None:
        self._options = options
        self._half_lives = half_lives
        self._clock = clock
        self._ids = ids
        self._parts: _Parts | None = None

    async def open(self) -> None:
        """See ProfileStore. Takes long when the half-lives have changed: interests are then summed up anew."""
        entries, log_id = await asyncio.to_thread(self._prepare)
        readers: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        for _ in range(self._options.read_threads):
            readers.put(open_reader(self._options))
        threads = ThreadPoolExecutor(self._options.read_threads, thread_name_prefix="profile-reader")
        self._parts = _Parts(log_id, entries, GroupCommit(entries.connection), threads, readers)

    async def record(self, entries: Sequence[Entry]) -> Recorded:
        """See ProfileStore."""
        parts = self._open_parts()
        return await asyncio.wrap_future(parts.commits.submit(lambda: parts.entries.write(entries), len(entries)))

    async def profile(self, user: str, most_events: int) -> StoredProfile:
        """See ProfileStore."""
        return await self._read(lambda connection: _profile(connection, user, most_events))

    async def log_id(self) -> str:
        """See ProfileStore. Always the same: it is that of the file."""
        return self._open_parts().log_id

    async def read_log(self, query: LogQuery) -> LogPage:
        """See ProfileStore."""
        if query.log_id != self._open_parts().log_id:
            raise bad_cursor()
        return await self._read(lambda connection: _log_page(connection, query))

    async def close(self) -> None:
        """See ProfileStore."""
        parts, self._parts = self._parts, None
        if parts is not None:
            await asyncio.to_thread(_close, parts)

    def _prepare(self) -> tuple[EntryWriter, str]:
        connection = open_writer(self._options, self._ids)
        entries = EntryWriter(connection, self._half_lives, self._clock, self._ids)
        with opening(self._options.path):
            connection.execute("BEGIN IMMEDIATE")
            entries.refresh_interests()
            connection.execute("COMMIT")
            return entries, str(connection.execute("SELECT log_id FROM about").fetchone()[0])

    def _open_parts(self) -> _Parts:
        if self._parts is None:
            raise ServiceError(Reason.NOT_READY, "the profile store is not open", retry_after_s=1.0)
        return self._parts

    async def _read(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        parts = self._open_parts()

        def run() -> Result:
            connection = parts.readers.get()
            try:
                connection.execute("BEGIN")
                return work(connection)
            except sqlite3.Error as error:
                if is_refusal(error):
                    raise unavailable(error) from None
                raise
            finally:
                with contextlib.suppress(sqlite3.Error):
                    connection.rollback()
                parts.readers.put(connection)

        return await asyncio.get_running_loop().run_in_executor(parts.read_threads, run)


def _close(parts: _Parts) -> None:
    parts.read_threads.shutdown(wait=True)
    while not parts.readers.empty():
        parts.readers.get().close()
    # Last: whoever closes last folds the write-ahead log into the file.
    parts.commits.close()


def _profile(connection: sqlite3.Connection, name: str, most_events: int) -> StoredProfile:
    given = {"name": name, "most_events": most_events, "most_hidden": MOST_HIDDEN}
    row = connection.execute(_PROFILE, given).fetchone()
    if row is None:
        return StoredProfile()
    version, updated_at = row[:2]
    events, interests, counts, hidden = (json.loads(f"[{joined or ''}]") for joined in row[2:])
    return StoredProfile(
        version,
        updated_at,
        tuple(event_of(named) for named in events),
        tuple(Interest(*each) for each in interests),
        tuple(ActionCount(Action(action), count) for action, count in counts),
        tuple(hidden),
    )


def _log_page(connection: sqlite3.Connection, query: LogQuery) -> LogPage:
    newest = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchone()
    end = int(newest[0]) if newest else 0
    if query.after > end:
        raise bad_cursor()
    stretch = Stretch(query)
    # One row more than wanted tells whether there are more.
    rows = connection.execute(_STRETCH, (query.after, query.for_training, query.most_entries + 1))
    for sequence, subject, kind, payload in rows:
        if not stretch.take(sequence, subject, Kind(kind), payload.encode()):
            return stretch.cut()
    return stretch.whole(end)
