"""What callers learn of errors, and what they and the log never learn."""

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc
from homepage.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc

from shared.errors import Reason, ServiceError, Violation, not_implemented
from shared.rich_status import STATUS_CODES, from_rpc_error
from tests.conftest import StartService
from tests.shared.answering import GET_PROFILE, REQUEST, Middle, profile, reason_of, retrieval
from tests.shared.conftest import BareChannel, LogLines

HUSHED = "secret-5f1d"


class SecretError(Exception):
    """An exception whose text nobody may see."""


async def fail(request: Any, context: Any) -> profile_pb2.GetProfileResponse:
    try:
        raise KeyError(HUSHED)
    except KeyError as cause:
        raise SecretError(HUSHED) from cause


def failing(error: Exception):
    async def handler(request, context):
        raise error

    return handler


async def error_of(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def get_profile_error(channel: grpc.aio.Channel) -> grpc.aio.AioRpcError:
    return await error_of(profile_pb2_grpc.ProfileStub(channel).GetProfile(REQUEST, timeout=10))


def everything_told(error: grpc.aio.AioRpcError) -> str:
    return f"{error.details()} {error.initial_metadata()} {error.trailing_metadata()} {error.debug_error_string()}"


def test_every_reason_has_a_status_code():
    assert set(STATUS_CODES) == set(Reason)


@pytest.mark.parametrize("reason", Reason)
async def test_an_error_reads_back_as_it_was_raised(
    reason: Reason, start_service: StartService, bare_channel: BareChannel
):
    raised = ServiceError(
        reason,
        "events[3].item_id: must not be empty",
        [Violation("events[3].item_id", "must not be empty"), Violation("page_size", "must be 1 to 50, is 0")],
        retry_after_s=1.25,
        metadata={"feature": "Profile.GetProfile"},
    )
    host = await start_service(profile(failing(raised)))
    error = await get_profile_error(bare_channel(host.address))
    assert error.code() == STATUS_CODES[reason]
    assert error.details() == raised.message
    assert from_rpc_error(error) == raised


async def test_an_error_without_details_reads_back_without_them(start_service: StartService, bare_channel: BareChannel):
    host = await start_service(profile(failing(ServiceError(Reason.NOT_FOUND, "no such user"))))
    read = reason_of(await get_profile_error(bare_channel(host.address)))
    assert (list(read.violations), read.retry_after_s, dict(read.metadata)) == ([], None, {})


async def test_what_comes_later_is_unimplemented_and_names_itself(
    start_service: StartService, bare_channel: BareChannel
):
    host = await start_service(profile(failing(not_implemented("Profile.EraseUser"))))
    error = await get_profile_error(bare_channel(host.address))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED
    assert reason_of(error).metadata == {"feature": "Profile.EraseUser"}


def foreign_status(domain: str, reason: str) -> bytes:
    packed = AnyMessage()
    packed.Pack(error_details_pb2.ErrorInfo(domain=domain, reason=reason))
    return status_pb2.Status(code=5, details=[packed]).SerializeToString()


@pytest.mark.parametrize(
    "details",
    [b"\xff not a status", foreign_status("elsewhere", "NOT_FOUND"), foreign_status("homepage", "NEWER"), None],
)
async def test_an_error_that_is_not_ours_reads_as_none(
    details: bytes | None, start_service: StartService, bare_channel: BareChannel
):
    async def handler(request, context):
        trailing = ((("grpc-status-details-bin", details)),) if details is not None else ()
        await context.abort(grpc.StatusCode.NOT_FOUND, "no", trailing)

    host = await start_service(profile(handler))
    error = await get_profile_error(bare_channel(host.address))
    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert from_rpc_error(error) is None


async def test_the_text_of_an_unexpected_exception_reaches_neither_caller_nor_log(
    start_service: StartService, bare_channel: BareChannel, log_lines: LogLines
):
    host = await start_service(profile(fail))
    error = await get_profile_error(bare_channel(host.address))
    assert error.code() == grpc.StatusCode.INTERNAL
    assert HUSHED not in everything_told(error)
    assert log_lines.of("unexpected error")
    assert HUSHED not in log_lines.text


async def test_the_error_id_finds_the_type_the_causes_and_the_place_in_the_log(
    start_service: StartService, bare_channel: BareChannel, log_lines: LogLines
):
    host = await start_service(profile(fail))
    error = await get_profile_error(bare_channel(host.address))
    error_id = reason_of(error).metadata["error_id"]
    assert error_id in error.details()
    [line] = log_lines.of("unexpected error")
    assert line["error_id"] == error_id
    assert line["request_id"] == dict(error.trailing_metadata())["x-request-id"]
    assert line["method"] == f"/{GET_PROFILE}"
    assert (line["exception"], line["causes"]) == ("SecretError", ["KeyError"])
    assert "test_errors.py" in line["frames"][-1]
    assert line["frames"][-1].endswith(" fail")


async def test_the_text_of_a_background_tasks_exception_does_not_reach_the_log(log_lines: LogLines):
    asyncio.get_running_loop().call_exception_handler(
        {
            "message": "Task exception was never retrieved",
            "exception": SecretError(HUSHED),
            "future": f"<Task finished exception=SecretError('{HUSHED}')>",
        }
    )
    [line] = log_lines.of("Task exception was never retrieved")
    assert line["exception"] == "SecretError"
    assert HUSHED not in log_lines.text


UPSTREAM = [
    (grpc.StatusCode.UNAVAILABLE, Reason.UPSTREAM_UNAVAILABLE),
    (grpc.StatusCode.CANCELLED, Reason.UPSTREAM_UNAVAILABLE),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.OVERLOADED),
    (grpc.StatusCode.DEADLINE_EXCEEDED, Reason.DEADLINE_TOO_SHORT),
    (grpc.StatusCode.INVALID_ARGUMENT, Reason.INTERNAL),
    (grpc.StatusCode.NOT_FOUND, Reason.INTERNAL),
    (grpc.StatusCode.UNIMPLEMENTED, Reason.INTERNAL),
    (grpc.StatusCode.INTERNAL, Reason.INTERNAL),
    (grpc.StatusCode.UNKNOWN, Reason.INTERNAL),
]


@pytest.mark.parametrize(("code", "reason"), UPSTREAM)
async def test_the_error_of_a_service_behind_is_translated_and_its_text_stays_there(
    code: grpc.StatusCode,
    reason: Reason,
    start_service: StartService,
    bare_channel: BareChannel,
    log_lines: LogLines,
):
    async def handler(request, context):
        await context.abort(code, HUSHED)

    leaf = await start_service(profile(handler))
    middle = await start_service(lambda runtime: Middle(runtime, leaf.address))
    error = await get_profile_error(bare_channel(middle.address))
    assert (error.code(), reason_of(error).reason) == (STATUS_CODES[reason], reason)
    assert HUSHED not in everything_told(error)
    assert HUSHED not in log_lines.text


async def test_a_service_behind_that_cannot_be_reached_is_unavailable_with_a_time_to_retry(
    start_service: StartService, bare_channel: BareChannel
):
    middle = await start_service(lambda runtime: Middle(runtime, "127.0.0.1:1"))
    read = reason_of(await get_profile_error(bare_channel(middle.address)))
    assert read.reason == Reason.UPSTREAM_UNAVAILABLE
    assert read.retry_after_s


async def test_overload_behind_passes_through_with_its_time_to_retry(
    start_service: StartService, bare_channel: BareChannel
):
    raised = ServiceError(Reason.OVERLOADED, "the queue is full", retry_after_s=0.7)
    leaf = await start_service(profile(failing(raised)))
    middle = await start_service(lambda runtime: Middle(runtime, leaf.address))
    read = reason_of(await get_profile_error(bare_channel(middle.address)))
    assert (read.reason, read.message, read.retry_after_s) == (raised.reason, raised.message, 0.7)


BROKEN = [
    (ServiceError(Reason.STORE_UNAVAILABLE, "the store is away"), Reason.STORE_UNAVAILABLE),
    (SecretError(HUSHED), Reason.INTERNAL),
]


@pytest.mark.parametrize(("raised", "reason"), BROKEN)
async def test_a_stream_of_answers_that_breaks_off_tells_its_reason_like_a_single_call(
    raised: Exception,
    reason: Reason,
    start_service: StartService,
    bare_channel: BareChannel,
    log_lines: LogLines,
):
    async def export(request, context):
        yield profile_pb2.ExportUserResponse(profile=profile_pb2.UserProfile(version="7"))
        raise raised

    host = await start_service(profile(export=export))
    stream = profile_pb2_grpc.ProfileStub(bare_channel(host.address)).ExportUser(
        profile_pb2.ExportUserRequest(user_id="ada")
    )
    assert (await stream.read()).profile.version == "7"
    error = await error_of(stream.read())
    assert (error.code(), reason_of(error).reason) == (STATUS_CODES[reason], reason)
    assert HUSHED not in everything_told(error) + log_lines.text


@pytest.mark.parametrize(("raised", "reason"), BROKEN)
async def test_a_stream_of_requests_that_is_refused_tells_its_reason_like_a_single_call(
    raised: Exception,
    reason: Reason,
    start_service: StartService,
    bare_channel: BareChannel,
    log_lines: LogLines,
):
    async def put(requests, context):
        async for _ in requests:
            raise raised

    host = await start_service(retrieval(put))
    messages = iter([retrieval_pb2.PutItemsRequest()] * 3)
    error = await error_of(retrieval_pb2_grpc.RetrievalStub(bare_channel(host.address)).PutItems(messages))
    assert (error.code(), reason_of(error).reason) == (STATUS_CODES[reason], reason)
    assert HUSHED not in everything_told(error) + log_lines.text
