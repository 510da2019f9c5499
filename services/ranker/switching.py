"""Brings the models of a registry up and swaps them without a failed or slowed call.

A new version is loaded in a thread, computes a first answer as one call among the others, and encodes the items that
its predecessor has cached, at bulk priority and for a limited time; then it takes the name. Whatever goes wrong before
is noted, and the predecessor stays. The registry is read again and again, so every ranker on it follows.
"""

import asyncio
import contextlib
import logging
import math
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from services.ranker.models import Attempt, Models, Served
from services.ranker.ranking import Ranking
from services.ranker.work import BatchFailedError, DeadlinePassedError, OverloadedError
from shared.clock import Clock
from shared.logs import FIELDS
from shared.model.adapter import import_peft
from shared.model.base import Base
from shared.model.blend import Blend
from shared.model.packed import PackedBert
from shared.model.ranking_model import RankingModel
from shared.model.registry import (
    NOTHING,
    OTHER_SURFACES,
    RegistryError,
    Serving,
    activate,
    deactivate,
    label_of,
    model_of,
    read_serving,
)
from shared.model.versions import VersionError, load_blend, load_version
from shared.model.zero_shot import ZERO_SHOT

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_S = 30.0
"""A version that the registry wants and that failed is tried again: a shared volume may show its files late."""
_NICENESS = 15
WARM_UP_S = 30.0
"""A device that people keep busy may never get to the items of a new version, which must not wait for ever."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """What versions are loaded with. `folder` None = there is no registry; times in seconds."""

    folder: Path | None
    base: Base
    packed: PackedBert
    poll_s: float
    warm_up_s: float = WARM_UP_S


def _step_back() -> None:
    """Lets the system prefer all other threads to this one: calls must not notice that a version is loading.

    With both cores of a machine busy, the median of calls during swaps was 1.1 to 1.2 times that of others, not 1.4.
    """
    if sys.platform == "linux":  # elsewhere niceness belongs to the process
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


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
        self._thread = ThreadPoolExecutor(1, "ranker-load", initializer=_step_back)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._applied = NOTHING
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
        write = partial(activate, self._registry, name, version, surface, stored=name != ZERO_SHOT)
        return await asyncio.shield(self._begun(self._activated(name, version, write)))

    def lacking(self) -> str:
        """Why not all that the registry wants is loaded; empty if it is."""
        return "; ".join(filter(None, (self._unreadable, *(each.failure for each in self._models.attempts()))))

    async def deactivate(self, name: str) -> None:
        """Takes a model out of the registry's line-up and out of this ranker's; calls in flight keep theirs.

        Raises:
            NoRegistryError, RegistryError, OSError: see `activate`.
        """
        await asyncio.shield(self._begun(self._deactivated(partial(deactivate, self._registry, name))))

    @property
    def _registry(self) -> Path:
        if self._workshop.folder is None:
            raise NoRegistryError
        return self._workshop.folder

    async def _activated(self, name: str, version: str, write: Callable[..., Serving]) -> Served:
        async with self._one_at_a_time:
            serving = await self._in_thread(partial(read_serving, self._registry))
            known = await self._in_thread((self._registry / model_of(name)).is_dir)
            known = known or (serving is not None and name in serving.current)
            served = await self._brought_up(name, version, noted=known)  # or anybody could fill the list of attempts
            serving = await self._in_thread(partial(write, lost=self._applied))
            self._line_up(served, serving)
            await self._apply(serving)
            return served

    async def _deactivated(self, write: Callable[..., Serving]) -> None:
        async with self._one_at_a_time:
            await self._apply(await self._in_thread(partial(write, lost=self._applied)))

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
                    fields = {"why": str(error)}
                    log.error("the registry cannot be read; what answers now goes on", extra={FIELDS: fields})
                self._unreadable = str(error)
                return
            self._unreadable = ""
            again = self._clock.monotonic() >= self._retry_at
            if serving is not None and (again or serving != self._applied):
                await self._apply(serving)

    async def _apply(self, serving: Serving) -> None:
        """Lines up what the registry says, each as soon as it is ready; a name whose version fails keeps its model."""
        retry_at = math.inf
        for name, version in serving.current.items():
            if name == ZERO_SHOT:
                continue  # always there; the version is what another base may have called it
            try:
                self._line_up(await self._brought_up(name, version), serving)
            except (VersionError, OverloadedError):  # noted and logged
                retry_at = self._clock.monotonic() + RETRY_S
        for attempt in self._models.attempts():
            if attempt.name not in serving.current:
                self._models.forget_attempt(attempt.name)
        before = self._models.now.models
        wanted = {name: served for name, served in before.items() if name in serving.current}
        for name in before.keys() - wanted.keys() - {ZERO_SHOT}:
            log.info("model taken out", extra={FIELDS: {"model": name, "version": before[name].version}})
        for name in {*serving.defaults.values()} - serving.current.keys() - {ZERO_SHOT}:
            log.warning("a default of the registry is not one of its models", extra={FIELDS: {"model": name}})
        self._models.line_up(wanted, serving.defaults)
        self._applied, self._retry_at = serving, retry_at
        self._changed(self._models)

    def _line_up(self, served: Served, serving: Serving) -> None:
        """One model takes its name, and every surface whose default is ready now; all else stays for the time being."""
        now = self._models.now
        models = {**now.models, served.name: served}
        ready = {surface: name for surface, name in serving.defaults.items() if name in models}
        self._models.line_up(models, {**now.defaults, **ready})
        self._changed(self._models)

    async def _brought_up(self, name: str, version: str, *, noted: bool = True) -> Served:
        """The version, loaded and warmed up; the attempt is noted if `noted`, and stays so where it fails.

        Raises:
            VersionError, OverloadedError: see `activate`.
        """
        served = self._models.now.models.get(name)
        if served is None or served.version != version:
            if noted:
                self._models.attempt(Attempt(name, version))
            told = {"model": name, "version": version}
            try:
                model, blend = await self._tried(name, version)
            except (VersionError, OverloadedError) as error:
                why = str(error) if isinstance(error, VersionError) else "there is no room to try it now"
                if noted:
                    self._models.attempt(Attempt(name, version, why))
                    self._changed(self._models)
                log.error("model refused", extra={FIELDS: {**told, "why": why}})
                raise
            served = Served(model, self._clock.now(), label_of(name), blend)
            log.info("model loaded", extra={FIELDS: told})
        self._models.forget_attempt(name)
        return served

    async def _tried(self, name: str, version: str) -> tuple[RankingModel, Blend | None]:
        """The model after it has given a first answer, the way calls take, and knows the items of its predecessor; and
        what it is blended with."""
        line_up = self._models.now
        if name == ZERO_SHOT:
            built_in = line_up.models[name].version
            raise VersionError(f"the model {name} is built in and has one version, {built_in}; activate that")
        like = (name, model_of(name), line_up.defaults[OTHER_SURFACES])
        predecessor = next(line_up.models[each] for each in like if each in line_up.models)
        try:
            folder = self._registry / model_of(name) / version
            model = await self._in_thread(partial(load_version, folder, self._workshop.base, self._workshop.packed))
            blend = await self._in_thread(partial(load_blend, folder))
            if not await self._ranking.answers(model):
                raise VersionError(f"model version {name}/{version}: it gives no finite probabilities; train it again")
            await self._warmed_up(model, predecessor.model)
        except (VersionError, OverloadedError):
            raise
        except DeadlinePassedError:  # of its first answer; the caller's is none of our business
            raise OverloadedError(RETRY_S) from None
        except Exception as error:  # of PyTorch, for want of memory, or of a device that has died
            log.exception("model not loaded")
            why = "it cannot be loaded on this machine; the ranker's log has the cause"
            raise VersionError(f"model version {name}/{version}: {why}") from error
        return model, blend

    async def _warmed_up(self, model: RankingModel, predecessor: RankingModel) -> None:
        """Calls go before: warming ends where there is no room or no time for it."""
        try:
            async with asyncio.timeout(self._workshop.warm_up_s):
                await self._ranking.warm(model, like=predecessor)
        except (OverloadedError, BatchFailedError, TimeoutError):
            log.warning("not all items of the old model could be encoded for the new one")

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _begun(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that is kept until it is done, and that `end` cancels."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
