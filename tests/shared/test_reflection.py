"""What reflection tells, to grpcurl and to ghz."""

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.conftest import StartService
from tests.shared.answering import PROFILE, profile
from tests.shared.conftest import BareChannel


async def test_reflection_lists_the_service(start_service: StartService, bare_channel: BareChannel):
    host = await start_service(profile())
    assert PROFILE in await reflected(bare_channel(host.address))


async def test_reflection_finds_a_method_by_its_full_name_as_ghz_asks(
    start_service: StartService, bare_channel: BareChannel
):
    host = await start_service(profile())
    stub = reflection_pb2_grpc.ServerReflectionStub(bare_channel(host.address))
    for symbol, is_known in ((f"{PROFILE}.GetProfile", True), (PROFILE, True), ("no.such.Thing", False)):
        request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
        [answer] = [answered async for answered in stub.ServerReflectionInfo(iter([request]), timeout=5)]
        assert bool(answer.file_descriptor_response.file_descriptor_proto) is is_known


async def test_reflection_can_be_switched_off(start_service: StartService, bare_channel: BareChannel):
    host = await start_service(profile(), reflection=False)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await reflected(bare_channel(host.address))
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def reflected(channel: grpc.aio.Channel) -> list[str]:
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    answers = [answered async for answered in stub.ServerReflectionInfo(iter([request]), timeout=5)]
    return [service.name for answered in answers for service in answered.list_services_response.service]
