"""The library in one SQLite file, in WAL mode with synchronous=FULL: a commit survives power loss."""

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from services.retrieval.items import Item
from services.retrieval.payloads import FLOATS, item_from_json, item_to_json
from services.retrieval.store import Progress, StoredVector, StoreOpenError, Tally
from shared.errors import Reason, ServiceError

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE items (item_id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE vectors (
    item_id TEXT PRIMARY KEY, revision TEXT NOT NULL, embedding_version TEXT NOT NULL, dimensions INTEGER NOT NULL,
    vector BLOB NOT NULL  -- float32, little-endian
);
CREATE TABLE popularity (item_id TEXT PRIMARY KEY, total REAL NOT NULL, as_of REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE progress (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1), cursor TEXT NOT NULL, counted INTEGER NOT NULL
);
INSERT INTO progress VALUES (1, '', 0);
"""


class SqliteStore:
    """See LibraryStore. `path` is the database file; its folder is made when missing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Opens the file, or makes it. Raises StoreOpenError."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            self._prepare(self._connection)
        except (OSError, sqlite3.Error) as error:
            self.close()
            cause = getattr(error, "sqlite_errorname", type(error).__name__)
            raise StoreOpenError(f"cannot open or make the library {self._path} ({cause})") from error
        except StoreOpenError:
            self.close()
            raise

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # The version comes first: a file that is not ours must stay as it is.
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            known = f"this program knows up to {SCHEMA_VERSION}"
            raise StoreOpenError(f"{self._path} has schema version {version}, {known}; run a newer one")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        if tables and not (version and "vectors" in tables):
            raise StoreOpenError(f"{self._path} is an SQLite file, but not a library; name another file")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        if not tables:
            connection.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")

    def close(self) -> None:
        """Closes the file; may be called twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def items(self) -> Iterator[Item]:
        """See LibraryStore."""
        for item_id, body in self._open.execute("SELECT item_id, body FROM items ORDER BY item_id"):
            yield item_from_json(item_id, body)

    def vectors(self) -> Iterator[StoredVector]:
        """See LibraryStore."""
        query = "SELECT item_id, revision, embedding_version, vector FROM vectors ORDER BY item_id"
        for item_id, revision, version, blob in self._open.execute(query):
            yield StoredVector(item_id, revision, version, np.frombuffer(blob, FLOATS))

    def tallies(self) -> Iterator[tuple[str, Tally]]:
        """See LibraryStore."""
        for item_id, total, as_of in self._open.execute("SELECT item_id, total, as_of FROM popularity"):
            yield item_id, Tally(total, as_of)

    def progress(self) -> Progress:
        """See LibraryStore."""
        return Progress(*self._open.execute("SELECT cursor, counted FROM progress").fetchone())

    def put_items(self, items: Sequence[Item]) -> None:
        """See LibraryStore."""
        with self._transaction() as connection:
            rows = ((item.item_id, item_to_json(item)) for item in items)
            connection.executemany("INSERT OR REPLACE INTO items VALUES (?, ?)", rows)

    def delete_items(self, item_ids: Sequence[str]) -> None:
        """See LibraryStore."""
        with self._transaction() as connection:
            for table in ("items", "vectors"):
                each = ((item_id,) for item_id in item_ids)
                connection.executemany(f"DELETE FROM {table} WHERE item_id = ?", each)  # noqa: S608  # our own names

    def put_vectors(self, vectors: Sequence[StoredVector]) -> None:
        """See LibraryStore."""
        with self._transaction() as connection:
            rows = (
                (v.item_id, v.revision, v.embedding_version, v.values.size, v.values.astype(FLOATS).tobytes())
                for v in vectors
            )
            connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?, ?)", rows)

    def put_counts(self, tallies: Mapping[str, Tally], progress: Progress, faded: Collection[str] = ()) -> None:
        """See LibraryStore."""
        with self._transaction() as connection:
            rows = ((id_, t.total, t.as_of) for id_, t in tallies.items())
            connection.executemany("INSERT OR REPLACE INTO popularity VALUES (?, ?, ?)", rows)
            connection.executemany("DELETE FROM popularity WHERE item_id = ?", ((item_id,) for item_id in faded))
            connection.execute("UPDATE progress SET cursor = ?, counted = ?", (progress.cursor, progress.counted))

    def forget_counts(self) -> Progress:
        """See LibraryStore."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM popularity")
            connection.execute("UPDATE progress SET cursor = '', counted = 0")
        return Progress()

    def changes(self) -> None:
        """None: nobody else writes to the file."""

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ServiceError(Reason.NOT_READY, "the library is not open", retry_after_s=1.0)
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block's changes on disk, or none."""
        connection = self._open
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # SQLite itself has rolled back already after some errors, a full disk among them.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            message = "the library's store refused the change; nothing was written"
            raise ServiceError(Reason.STORE_UNAVAILABLE, message, retry_after_s=1.0) from error
