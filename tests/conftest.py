"""What most tests need: real servers on free ports or sockets, started and stopped around a test."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import grpc
import pytest

from shared.client import ChannelOptions, open_channel
from shared.metrics import Metrics
from shared.server import Runtime, Service, ServiceHost
from shared.settings import ServiceSettings
from tests.redis_server import RedisServer, running_redis

StartService = Callable[..., Awaitable[ServiceHost]]
OpenChannel = Callable[..., grpc.aio.Channel]


class RegisteredService:
    """The smallest service: servicers given as (add_…_to_server, servicer) pairs."""

    def __init__(self, names: tuple[str, ...], *servicers: tuple[Callable[..., None], object]) -> None:
        self.names = names
        self._servicers = servicers

    def register(self, server: grpc.aio.Server) -> None:
        for add, servicer in self._servicers:
            add(servicer, server)

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


@pytest.fixture
async def start_service() -> AsyncIterator[StartService]:
    """`await start_service(service_or_factory, runtime=None, **settings)`: a started host; stopped after the test.

    A factory is called with the Runtime. Settings are those of ServiceSettings; ports are free ones.
    """
    hosts: list[ServiceHost] = []

    async def start(
        service: Service | Callable[[Runtime], Service], runtime: Runtime | None = None, **settings: Any
    ) -> ServiceHost:
        runtime = runtime or Runtime(ServiceSettings(**{"metrics_listen": "", "grace_s": 1.0, **settings}))
        built = service if hasattr(service, "register") else service(runtime)
        host = ServiceHost(built, runtime)
        hosts.append(host)
        await host.start()
        return host

    yield start
    for host in reversed(hosts):
        await host.stop()


@pytest.fixture
async def open_test_channel() -> AsyncIterator[OpenChannel]:
    """`open_test_channel(host_or_address, **options)`: a channel as services use it; closed after the test."""
    channels: list[grpc.aio.Channel] = []

    def open_(host: ServiceHost | str, **options: Any) -> grpc.aio.Channel:
        target = host if isinstance(host, str) else host.address
        channel = open_channel(target, Metrics(), replace(ChannelOptions(), **options))
        channels.append(channel)
        return channel

    yield open_
    for channel in channels:
        await channel.close()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One durable Redis for all tests that need no other: each uses keys of its own. Skips where there is none."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server
