"""Spans reach a collector, and tell of a failed call no more than its caller learns."""

from collections.abc import AsyncIterator

import grpc
import pytest
from homepage.profile.v1 import profile_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from shared.server import Runtime
from shared.settings import ServiceSettings
from shared.tracing import set_up_tracing
from tests.conftest import OpenChannel, StartService
from tests.shared.answering import REQUEST, profile

SECRET = "the text of an exception"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """What an OTLP collector was sent."""

    def __init__(self) -> None:
        self.received: list[trace_service_pb2.ExportTraceServiceRequest] = []

    async def Export(self, request, context):
        self.received.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
async def collector() -> AsyncIterator[tuple[Collector, str]]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    made = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(made, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield made, f"127.0.0.1:{port}"
    await server.stop(0)


async def failing(request, context):
    raise ValueError(SECRET)


async def test_a_failed_calls_span_holds_no_text_of_an_exception(
    collector: tuple[Collector, str], start_service: StartService, open_test_channel: OpenChannel
) -> None:
    received, address = collector
    tracing = set_up_tracing("profile", address)
    runtime = Runtime(ServiceSettings(metrics_listen="", grace_s=1.0), tracing=tracing)
    host = await start_service(profile(failing), runtime)
    stub = profile_pb2_grpc.ProfileStub(open_test_channel(host))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.GetProfile(REQUEST, timeout=5)
    assert refused.value.code() == grpc.StatusCode.INTERNAL
    await host.stop()  # a span ends a little after its answer; what is left is sent at the end
    text = "".join(map(str, received.received))
    assert "GetProfile" in text
    assert "AbortError" in text
    assert SECRET not in text
