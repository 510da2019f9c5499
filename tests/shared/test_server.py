"""The life of a service: warm-up, ports, limits, drain, and a real process that is told to end."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc

from shared.errors import Reason
from shared.server import AddressInUseError
from tests.conftest import OpenChannel, RegisteredService, StartService
from tests.shared.answering import ANSWER, PROFILE, REQUEST, Held, profile, reason_of
from tests.shared.conftest import BareChannel

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Warming(RegisteredService):
    """A service that warms up until it is told that it is warm."""

    def __init__(self) -> None:
        inner = profile()
        super().__init__(inner.names)
        self.register = inner.register
        self.begun, self.warm = asyncio.Event(), asyncio.Event()

    async def start(self) -> None:
        self.begun.set()
        await self.warm.wait()


async def health_of(channel: grpc.aio.Channel, name: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)).status


async def told(channel: grpc.aio.Channel) -> AsyncIterator[int]:
    async for response in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()):
        yield response.status


def stub_of(channel: grpc.aio.Channel) -> profile_pb2_grpc.ProfileStub:
    return profile_pb2_grpc.ProfileStub(channel)


async def test_until_it_is_warm_a_service_is_alive_but_not_ready_and_refuses_calls(
    start_service: StartService, bare_channel: BareChannel, tmp_path: Path
):
    service, main, admin = Warming(), f"unix:{tmp_path}/main", f"unix:{tmp_path}/admin"
    starting = asyncio.create_task(start_service(service, listen=main, admin_listen=admin))
    await asyncio.wait_for(service.begun.wait(), 5)
    probes, stub = bare_channel(admin), stub_of(bare_channel(main))
    assert [await health_of(probes, name) for name in ("", PROFILE, "readiness")] == [NOT_SERVING] * 3
    assert await health_of(probes, "liveness") == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetProfile(REQUEST)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert reason_of(caught.value).reason == Reason.NOT_READY

    service.warm.set()
    host = await starting
    assert [await health_of(probes, name) for name in ("", PROFILE, "readiness", "liveness")] == [SERVING] * 4
    assert await stub.GetProfile(REQUEST) == ANSWER
    assert (host.address, host.admin_address) == (main, admin)


async def test_a_drain_ends_every_watch_with_not_serving_and_does_not_wait_for_the_grace(
    start_service: StartService, bare_channel: BareChannel
):
    host = await start_service(profile(), grace_s=20.0)
    watches = [told(bare_channel(address)) for address in (host.address, host.admin_address)]
    assert [await anext(watch) for watch in watches] == [SERVING, SERVING]
    started = time.monotonic()
    await host.stop()
    assert time.monotonic() - started < 5
    assert [[status async for status in watch] for watch in watches] == [[NOT_SERVING], [NOT_SERVING]]


async def test_the_drain_delay_passes_between_not_serving_and_the_first_refused_call(
    start_service: StartService, bare_channel: BareChannel
):
    host = await start_service(profile(), drain_delay_s=0.3)
    channel = bare_channel(host.address)
    watch = told(bare_channel(host.admin_address))
    assert await anext(watch) == SERVING
    stopping = asyncio.create_task(host.stop())
    assert await anext(watch) == NOT_SERVING
    assert await stub_of(channel).GetProfile(REQUEST) == ANSWER
    await stopping


async def test_a_drain_lets_the_call_in_flight_end_while_new_calls_are_refused(
    start_service: StartService, open_test_channel: OpenChannel
):
    held = Held()

    async def handler(request, context):
        return await held(request, context) if request.user_id == "ada" else ANSWER

    # The delay lets the channel notice: gRPC cancels calls that arrive in the very moment of the stop.
    host = await start_service(profile(handler), grace_s=20.0, drain_delay_s=0.3)
    stub = stub_of(open_test_channel(host))
    in_flight = stub.GetProfile(REQUEST)
    await asyncio.wait_for(held.begun.wait(), 5)
    stopping = asyncio.create_task(host.stop())
    codes = [grpc.StatusCode.OK]
    async with asyncio.timeout(5):
        while codes[-1] == grpc.StatusCode.OK:
            codes.append(await stub.GetProfile(profile_pb2.GetProfileRequest(user_id="eve")).code())
    assert codes[-1] == grpc.StatusCode.UNAVAILABLE
    assert not stopping.done()
    held.release.set()
    assert await in_flight == ANSWER
    await asyncio.wait_for(stopping, 5)


async def test_after_the_grace_what_still_runs_is_cancelled_before_the_service_is_stopped(
    start_service: StartService, bare_channel: BareChannel
):
    held, order = Held(), []

    async def handler(request, context):
        try:
            return await held(request, context)
        finally:
            order.append("call ended")

    class Noting(RegisteredService):
        async def stop(self) -> None:
            order.append("service stopped")

    service = Noting((PROFILE,))
    service.register = profile(handler).register
    host = await start_service(service, grace_s=0.1)
    call = stub_of(bare_channel(host.address)).GetProfile(REQUEST)
    await asyncio.wait_for(held.begun.wait(), 5)
    await asyncio.wait_for(host.stop(), 5)
    assert order == ["call ended", "service stopped"]
    assert await call.code() != grpc.StatusCode.OK


async def test_channelz_answers_on_the_admin_port(start_service: StartService, bare_channel: BareChannel):
    host = await start_service(profile())
    stub = channelz_pb2_grpc.ChannelzStub(bare_channel(host.admin_address))
    assert (await stub.GetServers(channelz_pb2.GetServersRequest(), timeout=5)).server


async def test_metrics_are_served_over_http_under_the_names_of_a66(
    start_service: StartService, bare_channel: BareChannel
):
    host = await start_service(profile(), metrics_listen="127.0.0.1:0")
    await stub_of(bare_channel(host.address)).GetProfile(REQUEST)
    page = await asyncio.to_thread(read, f"http://127.0.0.1:{host.metrics_port}/metrics")
    method = 'grpc_method="homepage.profile.v1.Profile/GetProfile"'
    assert f"grpc_server_call_started_total{{{method}}} 1.0" in page
    assert f'grpc_server_call_duration_seconds_count{{{method},grpc_status="OK"}} 1.0' in page
    assert "homepage_calls_in_flight 0.0" in page


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  # our own page on this machine
        return response.read().decode()


async def test_methods_that_do_not_exist_leave_no_labels_behind(start_service: StartService, bare_channel: BareChannel):
    host = await start_service(profile(), metrics_listen="127.0.0.1:0")
    scan = bare_channel(host.address).unary_unary("/a.Scanner/Tries", empty_pb2.Empty.SerializeToString)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await scan(empty_pb2.Empty())
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "Scanner" not in await asyncio.to_thread(read, f"http://127.0.0.1:{host.metrics_port}/metrics")


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this machine has no IPv6")
async def test_all_ports_can_be_ipv6_addresses(start_service: StartService, bare_channel: BareChannel):
    host = await start_service(profile(), listen="[::1]:0", admin_listen="[::1]:0", metrics_listen="[::1]:0")
    assert await stub_of(bare_channel(host.address)).GetProfile(REQUEST) == ANSWER
    assert await asyncio.to_thread(read, f"http://[::1]:{host.metrics_port}/metrics")


async def test_a_full_server_refuses_calls_with_a_time_to_retry_and_still_answers_health(
    start_service: StartService, bare_channel: BareChannel
):
    held = Held()
    host = await start_service(profile(held), max_concurrent_calls=1)
    channel = bare_channel(host.address)
    stub = stub_of(channel)
    first = stub.GetProfile(REQUEST)
    await asyncio.wait_for(held.begun.wait(), 5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetProfile(REQUEST)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    refused = reason_of(caught.value)
    assert refused.reason == Reason.OVERLOADED
    assert refused.retry_after_s is not None
    assert refused.retry_after_s > 0
    assert await health_of(channel) == SERVING
    held.release.set()
    assert await first == ANSWER
    assert await stub.GetProfile(REQUEST) == ANSWER


async def test_a_stream_that_its_reader_abandons_gives_its_place_back(
    start_service: StartService, bare_channel: BareChannel
):
    ended = asyncio.Event()

    async def endless(request, context):
        piece = profile_pb2.ExportUserResponse(profile=profile_pb2.UserProfile(version="7" * 100_000))
        try:
            while True:
                yield piece
        finally:
            ended.set()

    host = await start_service(profile(export=endless), max_concurrent_calls=1)
    stub = stub_of(bare_channel(host.address))
    stream = stub.ExportUser(profile_pb2.ExportUserRequest(user_id="ada"), timeout=30)
    await stream.read()
    stream.cancel()
    await asyncio.wait_for(ended.wait(), 5)
    async with asyncio.timeout(5):
        while await stub.GetProfile(REQUEST).code() != grpc.StatusCode.OK:
            pass


async def test_a_request_over_the_limit_is_refused(start_service: StartService, bare_channel: BareChannel):
    host = await start_service(profile(), max_message_bytes=1024)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub_of(bare_channel(host.address)).GetProfile(profile_pb2.GetProfileRequest(user_id="a" * 2000))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("port", ["listen", "admin_listen", "metrics_listen"])
async def test_a_second_server_on_the_same_port_does_not_start(port: str, start_service: StartService):
    first = await start_service(profile(), metrics_listen="127.0.0.1:0")
    taken = {
        "listen": first.address,
        "admin_listen": first.admin_address,
        "metrics_listen": f"127.0.0.1:{first.metrics_port}",
    }[port]
    with pytest.raises(AddressInUseError) as caught:
        await start_service(profile(), **{port: taken})
    assert str(caught.value) == f"cannot listen on {taken}: it is taken, or not an address of this machine"


async def test_services_call_one_another_over_unix_sockets(
    start_service: StartService, open_test_channel: OpenChannel, tmp_path: Path
):
    host = await start_service(profile(), listen=f"unix:{tmp_path}/service")
    assert await stub_of(open_test_channel(host)).GetProfile(REQUEST) == ANSWER


TINY = '''
import asyncio
import os
import sys
import threading

from homepage.profile.v1 import profile_pb2, profile_pb2_grpc
from shared.server import serve
from shared.settings import ServiceSettings, load_or_exit


async def wait_for_test():
    """Tells the test that this place is reached, and goes on when the test hangs up."""
    reader, _ = await asyncio.open_unix_connection("gate")
    await reader.read()


class Servicer(profile_pb2_grpc.ProfileServicer):
    async def GetProfile(self, request, context):
        await wait_for_test()
        return profile_pb2.GetProfileResponse(profile=profile_pb2.UserProfile(version="7"))


class Tiny:
    names = ("homepage.profile.v1.Profile",)

    def register(self, server):
        profile_pb2_grpc.add_ProfileServicer_to_server(Servicer(), server)

    async def start(self):
        if "SLOW" in os.environ:
            await wait_for_test()
        if "HANGS" in os.environ:
            threading.Thread(target=threading.Event().wait).start()
            asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)

    async def stop(self): ...


serve("tiny", load_or_exit(ServiceSettings, sys.argv[1:]), lambda runtime: Tiny())
'''


class Gate:
    """The other end of the tiny service's waiting."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reached.set()
        await self.open.wait()
        writer.close()


@contextlib.asynccontextmanager
async def tiny_service(folder: Path, **environment: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, Gate]]:
    """A process that runs the tiny service; its log comes on its stderr."""
    (folder / "tiny.py").write_text(TINY)
    gate = Gate()
    async with await asyncio.start_unix_server(gate, folder / "gate"):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tiny"),
            cwd=folder,
            # gRPC's core writes lines of its own that are not JSON; images silence it like this.
            env={**os.environ, "GRPC_VERBOSITY": "NONE", **environment},
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process, gate
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def logged(process: asyncio.subprocess.Process, event: str) -> dict[str, Any]:
    """The next line of the log about an event."""
    async with asyncio.timeout(20):
        while line := await process.stderr.readline():
            read = json.loads(line)
            if read["event"] == event:
                return read
    raise AssertionError(f"the process ended without {event!r}")


async def test_on_sigterm_a_process_finishes_the_call_in_flight_and_exits_with_0(
    tmp_path: Path, bare_channel: BareChannel
):
    async with tiny_service(tmp_path) as (process, gate):
        address = (await logged(process, "serving"))["address"]
        in_flight = stub_of(bare_channel(address)).GetProfile(REQUEST)
        await asyncio.wait_for(gate.reached.wait(), 5)
        process.send_signal(signal.SIGTERM)
        await logged(process, "draining")
        assert not in_flight.done()
        gate.open.set()
        assert await in_flight == ANSWER
        await logged(process, "stopped")
        assert await asyncio.wait_for(process.wait(), 15) == 0


async def test_sigterm_during_a_slow_start_ends_the_process_too(tmp_path: Path):
    async with tiny_service(tmp_path, SLOW="1") as (process, gate):
        await asyncio.wait_for(gate.reached.wait(), 20)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 15) == 0


async def test_threads_that_hang_do_not_keep_a_process(tmp_path: Path):
    async with tiny_service(tmp_path, HANGS="1") as (process, _):
        await logged(process, "serving")
        process.send_signal(signal.SIGTERM)
        await logged(process, "stopped")
        assert await asyncio.wait_for(process.wait(), 15) == 0


async def test_a_process_whose_port_is_taken_exits_with_2_and_one_line(tmp_path: Path, start_service: StartService):
    taken = (await start_service(profile())).address
    async with tiny_service(tmp_path, LISTEN=taken) as (process, _):
        _, errors = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 2
    [line] = errors.decode().splitlines()
    assert json.loads(line)["why"] == f"cannot listen on {taken}: it is taken, or not an address of this machine"
