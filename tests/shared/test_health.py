"""The health servicer over a channel: names, Watch, List."""

from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from shared.health import NOT_SERVING, SERVICE_UNKNOWN, SERVING, Health
from shared.server import Runtime
from shared.settings import ServiceSettings
from tests.conftest import RegisteredService, StartService
from tests.shared.conftest import BareChannel

NAME = "homepage.profile.v1.Profile"


async def started(start_service: StartService, bare_channel: BareChannel):
    """A running host, and a stub of its health service."""
    host = await start_service(RegisteredService((NAME,)))
    return host, health_pb2_grpc.HealthStub(bare_channel(host.admin_address))


async def statuses(stub: health_pb2_grpc.HealthStub, name: str = "") -> AsyncIterator[int]:
    async for response in stub.Watch(health_pb2.HealthCheckRequest(service=name), timeout=5):
        yield response.status


async def test_an_unknown_name_is_not_found(start_service: StartService, bare_channel: BareChannel):
    _, stub = await started(start_service, bare_channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_list_tells_every_name(start_service: StartService, bare_channel: BareChannel):
    host, stub = await started(start_service, bare_channel)
    host.health.set_ready(False)
    listed = await stub.List(health_pb2.HealthListRequest())
    expected = {"": NOT_SERVING, "readiness": NOT_SERVING, NAME: NOT_SERVING, "liveness": SERVING}
    assert {name: answer.status for name, answer in listed.statuses.items()} == expected


@pytest.mark.parametrize("name", ["", "readiness", NAME])
async def test_a_watch_tells_every_change_of_readiness(
    name: str, start_service: StartService, bare_channel: BareChannel
):
    host, stub = await started(start_service, bare_channel)
    watch = statuses(stub, name)
    assert await anext(watch) == SERVING
    for ready, status in ((False, NOT_SERVING), (True, SERVING)):
        host.health.set_ready(ready)
        assert await anext(watch) == status


async def test_a_service_that_finds_itself_unfit_is_not_serving_until_it_is_fit_again(
    start_service: StartService, bare_channel: BareChannel
):
    runtime = Runtime(ServiceSettings(metrics_listen="", grace_s=1.0))
    host = await start_service(RegisteredService((NAME,)), runtime)
    watch = statuses(health_pb2_grpc.HealthStub(bare_channel(host.admin_address)))
    assert await anext(watch) == SERVING
    for fit, status in ((False, NOT_SERVING), (True, SERVING)):
        runtime.fitness.change(fit)
        assert await anext(watch) == status


@pytest.mark.parametrize(("name", "told"), [("liveness", [SERVING]), ("nobody", [SERVICE_UNKNOWN])])
async def test_a_watch_of_what_never_changes_ends_with_the_drain(
    name: str, told: list[int], start_service: StartService, bare_channel: BareChannel
):
    host, stub = await started(start_service, bare_channel)
    watch = statuses(stub, name)
    assert [await anext(watch)] == told
    host.health.drain()
    assert [status async for status in watch] == []


async def test_after_a_drain_nothing_makes_a_service_ready_again(
    start_service: StartService, bare_channel: BareChannel
):
    host, stub = await started(start_service, bare_channel)
    host.health.drain()
    host.health.set_ready(True)
    assert not host.health.ready
    assert [status async for status in statuses(stub)] == [NOT_SERVING]


async def test_a_drain_that_falls_into_the_sending_of_a_status_is_still_told():
    health = Health([NAME])
    health.set_ready(True)
    # Without a channel: only so does the drain come while the servicer waits for its message to be sent.
    watch = health.Watch(health_pb2.HealthCheckRequest(), None)
    assert (await anext(watch)).status == SERVING
    health.drain()
    assert [response.status async for response in watch] == [NOT_SERVING]
