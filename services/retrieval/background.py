"""Work beside the event loop and beside the calls: threads for what blocks, and steps that are repeated for ever.

A step that fails is tried again after a growing pause, and nothing a step raises ends the loop.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

from shared.errors import Reason, ServiceError
from shared.logs import FIELDS

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Worker:
    """A few threads with a queue, for SQLite, numpy and hnswlib.

    With one thread, what is run is also kept in order and apart.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result. When the caller is cancelled, a function that has begun still runs to its end."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, partial(function, *args, **kwargs))

    async def close(self) -> None:
        """Waits for what runs, drops what still waits."""
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)


class UpstreamError(Exception):
    """Another service did not do what it was asked; it is asked again later. `status`: its gRPC status, by name."""

    def __init__(self, status: str = "", *, passing: bool = True) -> None:
        super().__init__(status)
        self.status = status
        self.passing = passing
        """Whether that is expected to end by itself; what is not, is a defect or a wrong setting."""


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
            # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace.interval_s):
                    await self._woken.wait()

    async def _pause_after(self, error: Exception) -> None:
        fields = {"task": self._name}
        if isinstance(error, ServiceError) and error.reason is Reason.STORE_UNAVAILABLE:
            if self._failures == 0:
                log.warning("waiting for the store", extra={FIELDS: fields})
        elif not isinstance(error, UpstreamError):
            log.error("background step failed", exc_info=error, extra={FIELDS: fields})
        elif not error.passing:
            log.error("another service refused", extra={FIELDS: {**fields, "status": error.status}})
        elif self._failures == 0:
            log.warning("waiting for another service", extra={FIELDS: {**fields, "status": error.status}})
        pause = min(self._pace.retry_least_s * 2.0 ** min(self._failures, 32), self._pace.retry_most_s)
        self._failures += 1
        await asyncio.sleep(pause)
