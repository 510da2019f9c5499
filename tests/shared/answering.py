"""Servicers of the real contracts whose answers a test chooses: the services that the tests of the runtime run."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc
from homepage.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc

from shared.errors import ServiceError
from shared.rich_status import from_rpc_error
from shared.server import Runtime
from tests.conftest import RegisteredService

PROFILE = "homepage.profile.v1.Profile"
GET_PROFILE = f"{PROFILE}/GetProfile"
RETRIEVAL = "homepage.retrieval.v1.Retrieval"
REQUEST = profile_pb2.GetProfileRequest(user_id="ada")
ANSWER = profile_pb2.GetProfileResponse(profile=profile_pb2.UserProfile(version="7"))

Context = grpc.aio.ServicerContext[Any, Any]
GetProfile = Callable[[profile_pb2.GetProfileRequest, Context], Awaitable[profile_pb2.GetProfileResponse]]
ExportUser = Callable[[profile_pb2.ExportUserRequest, Context], AsyncIterator[profile_pb2.ExportUserResponse]]
PutItems = Callable[[AsyncIterator[retrieval_pb2.PutItemsRequest], Context], Awaitable[retrieval_pb2.PutItemsResponse]]


async def answer(request: profile_pb2.GetProfileRequest, context: Context) -> profile_pb2.GetProfileResponse:
    """A handler that answers at once."""
    return ANSWER


class Held:
    """A handler that tells when it has begun, answers when it is released, and notes how it ended."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(
        self, request: profile_pb2.GetProfileRequest, context: Context
    ) -> profile_pb2.GetProfileResponse:
        self.begun.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return ANSWER


class _Profile(profile_pb2_grpc.ProfileServicer):
    def __init__(self, get: GetProfile, export: ExportUser | None) -> None:
        self._get = get
        self._export = export

    async def GetProfile(self, request: Any, context: Any) -> profile_pb2.GetProfileResponse:
        return await self._get(request, context)

    async def ExportUser(self, request: Any, context: Any) -> AsyncIterator[profile_pb2.ExportUserResponse]:
        async for piece in self._export(request, context):
            yield piece


class _Retrieval(retrieval_pb2_grpc.RetrievalServicer):
    def __init__(self, put: PutItems) -> None:
        self._put = put

    async def PutItems(self, request_iterator: Any, context: Any) -> retrieval_pb2.PutItemsResponse:
        return await self._put(request_iterator, context)


def profile(get: GetProfile = answer, export: ExportUser | None = None) -> RegisteredService:
    """A Profile service with these handlers."""
    return RegisteredService((PROFILE,), (profile_pb2_grpc.add_ProfileServicer_to_server, _Profile(get, export)))


def retrieval(put: PutItems) -> RegisteredService:
    """A Retrieval service with this handler of its client stream."""
    return RegisteredService((RETRIEVAL,), (retrieval_pb2_grpc.add_RetrievalServicer_to_server, _Retrieval(put)))


class Middle(RegisteredService):
    """A Profile service that passes every GetProfile on to the one at `target`, as services do."""

    def __init__(self, runtime: Runtime, target: str) -> None:
        super().__init__((PROFILE,), (profile_pb2_grpc.add_ProfileServicer_to_server, _Profile(self._pass_on, None)))
        self._runtime = runtime
        self._target = target
        self.remaining_s: float | None = None
        """What the deadline of the last call left when it arrived."""

    async def start(self) -> None:
        self._channel = self._runtime.channel(self._target)
        self._leaf = profile_pb2_grpc.ProfileStub(self._channel)

    async def stop(self) -> None:
        await self._channel.close()

    async def _pass_on(
        self, request: profile_pb2.GetProfileRequest, context: Context
    ) -> profile_pb2.GetProfileResponse:
        self.remaining_s = context.time_remaining()
        return await self._leaf.GetProfile(request)


def reason_of(error: grpc.aio.AioRpcError) -> ServiceError:
    """What the error says in its details, which every error of this system carries."""
    read = from_rpc_error(error)
    assert read is not None, error
    return read
