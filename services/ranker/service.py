"""Wires the ranker: loads in a thread, starts the batcher, brings up the registry, is ready after real answers."""

import asyncio
import logging

import grpc
from homepage.ranker.v1 import ranker_pb2, ranker_pb2_grpc

from services.ranker.batcher import Batcher
from services.ranker.caches import Bounds, CacheBounds, Caches
from services.ranker.instruments import Instruments
from services.ranker.jobs import Job, ModelScorer, Outcome
from services.ranker.loading import load
from services.ranker.models import Models, Served
from services.ranker.ranking import Parts, Ranking
from services.ranker.servicer import RankerServicer, Room
from services.ranker.settings import RankerSettings
from services.ranker.switching import Switching, Workshop
from services.ranker.work import BatchFailedError, DeadlinePassedError, DeviceMemoryError
from shared.model.ranking_model import RankingModel
from shared.server import Runtime
from shared.start import StartError

log = logging.getLogger(__name__)

_FORGET_EVERY_S = 1.0
"""Seldom turns would drop much at once, and hold calls up."""


class RankerService:
    """The ranker as a service; see shared.server.Service."""

    names: tuple[str, ...] = (ranker_pb2.DESCRIPTOR.services_by_name["Ranker"].full_name,)

    def __init__(self, settings: RankerSettings, runtime: Runtime) -> None:
        self._settings = settings
        self._runtime = runtime
        self._room = Room(Models(), runtime.clock)
        self._batcher: Batcher[Job, Outcome] | None = None
        self._forgetting: asyncio.Task[None] | None = None

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer; calls are refused until `start` returns."""
        ranker_pb2_grpc.add_RankerServicer_to_server(RankerServicer(self._room), server)

    async def start(self) -> None:
        """Loads and warms up.

        Raises:
            StartError: when the model or the device cannot be had; the text says why.
        """
        settings, clock = self._settings, self._runtime.clock
        try:
            loaded = await asyncio.to_thread(load, settings, clock)
        except ValueError as error:  # shared.model's own, written for whoever chose the model
            raise StartError(str(error)) from error
        except (DeviceMemoryError, RuntimeError) as error:  # PyTorch's text may hold anything; the log has its kind
            log.exception("the model cannot be computed here")
            why = "the device fails, or has no memory for the model; HOMEPAGE_RANKER_DEVICE=cpu does without it"
            raise StartError(why) from error
        instruments = Instruments(self._runtime.metrics, self._runtime.fitness)
        caches = Caches(_bounds(settings), clock)
        scorer = ModelScorer(caches)
        scorer.watch(loaded.model)
        self._batcher = Batcher(scorer, loaded.limits, clock, instruments)
        self._batcher.start()
        ranking = self._room.ranking = Ranking(Parts(self._batcher, caches, instruments, clock))
        if not await _answers(ranking, loaded.model):
            raise StartError(
                f"the model {loaded.model.manifest.version} gives no scores on this device; "
                "see the log, or try HOMEPAGE_RANKER_DEVICE=cpu and HOMEPAGE_RANKER_DTYPE=float32"
            )
        self._room.models.begin(Served(loaded.model, clock.now()))
        workshop = Workshop(settings.registry, loaded.base, loaded.packed, settings.registry_poll_s)
        self._room.switching = Switching(workshop, self._room.models, ranking, clock, instruments.models_changed)
        await self._room.switching.begin()
        if settings.require_models and (why := self._room.switching.lacking()):
            raise StartError(f"{why} (HOMEPAGE_RANKER_REQUIRE_MODELS)")
        instruments.budget_changed(loaded.limits.interactive_tokens)
        instruments.watch_memory(caches)
        self._forgetting = asyncio.create_task(_forget_idle(caches), name="forget-idle")

    async def stop(self) -> None:
        """Finishes what is queued and ends the threads."""
        if self._forgetting is not None:
            self._forgetting.cancel()
        if self._room.switching is not None:
            await self._room.switching.end()
        if self._batcher is not None:
            await self._batcher.drain(self._settings.grace_s)
        if self._room.ranking is not None:
            self._room.ranking.close()


async def _forget_idle(caches: Caches) -> None:
    """Users' contexts go after a while though no call comes by."""
    while True:
        await asyncio.sleep(_FORGET_EVERY_S)
        caches.forget_idle()


def _bounds(settings: RankerSettings) -> CacheBounds:
    return CacheBounds(
        tokens=Bounds(settings.token_cache_bytes),
        items=Bounds(settings.item_cache_bytes),
        contexts=Bounds(settings.context_cache_bytes, settings.context_cache_idle_s),
    )


async def _answers(ranking: Ranking, model: RankingModel) -> bool:
    try:
        return await ranking.answers(model)
    except (BatchFailedError, DeadlinePassedError):  # the one is logged; the other is a device that hardly moves
        return False
