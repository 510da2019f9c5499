"""The channels between services: retries, spreading, health, reconnecting and metrics."""

import asyncio
import time

import grpc
import pytest
from homepage.profile.v1 import profile_pb2_grpc

from shared.errors import Reason, ServiceError
from shared.server import Runtime, ServiceHost
from shared.settings import ServiceSettings
from tests.conftest import OpenChannel, StartService
from tests.shared.answering import ANSWER, GET_PROFILE, REQUEST, profile


class Counting:
    """A handler that counts its calls, notes gRPC's count of earlier attempts, and fails if told to."""

    def __init__(self, error: ServiceError | None = None) -> None:
        self.error = error
        self.attempts: list[str | None] = []

    @property
    def calls(self) -> int:
        return len(self.attempts)

    async def __call__(self, request, context):
        self.attempts.append(dict(context.invocation_metadata()).get("grpc-previous-rpc-attempts"))
        if self.error is not None:
            raise self.error
        return ANSWER


def stub_of(channel: grpc.aio.Channel) -> profile_pb2_grpc.ProfileStub:
    return profile_pb2_grpc.ProfileStub(channel)


def both(first: ServiceHost, second: ServiceHost) -> str:
    return f"ipv4:{first.address},{second.address}"


async def test_unavailable_is_tried_three_times_in_all(start_service: StartService, open_test_channel: OpenChannel):
    handler = Counting(ServiceError(Reason.STORE_UNAVAILABLE, "the store is away"))
    host = await start_service(profile(handler))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub_of(open_test_channel(host)).GetProfile(REQUEST)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert handler.attempts == [None, "1", "2"]


async def test_a_second_attempt_that_succeeds_hides_the_first(
    start_service: StartService, open_test_channel: OpenChannel
):
    handler = Counting(ServiceError(Reason.STORE_UNAVAILABLE, "the store is away"))

    async def once(request, context):
        if handler.calls == 1:
            handler.error = None
        return await handler(request, context)

    host = await start_service(profile(once))
    assert await stub_of(open_test_channel(host)).GetProfile(REQUEST) == ANSWER
    assert handler.attempts == [None, "1"]


@pytest.mark.parametrize(
    "reason",
    [Reason.PRECONDITION, Reason.INTERNAL, Reason.OVERLOADED, Reason.DEADLINE_TOO_SHORT, Reason.INVALID_FIELD],
)
async def test_nothing_but_unavailable_is_tried_again(
    reason: Reason, start_service: StartService, open_test_channel: OpenChannel
):
    handler = Counting(ServiceError(reason, "no"))
    host = await start_service(profile(handler))
    with pytest.raises(grpc.aio.AioRpcError):
        await stub_of(open_test_channel(host)).GetProfile(REQUEST)
    assert handler.attempts == [None]


async def test_a_call_to_nobody_fails_at_once_and_does_not_wait_for_its_deadline(open_test_channel: OpenChannel):
    stub = stub_of(open_test_channel("127.0.0.1:1"))
    started = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetProfile(REQUEST, timeout=30)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert time.monotonic() - started < 5


async def test_calls_are_spread_over_all_addresses_of_a_target(
    start_service: StartService, open_test_channel: OpenChannel
):
    handlers = Counting(), Counting()
    first, second = [await start_service(profile(handler)) for handler in handlers]
    stub = stub_of(open_test_channel(both(first, second)))
    async with asyncio.timeout(5):
        # The second connection may come up after the first call; from then on calls take turns.
        while not all(handler.calls for handler in handlers):
            await stub.GetProfile(REQUEST)
    before = [handler.calls for handler in handlers]
    for _ in range(20):
        await stub.GetProfile(REQUEST)
    assert [handler.calls - earlier for handler, earlier in zip(handlers, before, strict=True)] == [10, 10]


async def test_a_backend_that_is_not_serving_gets_no_calls(start_service: StartService, open_test_channel: OpenChannel):
    handlers = Counting(), Counting()
    first, second = [await start_service(profile(handler)) for handler in handlers]
    stub = stub_of(open_test_channel(both(first, second)))
    async with asyncio.timeout(5):
        while not all(handler.calls for handler in handlers):
            await stub.GetProfile(REQUEST)
        first.health.set_ready(False)
        quiet = 0
        while quiet < 20:  # calls in a row that passed it by: with turns taken, proof that it is out
            before = handlers[0].calls
            await stub.GetProfile(REQUEST)
            quiet = quiet + 1 if handlers[0].calls == before else 0
        first.health.set_ready(True)
        before = handlers[0].calls
        while handlers[0].calls == before:
            await stub.GetProfile(REQUEST)


async def test_no_call_is_lost_when_one_of_two_backends_drains(
    start_service: StartService, open_test_channel: OpenChannel
):
    first, second = [await start_service(profile(), drain_delay_s=0.3) for _ in range(2)]
    stub = stub_of(open_test_channel(both(first, second)))
    stopping = asyncio.create_task(first.stop())
    codes = set()
    async with asyncio.timeout(5):
        while not stopping.done():
            codes.add(await code_of(stub))
    assert codes == {grpc.StatusCode.OK}


async def test_a_restarted_backend_is_found_again_within_three_seconds(
    start_service: StartService, open_test_channel: OpenChannel
):
    first = await start_service(profile())
    stub = stub_of(open_test_channel(first))
    assert await stub.GetProfile(REQUEST) == ANSWER
    await first.stop()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetProfile(REQUEST)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    await start_service(profile(), listen=first.address)
    async with asyncio.timeout(3):
        while await code_of(stub) != grpc.StatusCode.OK:
            pass


async def code_of(stub: profile_pb2_grpc.ProfileStub) -> grpc.StatusCode:
    return await stub.GetProfile(REQUEST).code()


@pytest.mark.parametrize(("error", "status"), [(None, "OK"), (Reason.NOT_FOUND, "NOT_FOUND")])
async def test_the_time_of_a_call_is_recorded_under_its_method_target_and_status(
    error: Reason | None, status: str, start_service: StartService
):
    host = await start_service(profile(Counting(error and ServiceError(error, "no"))))
    runtime = Runtime(ServiceSettings())
    async with runtime.channel(host.address) as channel:
        assert (await code_of(stub_of(channel))).name == status
    labels = {"grpc_method": GET_PROFILE, "grpc_target": host.address, "grpc_status": status}
    sample = runtime.metrics.registry.get_sample_value
    assert sample("grpc_client_call_duration_seconds_count", labels) == 1
    assert 0 < sample("grpc_client_call_duration_seconds_sum", labels) < 5
