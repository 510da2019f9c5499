"""One thread that writes, and commits together what waits together.

A commit costs a flush to disk however much it holds, so all requests that queue up during one flush share the next.
Each runs in a savepoint of its own: one that is wrong is undone alone. None is answered before the commit.
"""

import sqlite3
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from services.profile.sqlite_database import is_refusal, unavailable

Result = TypeVar("Result")

MOST_ENTRIES_PER_COMMIT = 2000
"""Where a group is cut, so that the first of a long queue do not wait for the last."""


@dataclass(frozen=True, slots=True)
class _Request:
    work: Callable[[], Any]
    size: int
    future: Future[Any] = field(default_factory=Future)


class GroupCommit:
    """Runs pieces of work on one connection; from its making on, nothing else may use that connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._waiting: deque[_Request] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="profile-writer")

    def submit(self, work: Callable[[], Result], size: int) -> Future[Result]:
        """Queues work of `size` entries; its future ends after the commit.

        The future raises what the work raised, or ServiceError(STORE_UNAVAILABLE) when the whole group was refused.
        Cancelled while it waits, the work is not done.
        """
        request = _Request(work, size)
        self._waiting.append(request)
        # One job per request: whoever comes first takes the whole queue, and the others find nothing to do.
        self._thread.submit(self._commit_next_group)
        return request.future

    def close(self) -> None:
        """Commits what waits, then closes the connection."""
        self._thread.shutdown(wait=True)
        self._connection.close()

    def _commit_next_group(self) -> None:
        group = self._next_group()
        if not group:
            return
        try:
            outcomes = self._in_one_transaction(group)
        except Exception as error:
            for request in group:
                request.future.set_exception(unavailable(error) if is_refusal(error) else error)
            return
        for request, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Exception):
                request.future.set_exception(outcome)
            else:
                request.future.set_result(outcome)

    def _next_group(self) -> list[_Request]:
        group: list[_Request] = []
        size = 0
        while self._waiting and size < MOST_ENTRIES_PER_COMMIT:
            request = self._waiting.popleft()
            if request.future.set_running_or_notify_cancel():
                group.append(request)
                size += request.size
        return group

    def _in_one_transaction(self, group: list[_Request]) -> list[Any]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            outcomes = [self._in_savepoint(request.work) for request in group]
            self._connection.execute("COMMIT")
        finally:
            # After some errors SQLite has rolled back by itself.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        return outcomes

    def _in_savepoint(self, work: Callable[[], Any]) -> Any:
        self._connection.execute("SAVEPOINT request")
        try:
            outcome = work()
        except Exception as error:
            if is_refusal(error):
                raise
            self._connection.execute("ROLLBACK TO request")
            outcome = error
        self._connection.execute("RELEASE request")
        return outcome
