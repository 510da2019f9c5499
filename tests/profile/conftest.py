"""A real profile service over a file of its own, and a stub for it."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from homepage.profile.v1 import profile_pb2_grpc

from services.profile.service import ProfileService
from services.profile.settings import ProfileSettings
from shared.clock import ManualClock
from shared.ids import seeded_ids
from shared.server import Runtime, ServiceHost
from tests.profile.samples import NOW

Stub = profile_pb2_grpc.ProfileStub
StartProfile = Callable[[], Awaitable[tuple[ServiceHost, Runtime]]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
async def start_profile(
    start_service: Callable[..., Awaitable[ServiceHost]], tmp_path: Path, clock: ManualClock
) -> StartProfile:
    """Starts the service over the test's database."""

    async def start() -> tuple[ServiceHost, Runtime]:
        listen = f"unix:{tmp_path}/profile.sock"
        settings = ProfileSettings(
            listen=listen, admin_listen="127.0.0.1:0", metrics_listen="", database=tmp_path / "profile.db", grace_s=1
        )
        runtime = Runtime(settings, clock, seeded_ids(3))
        return await start_service(ProfileService(runtime, settings), runtime), runtime

    return start


@pytest.fixture
async def runtime_and_stub(
    start_profile: Callable[..., Awaitable[tuple[ServiceHost, Runtime]]],
    open_test_channel: Callable[..., grpc.aio.Channel],
) -> tuple[Runtime, Stub]:
    host, runtime = await start_profile()
    return runtime, profile_pb2_grpc.ProfileStub(open_test_channel(host))


@pytest.fixture
def profile(runtime_and_stub: tuple[Runtime, Stub]) -> Stub:
    return runtime_and_stub[1]


@pytest.fixture
def runtime(runtime_and_stub: tuple[Runtime, Stub]) -> Runtime:
    return runtime_and_stub[0]
