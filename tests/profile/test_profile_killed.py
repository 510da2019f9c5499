"""An acknowledged event is on disk: the process is killed in the middle of writing, and loses nothing."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc

from tests.profile.samples import batch, by, event_message
from tests.redis_server import RedisServer

WRITERS = 16
KILL_AFTER = 300


@asynccontextmanager
async def running(
    folder: Path, store: Mapping[str, str]
) -> AsyncIterator[tuple[asyncio.subprocess.Process, grpc.aio.Channel]]:
    """The service as a process of its own, once it is ready."""
    address = f"unix:{folder}/profile.sock"
    prefix = "HOMEPAGE_PROFILE_"
    settings = {"LISTEN": address, "ADMIN_LISTEN": "127.0.0.1:0", "METRICS_LISTEN": "", "LOG_LEVEL": "error", **store}
    environment = {**os.environ, **{prefix + name: value for name, value in settings.items()}}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.profile", env=environment)
    channel = grpc.aio.insecure_channel(address, options=[("grpc.initial_reconnect_backoff_ms", 50)])
    try:
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=10
        )
        async for status in watch:
            if status.status == health_pb2.HealthCheckResponse.SERVING:
                break
        watch.cancel()
        yield process, channel
    finally:
        await channel.close()
        if process.returncode is None:
            process.kill()
        await process.wait()


class Writers:
    """Write pairs of events until the service is gone; note what was acknowledged."""

    def __init__(self, stub: profile_pb2_grpc.ProfileStub) -> None:
        self._stub = stub
        self.acknowledged: set[str] = set()
        self.sent: set[str] = set()
        self.enough = asyncio.Event()

    async def write(self, writer: int) -> None:
        number = 0
        while True:
            pair = (f"w{writer}-{number}-a", f"w{writer}-{number}-b")
            request = batch(*(by("ann", event_message(event_id, category="news")) for event_id in pair))
            self.sent.update(pair)
            try:
                await self._stub.RecordEvents(request, timeout=5)
            except grpc.aio.AioRpcError:
                return
            self.acknowledged.update(pair)
            if len(self.acknowledged) >= KILL_AFTER:
                self.enough.set()
            number += 1


async def recorded_ids(stub: profile_pb2_grpc.ProfileStub) -> list[str]:
    request = profile_pb2.ReadEventsRequest(purpose=profile_pb2.READ_PURPOSE_AGGREGATE)
    return [logged.event.event_id async for message in stub.ReadEvents(request) for logged in message.events]


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Mapping[str, str]:
    """Settings of each store."""
    if request.param == "sqlite":
        return {"DATABASE": f"{tmp_path}/profile.db"}
    server: RedisServer = request.getfixturevalue("redis_server")
    return {"STORE": "redis", "REDIS_URL": server.url, "REDIS_KEY_PREFIX": f"{tmp_path}:"}


async def test_after_kill_9_every_acknowledged_event_is_there_and_none_twice(
    tmp_path: Path, store: Mapping[str, str]
) -> None:
    async with running(tmp_path, store) as (process, channel):
        writers = Writers(profile_pb2_grpc.ProfileStub(channel))
        tasks = [asyncio.create_task(writers.write(number)) for number in range(WRITERS)]
        await asyncio.wait_for(writers.enough.wait(), 20)
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        await asyncio.wait_for(asyncio.gather(*tasks), 10)

    async with running(tmp_path, store) as (_, channel):
        stub = profile_pb2_grpc.ProfileStub(channel)
        ids = await recorded_ids(stub)
        assert len(ids) == len(set(ids))
        assert writers.acknowledged <= set(ids) <= writers.sent
        pairs = Counter(event_id.rpartition("-")[0] for event_id in ids)
        assert set(pairs.values()) == {2}, "a batch is there as a whole or not at all"
        profile = (await stub.GetProfile(profile_pb2.GetProfileRequest(user_id="ann"))).profile
        assert [each.count for each in profile.action_counts] == [len(ids)]

        again = [by("ann", event_message(event_id, category="news")) for event_id in sorted(writers.sent)[:1000]]
        answer = await stub.RecordEvents(batch(*again))
        assert answer.duplicates == len(set(ids) & {entry.event.event_id for entry in again})
