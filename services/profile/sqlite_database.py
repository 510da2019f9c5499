"""The SQLite file of the profile service: its schema, how it is opened, and what its errors mean.

WAL with synchronous=FULL: readers never wait for the writer, and a commit that returned survives a power cut
(https://sqlite.org/pragma.html#pragma_synchronous). The schema's version stands in PRAGMA user_version.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.profile.store import StoreOpenError
from shared.errors import Reason, ServiceError
from shared.ids import IdSource
from shared.logs import FIELDS

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
_RETRY_AFTER_S = 1.0

_SCHEMA = (
    "CREATE TABLE about (log_id TEXT NOT NULL, interest_edition TEXT NOT NULL)",
    """CREATE TABLE users (
        user INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        subject TEXT NOT NULL UNIQUE,
        version INTEGER NOT NULL DEFAULT 0,
        updated_at REAL
    )""",
    # AUTOINCREMENT: a number is never given twice, even after the newest entries were erased; cursors rely on it.
    """CREATE TABLE log (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        user INTEGER NOT NULL REFERENCES users,
        kind INTEGER NOT NULL,
        entry_id TEXT NOT NULL,
        time REAL NOT NULL,
        recorded_at REAL NOT NULL,
        personalise INTEGER NOT NULL,
        train INTEGER NOT NULL,
        payload TEXT NOT NULL,
        UNIQUE (user, kind, entry_id)
    )""",
    "CREATE INDEX log_of_profile ON log (user, time) WHERE kind = 1 AND personalise = 1",
    """CREATE TABLE interests (
        user INTEGER NOT NULL REFERENCES users,
        category TEXT NOT NULL,
        as_of REAL NOT NULL,
        short_term REAL NOT NULL,
        long_term REAL NOT NULL,
        PRIMARY KEY (user, category)
    ) WITHOUT ROWID""",
    """CREATE TABLE action_counts (
        user INTEGER NOT NULL REFERENCES users,
        action INTEGER NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (user, action)
    ) WITHOUT ROWID""",
    """CREATE TABLE hidden_items (
        user INTEGER NOT NULL REFERENCES users,
        item_id TEXT NOT NULL,
        time REAL NOT NULL,
        PRIMARY KEY (user, item_id)
    ) WITHOUT ROWID""",
    "CREATE INDEX hidden_items_newest ON hidden_items (user, time)",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


@dataclass(frozen=True, slots=True)
class SqliteOptions:
    """Where the file is and how it is used."""

    path: Path
    read_threads: int = 4
    busy_timeout_s: float = 1.0
    """How long to wait for another process that holds the file, in seconds."""


def open_writer(options: SqliteOptions, ids: IdSource) -> sqlite3.Connection:
    """The connection that writes; makes the file and its folder when there is none.

    Raises:
        StoreOpenError: the file is of a newer version, is not one of ours, or cannot be opened or made.
    """
    with opening(options.path):
        options.path.parent.mkdir(parents=True, exist_ok=True)
        connection = _connect(options)
        try:
            _prepare(connection, options.path, ids)
        except BaseException:
            connection.close()
            raise
    return connection


def open_reader(options: SqliteOptions) -> sqlite3.Connection:
    """A connection that only reads; the file must be there."""
    connection = _connect(options)
    connection.execute("PRAGMA query_only = ON")
    return connection


@contextlib.contextmanager
def opening(path: Path) -> Iterator[None]:
    """Turns what may go wrong with a file into StoreOpenError, for whoever starts the service."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        cause = getattr(error, "sqlite_errorname", type(error).__name__)
        raise StoreOpenError(f"cannot open or make the database {path} ({cause})") from error


def is_refusal(error: Exception) -> bool:
    """Whether the database itself refused (full, locked, unreadable), rather than one statement being wrong."""
    return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError


def unavailable(error: Exception) -> ServiceError:
    """What callers learn of a refusal; the log gets SQLite's name for it."""
    log.error("store refused", extra={FIELDS: {"sqlite_error": getattr(error, "sqlite_errorname", "unknown")}})
    message = "the profile store cannot be used now; nothing was written"
    return ServiceError(Reason.STORE_UNAVAILABLE, message, retry_after_s=_RETRY_AFTER_S)


def _connect(options: SqliteOptions) -> sqlite3.Connection:
    # Connections are made by one thread and used by another, though never by two at a time.
    return sqlite3.connect(options.path, timeout=options.busy_timeout_s, isolation_level=None, check_same_thread=False)


def _prepare(connection: sqlite3.Connection, path: Path, ids: IdSource) -> None:
    # The version comes first: a file that is not ours must stay as it is.
    _check_version(connection, path)
    if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
        raise StoreOpenError(f"{path} lies on a file system where SQLite cannot keep a write-ahead log")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("BEGIN IMMEDIATE")
    if _check_version(connection, path) == 0:
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute("INSERT INTO about VALUES (?, '')", (ids(),))
    connection.execute("COMMIT")


def _check_version(connection: sqlite3.Connection, path: Path) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise StoreOpenError(
            f"{path} has schema version {version}, this program knows up to {SCHEMA_VERSION}; run a newer one"
        )
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    if tables and not (version and "interests" in tables):
        raise StoreOpenError(f"{path} is an SQLite file, but not a profile database; name another file")
    return version
