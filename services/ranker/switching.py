"""Brings the models of a registry up and swaps them without a failed or slowed call.

A new version is loaded in a thread, computes a first answer, and encodes the items that its predecessor has cached,
all at bulk priority beside the calls; only then does it take the name. Whatever goes wrong before is noted, and the
predecessor stays. The registry is read again and again, so every ranker on it follows.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from services.ranker.models import EVERY_SURFACE, Attempt, Models, Served
from services.ranker.ranking import Ranking
from services.ranker.work import BatchFailedError, OverloadedError
from shared.clock import Clock
from shared.logs import FIELDS
from shared.model.adapter import import_peft
from shared.model.base import Base
from shared.model.packed import PackedBert
from shared.model.ranking import RankingModel
from shared.model.registry import RegistryError, Serving, activate, read_serving
from shared.model.versions import VersionError, load_version
from shared.model.zero_shot import ZERO_SHOT

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_S = 30.0
"""A version that the registry wants and that failed is tried again: a shared volume may show its files late."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """What versions are loaded with. `folder` None = there is no registry."""

    folder: Path | None
    base: Base
    packed: PackedBert
    poll_s: float


class NoRegistryError(Exception):
    """This ranker has no registry to activate versions from."""


class Switching:
    """`begin` at the start, `activate` on demand, `end` at the end."""

    def __init__(
        self,
        workshop: Workshop,
        models: Models,
        ranking: Ranking,
        clock: Clock,
        changed: Callable[[Models], None],
    ) -> None:
        """`changed` is called after every change of the line-up, and when a version fails."""
        self._changed = changed
        self._workshop = workshop
        self._models = models
        self._ranking = ranking
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ranker-load")
        self._tasks: set[asyncio.Task[Any]] = set()
        self._applied = Serving()
        self._retry_at = math.inf
        self._unreadable = ""

    async def begin(self) -> None:
        """Brings up what the registry says, then keeps watching it. A version that fails does not stop the start."""
        self._changed(self._models)
        if self._workshop.folder is not None:
            await self._in_thread(import_peft)  # or the first swap would, beside the calls
            await self._follow()
            self._begun(self._watch())

    async def end(self) -> None:
        """Stops watching, and gives up what is not swapped yet. A file that is being read is not waited for."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def activate(self, name: str, version: str, surface: str) -> Served:
        """Loads a version, writes to the registry that it is the one, and swaps; the built-in one needs no loading.

        Once begun it goes on to its end, whether or not its caller waits.

        Raises:
            NoRegistryError: when there is no registry.
            VersionError, RegistryError: why the version cannot answer.
            OverloadedError: when there is no room to try it.
            OSError: when the registry cannot be written.
        After any of these nothing has changed.
        """
        write = partial(activate, self._registry, name, version, surface)
        return await asyncio.shield(self._begun(self._activated(name, version, write)))

    @property
    def _registry(self) -> Path:
        if self._workshop.folder is None:
            raise NoRegistryError
        return self._workshop.folder

    async def _activated(self, name: str, version: str, write: Callable[[], Serving]) -> Served:
        async with self._one_at_a_time:
            served = await self._brought_up(name, version)
            serving = await self._in_thread(write)
            await self._apply(serving, {name: served})
            return served

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._workshop.poll_s)
            try:
                await self._follow()
            except Exception:
                log.exception("the registry cannot be followed")

    async def _follow(self) -> None:
        """Applies what the registry says where that is new, or where it is time to try again what failed.

        While it says nothing, being gone or damaged, all stays as it is.
        """
        async with self._one_at_a_time:
            try:
                serving = await self._in_thread(partial(read_serving, self._registry))
            except RegistryError as error:
                if str(error) != self._unreadable:  # once, not at every look
                    log.error("the registry cannot be read; the models stay", extra={FIELDS: {"why": str(error)}})
                self._unreadable = str(error)
                return
            self._unreadable = ""
            again = self._clock.monotonic() >= self._retry_at
            if serving != Serving() and (again or serving != self._applied):
                await self._apply(serving, {})

    async def _apply(self, serving: Serving, ready: Mapping[str, Served]) -> None:
        """Lines up what the registry says; a name whose version fails keeps the model it has."""
        before = self._models.now.models
        after: dict[str, Served] = {}
        retry_at = math.inf
        for name, version in serving.current.items():
            if name == ZERO_SHOT:
                continue  # always there; the version is what another base may have called it
            try:
                after[name] = ready.get(name) or await self._brought_up(name, version)
            except (VersionError, OverloadedError):  # noted and logged
                retry_at = self._clock.monotonic() + RETRY_S
                if name in before:
                    after[name] = before[name]
        for attempt in self._models.attempts():
            if attempt.name not in serving.current:
                self._models.forget_attempt(attempt.name)
        self._models.line_up(after, serving.defaults)
        self._applied, self._retry_at = serving, retry_at
        self._changed(self._models)

    async def _brought_up(self, name: str, version: str) -> Served:
        """The version, loaded and warmed up; where that fails, the attempt stays noted.

        Raises:
            VersionError, OverloadedError: see `activate`.
        """
        served = self._models.now.models.get(name)
        if served is None or served.version != version:
            self._models.attempt(Attempt(name, version))
            told = {"model": name, "version": version}
            try:
                model = await self._tried(name, version)
            except (VersionError, OverloadedError) as error:
                self._models.attempt(Attempt(name, version, str(error)))
                self._changed(self._models)
                log.error("model refused", extra={FIELDS: {**told, "why": str(error)}})
                raise
            served = Served(model, self._clock.now())
            log.info("model loaded", extra={FIELDS: told})
        self._models.forget_attempt(name)
        return served

    async def _tried(self, name: str, version: str) -> RankingModel:
        """The model after it has given a first answer, the way calls take, and knows the items of its predecessor."""
        line_up = self._models.now
        if name == ZERO_SHOT:
            built_in = line_up.models[name].version
            raise VersionError(f"the model {name} is built in and has one version, {built_in}; activate that")
        predecessor = line_up.models.get(name) or line_up.models[line_up.defaults[EVERY_SURFACE]]
        try:
            folder = self._registry / name / version
            model = await self._in_thread(partial(load_version, folder, self._workshop.base, self._workshop.packed))
            if not await self._ranking.answers(model):
                raise VersionError(f"model version {name}/{version}: it gives no finite probabilities; train it again")
            await self._warmed_up(model, predecessor.model)
        except (VersionError, OverloadedError):
            raise
        except Exception as error:  # of PyTorch, for want of memory, or of a device that has died
            log.exception("model not loaded")
            why = "it cannot be loaded on this machine; the ranker's log has the cause"
            raise VersionError(f"model version {name}/{version}: {why}") from error
        return model

    async def _warmed_up(self, model: RankingModel, predecessor: RankingModel) -> None:
        """Calls go before: warming ends where there is no room for it."""
        try:
            await self._ranking.warm(model, like=predecessor)
        except (OverloadedError, BatchFailedError):
            log.warning("not all items of the old model could be encoded for the new one")

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _begun(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that is kept until it is done, and that `end` cancels."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
