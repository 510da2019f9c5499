"""Records of served pages, written after the answer and never in its way.

Pages wait in a bounded queue; one task sends them in batches to the event log and tries again while the log is
away. What does not fit, or is still unsent when the process ends, is dropped and counted: these records are
statistics, unlike feedback, which is refused rather than dropped.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.orchestrator.slate import Cause, StageError
from shared.logs import FIELDS

log = logging.getLogger(__name__)

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class ServedLimits:
    """How many pages wait at most, how many go into one batch, and times in seconds."""

    most_waiting: int = 10_000
    most_in_batch: int = 50
    gather_s: float = 0.05
    retry_s: float = 1.0
    stop_s: float = 2.0


class ServedPages(Generic[Record]):
    """The queue and its task. `send` writes a batch (idempotently) or raises StageError."""

    def __init__(
        self,
        send: Callable[[Sequence[Record]], Awaitable[None]],
        dropped: Callable[[str, int], None],
        limits: ServedLimits,
    ) -> None:
        self._send = send
        self._dropped = dropped
        self._limits = limits
        self._waiting: deque[Record] = deque()
        self._arrived = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to send."""
        self._task = asyncio.create_task(self._run())

    def add(self, record: Record) -> None:
        """Takes a record, or drops it and counts it when too many wait."""
        if len(self._waiting) >= self._limits.most_waiting:
            self._dropped("full", 1)
            return
        self._waiting.append(record)
        self._arrived.set()

    async def stop(self) -> None:
        """Sends what waits, for a limited time."""
        self._stopping = True
        self._arrived.set()
        if self._task is not None:
            done, _ = await asyncio.wait((self._task,), timeout=self._limits.stop_s)
            if not done:
                self._task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._task
        if self._waiting:
            self._dropped("stopped", len(self._waiting))
            self._waiting.clear()

    async def _run(self) -> None:
        size = self._limits.most_in_batch
        while self._waiting or not self._stopping:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                if not self._stopping:
                    await asyncio.sleep(self._limits.gather_s)
                continue
            batch = [self._waiting[index] for index in range(min(len(self._waiting), size))]
            try:
                await self._send(batch)
            except StageError as error:
                if error.cause is not Cause.FAILED:
                    if self._stopping:
                        return
                    await asyncio.sleep(self._limits.retry_s)
                    continue
                if size > 1:  # refused: find the one record that is to blame
                    size = 1
                    continue
                self._give_up(batch, "refused")
                size = self._limits.most_in_batch
            except Exception:
                self._give_up(batch, "defect")
            for _ in batch:
                self._waiting.popleft()
            if not self._waiting:
                size = self._limits.most_in_batch

    def _give_up(self, batch: Sequence[Record], cause: str) -> None:
        """What is refused once is refused for ever; it must not keep the others waiting."""
        self._dropped(cause, len(batch))
        log.warning("served pages dropped", extra={FIELDS: {"cause": cause, "pages": len(batch)}})
