"""Wires the ranker: loads the model in a thread, starts the batcher, is ready after a real forward pass."""

import asyncio
import logging

import grpc
import torch
from homepage.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from transformers.utils import logging as transformers_logging

from services.ranker.batcher import Batcher
from services.ranker.instruments import Instruments
from services.ranker.models import LoadedModel, Models
from services.ranker.servicer import RankerServicer
from services.ranker.settings import RankerSettings
from services.ranker.vector_cache import VectorCache
from services.ranker.vectors import CachingEncoder, EncodeJob, Parts, VectorSource
from services.ranker.work import BatchLimits
from shared.logs import FIELDS
from shared.model.base import load_base
from shared.model.encoder import Vectors
from shared.model.placement import Placement, place
from shared.model.zero_shot import ZeroShotModel
from shared.server import Runtime
from shared.start import StartError

log = logging.getLogger(__name__)


class RankerService:
    """The ranker as a service; see shared.server.Service."""

    names: tuple[str, ...] = (ranker_pb2.DESCRIPTOR.services_by_name["Ranker"].full_name,)

    def __init__(self, settings: RankerSettings, runtime: Runtime) -> None:
        self._settings = settings
        self._runtime = runtime
        self._models = Models()
        self._batcher: Batcher[EncodeJob, Vectors] | None = None
        self._source: VectorSource | None = None

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer; calls are refused until `start` returns."""
        ranker_pb2_grpc.add_RankerServicer_to_server(RankerServicer(self._models), server)

    async def start(self) -> None:
        """Loads and warms up.

        Raises:
            StartError: when the model or the device cannot be had; the text says why.
        """
        clock = self._runtime.clock
        try:
            placement = place(self._settings.device, self._settings.dtype)
            model = await asyncio.to_thread(_load, self._settings, placement)
        except ValueError as error:  # shared.model's own, written for whoever chose the model
            raise StartError(str(error)) from error
        limits = BatchLimits(
            queue_tokens=self._settings.max_queue_tokens,
            interactive_tokens=self._settings.max_batch_tokens,
            bulk_tokens=self._settings.bulk_batch_tokens,
        )
        instruments = Instruments(self._runtime.metrics)
        cache = VectorCache(self._settings.vector_cache_bytes)
        self._batcher = Batcher(CachingEncoder(model, cache), limits, clock, instruments)
        self._batcher.start()
        self._source = VectorSource(Parts(model, cache, self._batcher, limits, instruments), clock)
        loaded = LoadedModel(model, self._source, clock.now())
        await loaded.warm_up()
        self._models.add(loaded)
        fields = {"version": model.manifest.version, "device": placement.device, "dtype": placement.dtype}
        log.info("model ready", extra={FIELDS: fields})

    async def stop(self) -> None:
        """Finishes what is queued and ends the threads."""
        if self._batcher is not None:
            await self._batcher.drain()
        if self._source is not None:
            self._source.close()


def _load(settings: RankerSettings, placement: Placement) -> ZeroShotModel:
    # Progress bars and load reports would break the log's lines of JSON; load_base checks what the reports tell.
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    if settings.threads:
        torch.set_num_threads(settings.threads)
    return ZeroShotModel(load_base(settings.model), placement)
