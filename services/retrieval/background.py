"""Work that goes on beside the calls: one step, repeated for as long as the service runs.

A step that fails is tried again after a growing pause, and nothing a step raises ends the loop.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from shared.logs import FIELDS

log = logging.getLogger(__name__)


class UpstreamError(Exception):
    """Another service cannot be reached or does not answer properly now; it is asked again later."""


@dataclass(frozen=True, slots=True)
class Pace:
    """When a step is repeated; seconds. `interval_s` None = only when woken."""

    interval_s: float | None = None
    retry_least_s: float = 0.2
    retry_most_s: float = 5.0


class Background:
    """Repeats `step`: at once while it returns True (there is more), else when woken or after the interval."""

    def __init__(self, name: str, step: Callable[[], Awaitable[bool]], pace: Pace) -> None:
        self._name = name
        self._step = step
        self._pace = pace
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._failures = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins with a first step."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """Ends the loop, in the middle of a step if need be."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def wake(self) -> None:
        """There may be something to do. A pause after a failure is not cut short by it."""
        self._woken.set()

    async def idle(self) -> None:
        """Waits until everything that is there to do now has been done."""
        self._idle.clear()
        self.wake()
        await self._idle.wait()

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                more = await self._step()
            except Exception as error:
                await self._pause_after(error)
                continue
            self._failures = 0
            if more or self._woken.is_set():
                continue
            self._idle.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._pace.interval_s)

    async def _pause_after(self, error: Exception) -> None:
        fields = {FIELDS: {"task": self._name}}
        if not isinstance(error, UpstreamError):
            log.error("background step failed", exc_info=error, extra=fields)
        elif self._failures == 0:
            log.warning("waiting for another service", exc_info=error, extra=fields)
        pause = min(self._pace.retry_least_s * 2.0 ** min(self._failures, 32), self._pace.retry_most_s)
        self._failures += 1
        await asyncio.sleep(pause)
