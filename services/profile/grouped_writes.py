"""Sends together what waits together: the server flushes once for all of it, and acknowledges none before."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from services.profile.store import Recorded

MOST_ENTRIES_PER_WRITE = 250
"""A group that has so many takes no further batch: a script holds up all other clients of the server while it runs."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries that are written all or not at all: their arguments, and of which kinds they are (True: an event)."""

    arguments: Sequence[str]
    are_events: Sequence[bool]


Send = Callable[[list[str]], Awaitable[str]]
"""Writes the entries of these arguments in one step; tells of each, in order, "1" (new) or "0" (known)."""


class GroupedWrites:
    """One write at a time; what comes meanwhile makes up the next."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: deque[tuple[Batch, asyncio.Future[Recorded]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def write(self, batch: Batch) -> Recorded:
        """Returns when it is written; raises what `send` raises. Left out when the caller has gone before its turn."""
        future: asyncio.Future[Recorded] = asyncio.get_running_loop().create_future()
        self._waiting.append((batch, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send_all(), name="grouped writes")
        return await future

    async def close(self) -> None:
        """Writes what waits."""
        if self._task is not None:
            await self._task

    async def _send_all(self) -> None:
        while group := self._next_group():
            try:
                outcomes = _outcomes(group, await self._send([value for b, _ in group for value in b.arguments]))
            except Exception as error:
                for _, future in group:
                    _settle(future, error)
                continue
            for (_, future), outcome in zip(group, outcomes, strict=True):
                _settle(future, outcome)

    def _next_group(self) -> list[tuple[Batch, "asyncio.Future[Recorded]"]]:
        group: list[tuple[Batch, asyncio.Future[Recorded]]] = []
        size = 0
        while self._waiting and size < MOST_ENTRIES_PER_WRITE:
            batch, future = self._waiting.popleft()
            if not future.done():
                group.append((batch, future))
                size += len(batch.are_events)
        return group


def _settle(future: "asyncio.Future[Recorded]", outcome: Recorded | Exception) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _outcomes(group: Sequence[tuple[Batch, object]], told: str) -> list[Recorded]:
    marks = iter(told)
    found = [_recorded(batch.are_events, "".join(islice(marks, len(batch.are_events)))) for batch, _ in group]
    if next(marks, None) is not None:
        raise ValueError("more was told than was asked")
    return found


def _recorded(are_events: Sequence[bool], told: str) -> Recorded:
    new = [is_event for is_event, mark in zip(are_events, told, strict=True) if mark == "1"]
    return Recorded(new.count(True), new.count(False), len(are_events) - len(new))
