"""Wires the parts of the retrieval service.

Three kinds of thread beside the event loop: one that changes the library, a few that read it, one that builds graphs.
Tasks on the loop keep the library up to date: vectors from the ranker, popularity from the event log, graphs; and,
where replicas share it, what the others have changed.
Ready as soon as the library is in memory; vectors without a graph are searched exactly meanwhile.
"""

import logging
import random
import threading

import grpc
from homepage.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc

from services.retrieval.background import Background, Pace, Worker
from services.retrieval.embedder import Embedder, EmbedderOptions
from services.retrieval.graph_builder import Build, GraphKeeper, build_graph
from services.retrieval.index import VectorIndex
from services.retrieval.library import Library
from services.retrieval.library_writer import LibraryWriter
from services.retrieval.popularity import EventCounter
from services.retrieval.retrieve import Retriever
from services.retrieval.servicer import RetrievalServicer
from services.retrieval.settings import RetrievalSettings
from services.retrieval.sqlite_store import SqliteStore
from services.retrieval.upstreams import ProfileEvents, RankerEmbeddings
from shared.logs import FIELDS
from shared.metrics import LIBRARY_ITEMS, Metrics
from shared.server import Runtime

log = logging.getLogger(__name__)


class RetrievalService:
    """The retrieval service; see shared.server.Service."""

    names: tuple[str, ...] = (retrieval_pb2.DESCRIPTOR.services_by_name["Retrieval"].full_name,)

    def __init__(self, runtime: Runtime, settings: RetrievalSettings) -> None:
        self._runtime = runtime
        self._settings = settings
        self._writing = Worker("library-writer")
        self._reading = Worker("library-reader", settings.search_threads)
        self._building = Worker("graph-builder")
        self._stopping = threading.Event()
        self._channels: list[grpc.aio.Channel] = []
        self._tasks: list[Background] = []
        self.library = _library(runtime, settings)
        self._writer = LibraryWriter(self.library, self._writing)
        retriever = Retriever(settings.freshness_half_life_s, runtime.clock.monotonic)
        self._servicer = RetrievalServicer(self.library, self._writer, self._reading, retriever, runtime)

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        retrieval_pb2_grpc.add_RetrievalServicer_to_server(self._servicer, server)

    async def start(self) -> None:
        """Loads the library, then begins to keep it up to date."""
        if self._settings.store == "redis":
            from shared.redis_server import until_fit  # see _library

            await until_fit(self._settings.redis_options("library"))
        await self._writing.run(self.library.open)
        log.info("store open", extra={FIELDS: {"store": self._settings.store, "at": self._settings.store_at}})
        _show(self.library, self._runtime.metrics)
        self._tasks = [self._embedding(), self._counting(), self._graph_keeping(), self._following()]
        self.embedding, self.counting, self.graph_keeping, self.following = self._tasks
        self._writer.wakes = (self.embedding, self.graph_keeping)
        for task in self._tasks:
            task.start()

    async def stop(self) -> None:
        """Ends the tasks and closes everything; what is acknowledged is on disk already. May be called twice."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        for task in self._tasks:
            await task.stop()
        for channel in self._channels:
            await channel.close()
        await self._building.close()
        await self._reading.close()
        await self._writing.run(self.library.close)
        await self._writing.close()

    def _embedding(self) -> Background:
        settings = self._settings
        source = RankerEmbeddings(self._channel(settings.ranker_address), settings.upstream_timeout_s)
        options = EmbedderOptions(settings.embed_batch_size, settings.version_check_interval_s)
        embedder = Embedder(self.library, self._writer, source, options, self._runtime.clock.monotonic)
        return Background("embedding", embedder.step, self._pace(settings.version_check_interval_s))

    def _counting(self) -> Background:
        settings = self._settings
        channel = self._channel(settings.profile_address)
        source = ProfileEvents(channel, settings.upstream_timeout_s, settings.event_page_size)
        counter = EventCounter(source, self._writer)
        return Background("counting", counter.step, self._pace(settings.event_poll_interval_s))

    def _graph_keeping(self) -> Background:
        keeper = GraphKeeper(self.library.stale_index, self._build, self._writer.adopt)
        return Background("graph keeping", keeper.step, self._pace(None))

    def _following(self) -> Background:
        interval_s = self._settings.follow_interval_s if self._settings.store == "redis" else None
        return Background("following", self._follow, self._pace(interval_s))

    async def _follow(self) -> bool:
        await self._writer.follow()
        return False

    async def _build(self, index: VectorIndex) -> Build:
        return await self._building.run(build_graph, index, self._settings.graph_threads, self._stopping.is_set)

    def _pace(self, interval_s: float | None) -> Pace:
        return Pace(interval_s, self._settings.retry_least_s, self._settings.retry_most_s)

    def _channel(self, address: str) -> grpc.aio.Channel:
        channel = self._runtime.channel(address)
        self._channels.append(channel)
        return channel


def _library(runtime: Runtime, settings: RetrievalSettings) -> Library:
    half_life_s = settings.popularity_half_life_s
    if settings.store == "redis":
        # Not above: redis-py takes a third of a second to import, and most processes do without.
        from services.retrieval.redis_store import RedisStore

        return Library(RedisStore(settings.redis_options("library"), runtime.ids), half_life_s, random.Random())
    return Library(SqliteStore(settings.database), half_life_s)


def _show(library: Library, metrics: Metrics) -> None:
    """Counts the library's items whenever metrics are read."""
    metrics.gauge(LIBRARY_ITEMS, "all").set_function(lambda: library.status().items)
    metrics.gauge(LIBRARY_ITEMS, "indexed").set_function(lambda: library.status().indexed)
    metrics.gauge(LIBRARY_ITEMS, "pending").set_function(lambda: library.status().pending)
