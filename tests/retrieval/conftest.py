"""A retrieval service between a real ranker and a real profile service that behave as a test tells them to."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc
from homepage.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from homepage.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from homepage.types.v1 import event_pb2, item_pb2

from services.retrieval.service import RetrievalService
from services.retrieval.settings import RetrievalSettings
from shared.clock import ManualClock
from shared.errors import Reason, ServiceError
from shared.server import Runtime, ServiceHost
from shared.timestamps import to_timestamp
from tests.redis_server import RedisServer

NOW = 1_750_000_000.0
DIMENSIONS = 64


class FakeRanker(ranker_pb2_grpc.RankerServicer):
    """Embeds a text as the sum of one random direction per word, so texts that share words are near."""

    def __init__(self) -> None:
        self.version = "words-1"
        self.away = False
        self.refused_word = ""
        self.embedded: list[str] = []
        self.failed = asyncio.Event()

    async def Embed(self, request: ranker_pb2.EmbedRequest, context: Any) -> ranker_pb2.EmbedResponse:
        if self.away:
            self.failed.set()
            raise ServiceError(Reason.NOT_READY, "away")
        if self.refused_word and any(self.refused_word in item.title for item in request.items):
            raise ServiceError(Reason.INVALID_FIELD, "refused")
        self.embedded += [item.item_id for item in request.items]
        vectors = [self._vector(f"{item.title} {item.category}") for item in request.items]
        return ranker_pb2.EmbedResponse(
            embeddings=[ranker_pb2.Embedding(values=vector) for vector in vectors],
            embedding_version=self.version,
            dimensions=DIMENSIONS,
        )

    def _vector(self, text: str) -> np.ndarray:
        total = np.zeros(DIMENSIONS)
        for word in text.lower().split():
            seed = int.from_bytes(hashlib.blake2b(f"{self.version} {word}".encode(), digest_size=8).digest(), "big")
            total += np.random.default_rng(seed).standard_normal(DIMENSIONS)
        return total / np.linalg.norm(total)


class FakeProfile(profile_pb2_grpc.ProfileServicer):
    """An event log in a list; a cursor is the log's name and a position in it."""

    def __init__(self) -> None:
        self.log: list[profile_pb2.LoggedEvent] = []
        self.log_id = "first"
        self.away = False
        self.fail_after_pages: int | None = None
        self.failed = asyncio.Event()
        self.purposes: set[int] = set()
        self.unknown_cursors = 0

    def add(self, item_id: str, action: int, time: float, value: float = 0.0) -> None:
        event = event_pb2.Event(
            event_id=str(len(self.log)), item_id=item_id, action=action, time=to_timestamp(time), value=value
        )
        self.log.append(profile_pb2.LoggedEvent(subject="s", event=event))

    async def ReadEvents(
        self, request: profile_pb2.ReadEventsRequest, context: Any
    ) -> AsyncIterator[profile_pb2.ReadEventsResponse]:
        self.purposes.add(request.purpose)
        if self.away:
            self.failed.set()
            raise ServiceError(Reason.NOT_READY, "away")
        log_id, _, position = (request.cursor or f"{self.log_id}-0").partition("-")
        if log_id != self.log_id:
            self.unknown_cursors += 1
            raise ServiceError(Reason.INVALID_TOKEN, "not of this log")
        start = int(position)
        pages = 0
        while True:
            if self.fail_after_pages is not None and pages >= self.fail_after_pages:
                self.fail_after_pages = None
                self.failed.set()
                raise ServiceError(Reason.NOT_READY, "away")
            page = self.log[start : start + request.page_size]
            start += len(page)
            yield profile_pb2.ReadEventsResponse(events=page, next_cursor=f"{self.log_id}-{start}")
            pages += 1
            if start == len(self.log):
                return


@dataclass(frozen=True)
class Retrieval:
    """A running retrieval service, a stub of it, and what tests ask it most."""

    service: RetrievalService
    host: ServiceHost
    stub: retrieval_pb2_grpc.RetrievalStub
    runtime: Runtime

    async def put(self, *items: item_pb2.Item) -> retrieval_pb2.PutItemsResponse:
        return await self.stub.PutItems(iter([retrieval_pb2.PutItemsRequest(items=items)]))

    async def get(self, *item_ids: str) -> retrieval_pb2.GetItemsResponse:
        return await self.stub.GetItems(retrieval_pb2.GetItemsRequest(item_ids=item_ids))

    async def status(self) -> retrieval_pb2.GetIndexStatusResponse:
        return await self.stub.GetIndexStatus(retrieval_pb2.GetIndexStatusRequest())

    async def retrieve(self, **fields: Any) -> retrieval_pb2.RetrieveResponse:
        return await self.stub.Retrieve(retrieval_pb2.RetrieveRequest(**fields))

    async def embedded(self) -> None:
        """Returns when no item waits for its vector."""
        await asyncio.wait_for(self.service.embedding.idle(), 20)

    async def counted(self) -> None:
        """Returns when the event log has been counted to its end."""
        await asyncio.wait_for(self.service.counting.idle(), 20)

    async def followed(self) -> None:
        """Returns when everything that others changed so far has been taken over."""
        await asyncio.wait_for(self.service.following.idle(), 20)

    async def graphs_built(self) -> None:
        """Returns when no index waits for its graph."""
        await asyncio.wait_for(self.service.graph_keeping.idle(), 60)


StartRetrieval = Callable[..., Awaitable[Retrieval]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def ranker() -> FakeRanker:
    return FakeRanker()


@pytest.fixture
def profile() -> FakeProfile:
    return FakeProfile()


class _Upstream:
    """The smallest service: one servicer."""

    def __init__(self, name: str, add: Callable[..., None], servicer: object) -> None:
        self.names = (name,)
        self._add = add
        self._servicer = servicer

    def register(self, server: grpc.aio.Server) -> None:
        self._add(self._servicer, server)

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True)
class Upstreams:
    """Where this test's ranker and profile service listen."""

    ranker_address: str
    profile_address: str


@pytest.fixture
async def upstreams(start_service: Any, ranker: FakeRanker, profile: FakeProfile) -> Upstreams:
    ranker_service = _Upstream("homepage.ranker.v1.Ranker", ranker_pb2_grpc.add_RankerServicer_to_server, ranker)
    profile_service = _Upstream("homepage.profile.v1.Profile", profile_pb2_grpc.add_ProfileServicer_to_server, profile)
    return Upstreams((await start_service(ranker_service)).address, (await start_service(profile_service)).address)


@pytest.fixture
async def start_retrieval(
    start_service: Any,
    open_test_channel: Any,
    upstreams: Upstreams,
    tmp_path: Path,
    clock: ManualClock,
) -> StartRetrieval:
    """`await start_retrieval(**settings)`: a service over this test's library; a second call takes the same file."""

    async def start(**changes: Any) -> Retrieval:
        defaults = {
            "listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0",
            "metrics_listen": "",
            "grace_s": 1.0,
            "database": tmp_path / "library" / "retrieval.db",
            "ranker_address": upstreams.ranker_address,
            "profile_address": upstreams.profile_address,
            "event_poll_interval_s": 3600.0,
            "retry_least_s": 0.01,
            "retry_most_s": 0.05,
        }
        settings = RetrievalSettings(**{**defaults, **changes})
        runtime = Runtime(settings, clock=clock)
        service = RetrievalService(runtime, settings)
        host = await start_service(service, runtime)
        stub = retrieval_pb2_grpc.RetrievalStub(open_test_channel(host))
        return Retrieval(service, host, stub, runtime)

    return start


@pytest.fixture
def shared(redis_server: RedisServer, tmp_path: Path) -> dict[str, Any]:
    """`await start_retrieval(**shared)`: replicas with one library in Redis, which follow when they are told to."""
    return {
        "store": "redis",
        "redis_url": redis_server.url,
        "redis_key_prefix": f"{tmp_path}:",
        "follow_interval_s": 60,
    }


@pytest.fixture
def make_item() -> Callable[..., item_pb2.Item]:
    """`make_item("id", "title", published=seconds before NOW, **fields)`."""

    def make(item_id: str, title: str = "", published: float | None = None, **fields: Any) -> item_pb2.Item:
        item = item_pb2.Item(item_id=item_id, title=title or f"title of {item_id}", **fields)
        if published is not None:
            item.published_at.CopyFrom(to_timestamp(NOW - published))
        return item

    return make


@pytest.fixture
def make_history() -> Callable[..., list[retrieval_pb2.HistoryEntry]]:
    """`make_history("a", "b", action=…)`: entries newest first, clicks unless told otherwise."""

    def make(*item_ids: str, action: int = event_pb2.ACTION_CLICK) -> list[retrieval_pb2.HistoryEntry]:
        return [retrieval_pb2.HistoryEntry(item_id=item_id, action=action) for item_id in item_ids]

    return make


@pytest.fixture
def ids_of() -> Callable[..., list[str]]:
    """The item ids of a RetrieveResponse's candidates, in order."""

    def read(response: retrieval_pb2.RetrieveResponse) -> list[str]:
        return [candidate.item.item_id for candidate in response.candidates]

    return read


def _violations(error: BaseException) -> list[str]:
    from shared.rich_status import from_rpc_error

    assert isinstance(error, grpc.aio.AioRpcError)
    read = from_rpc_error(error)
    assert read is not None
    assert read.reason is Reason.INVALID_FIELD
    return [violation.field for violation in read.violations]


@pytest.fixture
def violations_of() -> Callable[[Awaitable[Any]], Awaitable[Sequence[str]]]:
    """The fields that a refused call complains of."""

    async def fields(call: Awaitable[Any]) -> Iterable[str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        return _violations(caught.value)

    return fields
