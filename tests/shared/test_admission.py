"""Deadlines, cancellation and request ids, within one service and on to the next."""

import asyncio
import re
import threading

import grpc
import pytest
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc

from shared.errors import Reason
from tests.conftest import StartService
from tests.shared.answering import ANSWER, GET_PROFILE, REQUEST, Held, Middle, answer, profile, reason_of
from tests.shared.conftest import BareChannel

MADE = re.compile(r"[0-9a-f]{32}")


class Seeing:
    """A handler that keeps what it sees of its call."""

    def __init__(self) -> None:
        self.calls = 0
        self.request_id = ""
        self.remaining_s: float | None = None

    async def __call__(self, request, context):
        self.calls += 1
        self.request_id = dict(context.invocation_metadata())["x-request-id"]
        self.remaining_s = context.time_remaining()
        return ANSWER


def stub_of(channel: grpc.aio.Channel) -> profile_pb2_grpc.ProfileStub:
    return profile_pb2_grpc.ProfileStub(channel)


async def test_a_call_without_a_deadline_gets_the_default_one(start_service: StartService, bare_channel: BareChannel):
    held = Held()
    host = await start_service(profile(held), default_deadline_s=0.1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub_of(bare_channel(host.address)).GetProfile(REQUEST)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert reason_of(caught.value).reason == Reason.DEADLINE_TOO_SHORT
    assert held.cancelled.is_set()


async def test_a_stream_without_a_deadline_gets_the_default_one(start_service: StartService, bare_channel: BareChannel):
    async def stuck(request, context):
        yield profile_pb2.ExportUserResponse()
        await asyncio.Event().wait()

    host = await start_service(profile(export=stuck), default_deadline_s=0.1)
    stream = stub_of(bare_channel(host.address)).ExportUser(profile_pb2.ExportUserRequest(user_id="ada"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [_ async for _ in stream]
    assert reason_of(caught.value).reason == Reason.DEADLINE_TOO_SHORT


async def test_a_handler_that_times_out_by_itself_is_a_defect_and_not_the_callers_deadline(
    start_service: StartService, bare_channel: BareChannel
):
    async def impatient(request, context):
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()

    host = await start_service(profile(impatient))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub_of(bare_channel(host.address)).GetProfile(REQUEST)
    assert reason_of(caught.value).reason == Reason.INTERNAL


async def test_a_deadline_too_short_to_begin_is_refused_before_the_handler_runs(
    start_service: StartService, bare_channel: BareChannel
):
    seeing = Seeing()
    host = await start_service(profile(seeing), min_deadline_s=10.0)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub_of(bare_channel(host.address)).GetProfile(REQUEST, timeout=5)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert reason_of(caught.value).reason == Reason.DEADLINE_TOO_SHORT
    assert seeing.calls == 0


async def test_the_callers_deadline_cancels_the_handler(start_service: StartService, bare_channel: BareChannel):
    held = Held()
    host = await start_service(profile(held))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub_of(bare_channel(host.address)).GetProfile(REQUEST, timeout=0.2)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(held.cancelled.wait(), 5)


async def test_a_cancelled_call_cancels_what_it_set_off_in_the_next_service(
    start_service: StartService, bare_channel: BareChannel
):
    held = Held()
    leaf = await start_service(profile(held))
    middle = await start_service(lambda runtime: Middle(runtime, leaf.address))
    call = stub_of(bare_channel(middle.address)).GetProfile(REQUEST, timeout=30)
    await asyncio.wait_for(held.begun.wait(), 5)
    call.cancel()
    await asyncio.wait_for(held.cancelled.wait(), 5)


@pytest.mark.parametrize("timeout_s", [0.9, None])
async def test_the_next_service_gets_what_is_left_of_the_deadline_less_a_margin(
    timeout_s: float | None, start_service: StartService, bare_channel: BareChannel
):
    seeing = Seeing()
    leaf = await start_service(profile(seeing))
    built: list[Middle] = []

    def build(runtime):
        built.append(Middle(runtime, leaf.address))
        return built[0]

    host = await start_service(build, default_deadline_s=0.9)
    await stub_of(bare_channel(host.address)).GetProfile(REQUEST, timeout=timeout_s)
    had_s = 0.9 if timeout_s is None else built[0].remaining_s
    assert had_s is not None
    assert seeing.remaining_s is not None
    # The margin is 5 ms; the wire rounds what is left up to whole milliseconds.
    assert 0 < seeing.remaining_s < had_s - 0.003


async def test_calls_that_pile_up_before_a_busy_loop_are_refused_at_once(start_service: StartService):
    go_on = threading.Event()

    async def busy(request, context):
        go_on.wait(10)  # blocks the loop, as much work does
        return ANSWER

    def call_twenty_times(address: str) -> list[grpc.StatusCode]:
        with grpc.insecure_channel(address) as channel:
            stub = profile_pb2_grpc.ProfileStub(channel)
            calls = [stub.GetProfile.future(REQUEST, timeout=20) for _ in range(20)]
            refused = threading.Event()
            for one in calls:
                one.add_done_callback(lambda _: refused.set())
            assert refused.wait(10)
            go_on.set()
            return [one.code() for one in calls]

    host = await start_service(profile(busy), max_waiting_calls=1)
    codes = await asyncio.to_thread(call_twenty_times, host.address)
    # CANCELLED, not RESOURCE_EXHAUSTED: gRPC drops the stream before any code of ours could say why.
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.CANCELLED}


async def test_a_request_id_goes_through_to_the_next_service_and_back_to_the_caller(
    start_service: StartService, bare_channel: BareChannel
):
    seeing = Seeing()
    leaf = await start_service(profile(seeing))
    middle = await start_service(lambda runtime: Middle(runtime, leaf.address))
    call = stub_of(bare_channel(middle.address)).GetProfile(REQUEST, metadata=(("x-request-id", "page 7/home"),))
    assert dict(await call.trailing_metadata())["x-request-id"] == "page 7/home"
    assert seeing.request_id == "page 7/home"


async def test_a_call_without_a_request_id_gets_one_that_the_next_service_sees_too(
    start_service: StartService, bare_channel: BareChannel
):
    seeing = Seeing()
    leaf = await start_service(profile(seeing))
    middle = await start_service(lambda runtime: Middle(runtime, leaf.address))
    call = stub_of(bare_channel(middle.address)).GetProfile(REQUEST)
    made = dict(await call.trailing_metadata())["x-request-id"]
    assert MADE.fullmatch(made)
    assert seeing.request_id == made


async def test_streams_and_errors_tell_their_request_id_too(start_service: StartService, bare_channel: BareChannel):
    async def one(request, context):
        yield profile_pb2.ExportUserResponse()

    async def broken(request, context):
        raise ValueError

    host = await start_service(profile(broken, one))
    stub, sent = stub_of(bare_channel(host.address)), (("x-request-id", "r-1"),)
    stream = stub.ExportUser(profile_pb2.ExportUserRequest(user_id="ada"), metadata=sent)
    assert [answered async for answered in stream] == [profile_pb2.ExportUserResponse()]
    assert dict(await stream.trailing_metadata())["x-request-id"] == "r-1"
    assert dict(await stub.GetProfile(REQUEST, metadata=sent).trailing_metadata())["x-request-id"] == "r-1"


@pytest.mark.parametrize("hostile", ["x" * 129, "x" * 5000, ""])
async def test_a_request_id_of_a_hostile_length_is_replaced(
    hostile: str, start_service: StartService, bare_channel: BareChannel
):
    host = await start_service(profile(answer))
    call = stub_of(bare_channel(host.address)).GetProfile(REQUEST, metadata=(("x-request-id", hostile),))
    assert MADE.fullmatch(dict(await call.trailing_metadata())["x-request-id"])
    assert await call == ANSWER


@pytest.mark.parametrize("hostile", [b"caf\xc3\xa9", b"\xff\xfe", b"\x1b[31m", b"line\nbreak"])
async def test_a_request_id_that_cannot_be_printed_never_comes_back(hostile: bytes, start_service: StartService):
    host = await start_service(profile(answer))
    received = await raw_call(host.address, hostile)
    assert hostile not in received
    assert re.search(rb"x-request-id\x20[0-9a-f]{32}", received)


async def raw_call(address: str, request_id: bytes) -> bytes:
    """One GetProfile written by hand, since no gRPC client would send such metadata; returns all that came back."""
    headers = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/" + GET_PROFILE.encode()),
        (b":authority", b"test"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"x-request-id", request_id),
    ]
    # Literal fields without indexing (RFC 7541, section 6.2.2).
    block = b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in headers)
    message = REQUEST.SerializeToString()
    data = b"\0" + len(message).to_bytes(4, "big") + message
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, block) + frame(0, 1, 1, data)
    )
    received = b""
    async with asyncio.timeout(5):
        while b"grpc-status" not in received and (piece := await reader.read(65_536)):
            received += piece
    writer.close()
    return received


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """An HTTP/2 frame (RFC 9113, section 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


async def test_a_call_that_ends_late_lowers_how_many_are_taken_at_once(
    start_service: StartService, bare_channel: BareChannel
):
    host = await start_service(
        profile(Held()), default_deadline_s=0.1, max_concurrent_calls=64, least_concurrent_calls=1
    )
    stub = stub_of(bare_channel(host.address))

    async def reasons(calls: int) -> list[str]:
        ended = await asyncio.gather(*(stub.GetProfile(REQUEST) for _ in range(calls)), return_exceptions=True)
        return sorted(reason_of(each).reason for each in ended)

    assert await reasons(4) == [Reason.DEADLINE_TOO_SHORT] * 4  # it begins at four times the least
    assert await reasons(4) == [Reason.DEADLINE_TOO_SHORT] * 2 + [Reason.OVERLOADED] * 2
