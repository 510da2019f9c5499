"""The catalogue of metrics, and what is counted around a call."""

import asyncio

import grpc
import pytest
from homepage.profile.v1 import profile_pb2_grpc
from prometheus_client import generate_latest

from shared.errors import Reason, ServiceError
from shared.metrics import CALLS_IN_FLIGHT, CATALOGUE, CLIENT_DURATION, SERVER_DURATION, Metrics, MetricSpec
from shared.server import Runtime
from shared.settings import ServiceSettings
from tests.conftest import StartService
from tests.shared.answering import GET_PROFILE, REQUEST, Held, profile
from tests.shared.conftest import BareChannel

A66_BUCKETS_S = [
    *(0, 0.00001, 0.00005, 0.0001, 0.0003, 0.0006, 0.0008, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01),
    *(0.013, 0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65),
    *(0.8, 1, 2, 5, 10, 20, 50, 100),
]
"""As gRPC proposal A66 lists them."""


def test_names_are_unique():
    names = [spec.name for spec in CATALOGUE]
    assert len(names) == len(set(names))
    assert SERVER_DURATION in CATALOGUE


@pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: spec.name)
def test_a_metric_has_help_and_a_name_as_prometheus_wants_it(spec: MetricSpec):
    assert spec.help.endswith(".")
    assert spec.name.startswith(("homepage_", "grpc_server_", "grpc_client_"))
    assert not spec.name.endswith(("_total", "_count", "_sum", "_bucket"))
    assert spec.name.endswith("_seconds") == (spec.kind == "histogram" and list(spec.buckets) == A66_BUCKETS_S)


@pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: spec.name)
def test_a_metric_can_be_used_and_appears_on_the_page(spec: MetricSpec):
    metrics = Metrics()
    labels = ["x"] * len(spec.labels)
    match spec.kind:
        case "counter":
            metrics.counter(spec, *labels).inc()
        case "gauge":
            metrics.gauge(spec, *labels).set(1)
        case "histogram":
            metrics.histogram(spec, *labels).observe(1)
    assert f"# HELP {spec.name}" in generate_latest(metrics.registry).decode()


def test_times_are_counted_in_the_buckets_of_a66():
    assert list(SERVER_DURATION.buckets) == list(CLIENT_DURATION.buckets) == A66_BUCKETS_S


@pytest.mark.parametrize(
    ("raised", "status"),
    [(None, "OK"), (ServiceError(Reason.NOT_FOUND, "no"), "NOT_FOUND"), (ValueError(), "INTERNAL")],
)
async def test_a_call_is_counted_under_its_method_and_status(
    raised: Exception | None, status: str, start_service: StartService, bare_channel: BareChannel
):
    held = Held()
    held.release.set()

    async def handler(request, context):
        if raised is not None:
            raise raised
        return await held(request, context)

    runtime = Runtime(ServiceSettings(metrics_listen=""))
    host = await start_service(profile(handler), runtime)
    call = profile_pb2_grpc.ProfileStub(bare_channel(host.address)).GetProfile(REQUEST)
    assert (await call.code()).name == status
    await host.stop()
    sample = runtime.metrics.registry.get_sample_value
    labels = {"grpc_method": GET_PROFILE, "grpc_status": status}
    assert sample("grpc_server_call_started_total", {"grpc_method": GET_PROFILE}) == 1
    assert sample("grpc_server_call_duration_seconds_count", labels) == 1


@pytest.mark.parametrize(("timeout_s", "status"), [(0.1, "DEADLINE_EXCEEDED"), (30, "CANCELLED")])
async def test_a_call_that_is_cut_off_is_counted_as_such(
    timeout_s: float, status: str, start_service: StartService, bare_channel: BareChannel
):
    held = Held()
    runtime = Runtime(ServiceSettings(metrics_listen=""))
    host = await start_service(profile(held), runtime)
    call = profile_pb2_grpc.ProfileStub(bare_channel(host.address)).GetProfile(REQUEST, timeout=timeout_s)
    await asyncio.wait_for(held.begun.wait(), 5)
    if status == "CANCELLED":
        call.cancel()
    assert (await call.code()).name == status
    await host.stop()
    labels = {"grpc_method": GET_PROFILE, "grpc_status": status}
    assert runtime.metrics.registry.get_sample_value("grpc_server_call_duration_seconds_count", labels) == 1


async def test_calls_in_flight_are_seen_while_they_last_and_refused_ones_by_cause(
    start_service: StartService, bare_channel: BareChannel
):
    held = Held()
    runtime = Runtime(ServiceSettings(metrics_listen="", max_concurrent_calls=1))
    host = await start_service(profile(held), runtime)
    stub = profile_pb2_grpc.ProfileStub(bare_channel(host.address))
    first = stub.GetProfile(REQUEST)
    await asyncio.wait_for(held.begun.wait(), 5)
    sample = runtime.metrics.registry.get_sample_value
    assert await stub.GetProfile(REQUEST).code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert sample(CALLS_IN_FLIGHT.name) == 1
    assert sample("homepage_calls_refused_total", {"cause": "overload"}) == 1
    held.release.set()
    await first
    await host.stop()
    assert sample(CALLS_IN_FLIGHT.name) == 0
