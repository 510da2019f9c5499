"""Threads for what would block the event loop: SQLite, numpy, hnswlib."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Worker:
    """A few threads with a queue; with one thread, what is run is also kept in order and apart."""

    def __init__(self, name: str, threads: int = 1) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result. When the caller is cancelled, a function that has begun still runs to its end."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, partial(function, *args, **kwargs))

    async def close(self) -> None:
        """Waits for what runs, drops what still waits."""
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)
