"""What is particular to the SQLite store: its file, its one writer, and refusals of the disk."""

import asyncio
import resource
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.profile.group_commit import GroupCommit
from services.profile.interests import HalfLives
from services.profile.sqlite_database import SCHEMA_VERSION, SqliteOptions, open_writer
from services.profile.sqlite_store import SqliteProfileStore
from services.profile.store import LogQuery, Recorded, StoreOpenError
from shared.clock import ManualClock
from shared.errors import Reason, ServiceError
from shared.ids import seeded_ids
from tests.profile.samples import NOW, an_entry


def store_at(path: Path) -> SqliteProfileStore:
    options = SqliteOptions(path, busy_timeout_s=0.05)
    return SqliteProfileStore(options, HalfLives(), ManualClock(NOW), seeded_ids(1))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "when needed" / "profile.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteProfileStore]:
    opened = store_at(path)
    await opened.open()
    yield opened
    await opened.close()


@contextmanager
def held_by_another(path: Path) -> Iterator[None]:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


@contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    """The operating system refuses to write, as a full disk does (Python ignores SIGXFSZ)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def refused(store: SqliteProfileStore, *event_ids: str) -> ServiceError:
    with pytest.raises(ServiceError) as raised:
        await store.record([an_entry(event_id, surface="x" * 60) for event_id in event_ids])
    return raised.value


async def recorded_ids(store: SqliteProfileStore) -> list[str]:
    query = LogQuery(await store.log_id(), 0, 5000, 2**20, for_training=False)
    return [logged.record.entry_id for logged in (await store.read_log(query)).entries]


def test_a_file_of_a_newer_version_is_refused_and_stays_as_it_is(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as newer:
        newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    newer.close()
    before = path.read_bytes()
    with pytest.raises(StoreOpenError, match=f"schema version {SCHEMA_VERSION + 1}"):
        asyncio.run(store_at(path).open())
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION])
def test_a_database_of_something_else_is_refused(path: Path, version: int) -> None:
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
        other.execute(f"PRAGMA user_version = {version}")
    other.close()
    with pytest.raises(StoreOpenError, match="not a profile database"):
        asyncio.run(store_at(path).open())


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("something else entirely, and long enough to be looked at" * 100)
    with pytest.raises(StoreOpenError, match="SQLITE_NOTADB"):
        asyncio.run(store_at(path).open())


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreOpenError, match="cannot open or make"):
        asyncio.run(store_at(tmp_path / "file" / "profile.db").open())


def test_a_commit_is_flushed_before_it_is_acknowledged(path: Path) -> None:
    connection = open_writer(SqliteOptions(path), seeded_ids(1))
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    connection.close()


async def test_while_another_process_holds_the_file_writes_are_refused_and_reads_go_on(
    path: Path, store: SqliteProfileStore
) -> None:
    await store.record([an_entry("before")])
    with held_by_another(path):
        error = await refused(store, "refused")
        assert (await store.profile("u:ann", 10)).version == 1
    assert error.reason is Reason.STORE_UNAVAILABLE
    assert error.retry_after_s is not None
    assert await store.record([an_entry("refused")]) == Recorded(events=1)


async def test_on_a_full_disk_nothing_is_half_written_and_afterwards_work_goes_on(store: SqliteProfileStore) -> None:
    await store.record([an_entry("before")])
    ids = [f"e{n}" for n in range(1000)]
    with no_file_grows_beyond(200_000):
        error = await refused(store, *ids)
        assert error.reason is Reason.STORE_UNAVAILABLE
        assert await recorded_ids(store) == ["before"]
    assert await store.record([an_entry(event_id) for event_id in ids]) == Recorded(events=1000)
    assert await recorded_ids(store) == ["before", *ids]


class Writing:
    """A group-committing writer over a small table, which can be held up in its first piece of work."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.connection.execute("CREATE TABLE kept (value TEXT)")
        self.statements: list[str] = []
        self.connection.set_trace_callback(self.statements.append)
        self.commits = GroupCommit(self.connection)
        self.began, self.go_on = threading.Event(), threading.Event()

    def hold(self) -> str:
        self.began.set()
        assert self.go_on.wait(10)
        return self.keep("held")

    def keep(self, value: str) -> str:
        self.connection.execute("INSERT INTO kept VALUES (?)", (value,))
        return value

    def keep_then_fail(self) -> str:
        self.keep("half")
        raise KeyError("a defect")


@pytest.fixture
def writing(tmp_path: Path) -> Iterator[Writing]:
    made = Writing(tmp_path / "kept.db")
    yield made
    made.go_on.set()
    made.commits.close()


def test_what_waits_during_one_commit_is_committed_together(writing: Writing) -> None:
    held = writing.commits.submit(writing.hold, 1)
    assert writing.began.wait(10)
    rest = [writing.commits.submit(lambda value=str(n): writing.keep(value), 1) for n in range(20)]
    writing.go_on.set()
    assert held.result(10) == "held"
    assert [future.result(10) for future in rest] == [str(n) for n in range(20)]
    assert writing.statements.count("COMMIT") == 2


def test_a_group_is_cut_by_its_size(writing: Writing) -> None:
    writing.commits.submit(writing.hold, 1)
    assert writing.began.wait(10)
    rest = [writing.commits.submit(lambda: writing.keep("x"), 1000) for _ in range(5)]
    writing.go_on.set()
    for future in rest:
        future.result(10)
    assert writing.statements.count("COMMIT") == 1 + 3


def test_work_that_fails_is_undone_alone(writing: Writing) -> None:
    writing.commits.submit(writing.hold, 1)
    assert writing.began.wait(10)
    before = writing.commits.submit(lambda: writing.keep("before"), 1)
    failing = writing.commits.submit(writing.keep_then_fail, 1)
    after = writing.commits.submit(lambda: writing.keep("after"), 1)
    writing.go_on.set()
    with pytest.raises(KeyError):
        failing.result(10)
    assert (before.result(10), after.result(10)) == ("before", "after")
    kept = writing.commits.submit(lambda: writing.connection.execute("SELECT value FROM kept").fetchall(), 1)
    assert kept.result(10) == [("held",), ("before",), ("after",)]


def test_work_whose_caller_is_gone_before_it_began_is_not_done(writing: Writing) -> None:
    writing.commits.submit(writing.hold, 1)
    assert writing.began.wait(10)
    gone = writing.commits.submit(lambda: writing.keep("gone"), 1)
    assert gone.cancel()
    writing.go_on.set()
    kept = writing.commits.submit(lambda: writing.connection.execute("SELECT value FROM kept").fetchall(), 1)
    assert kept.result(10) == [("held",)]


def test_closing_commits_what_waits(tmp_path: Path) -> None:
    writing = Writing(tmp_path / "kept.db")
    futures = [writing.commits.submit(lambda: writing.keep("x"), 1) for _ in range(50)]
    writing.commits.close()
    assert all(future.done() and future.result() == "x" for future in futures)
