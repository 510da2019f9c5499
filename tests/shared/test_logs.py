"""Log lines are JSON, and tell neither who a user is nor what an exception says."""

import json
import logging
import sys
import warnings

import pytest
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc

from shared.logs import JsonFormatter, Pseudonyms, describe, set_up
from tests.conftest import StartService
from tests.shared.answering import GET_PROFILE, profile
from tests.shared.conftest import BareChannel, LogLines

USER, VISITOR = "ada-lovelace-1815", "cookie-9f3"
HUSHED = "secret-77aa"


async def user_in_log(
    start_service: StartService, bare_channel: BareChannel, log_lines: LogLines, key: str, **user: str
) -> list[object]:
    """Two calls of a user to a server with this key; what stands for the user in the two lines."""
    host = await start_service(profile(), log_key=key)
    before = len(log_lines.of("call"))
    stub = profile_pb2_grpc.ProfileStub(bare_channel(host.address))
    for _ in range(2):
        await stub.GetProfile(profile_pb2.GetProfileRequest(**user))
    await host.stop()  # the line is written after the answer; once the server has stopped it is there
    return [line.get("user") for line in log_lines.of("call")[before:]]


async def test_every_call_is_one_line_with_method_status_time_and_request_id(
    start_service: StartService, bare_channel: BareChannel, log_lines: LogLines
):
    host = await start_service(profile())
    stub = profile_pb2_grpc.ProfileStub(bare_channel(host.address))
    await stub.GetProfile(profile_pb2.GetProfileRequest(), metadata=(("x-request-id", "r-1"),))
    await host.stop()
    [line] = log_lines.of("call")
    assert (line["method"], line["code"], line["request_id"]) == (f"/{GET_PROFILE}", "OK", "r-1")
    assert 0 <= line["ms"] < 5000
    assert "user" not in line


async def test_users_appear_as_a_hash_that_is_stable_under_one_key_and_different_under_another(
    start_service: StartService, bare_channel: BareChannel, log_lines: LogLines
):
    given = start_service, bare_channel, log_lines
    first = await user_in_log(*given, key="one", user_id=USER)
    again = await user_in_log(*given, key="one", user_id=USER, visitor_id=VISITOR)
    other = await user_in_log(*given, key="two", user_id=USER)
    unkeyed = await user_in_log(*given, key="", user_id=USER)
    assert len({*first, *again}) == 1
    assert len({*first, *other, *unkeyed}) == 3
    assert USER not in log_lines.text
    assert VISITOR not in log_lines.text


def test_a_user_and_a_visitor_of_the_same_name_are_two():
    pseudonyms = Pseudonyms(b"key")
    assert pseudonyms.of("same", "") != pseudonyms.of("", "same")
    assert pseudonyms.of("same", "other") == pseudonyms.of("same", "")
    assert pseudonyms.of("", "") == ""


def chained() -> Exception:
    try:
        try:
            raise KeyError(HUSHED)
        except KeyError as cause:
            raise ValueError(HUSHED) from cause
    except ValueError as error:
        return error


def test_an_exception_is_told_by_types_and_places_only():
    told = describe(chained())
    assert (told["exception"], told["causes"]) == ("ValueError", ["KeyError"])
    assert told["frames"][-1].endswith(" chained")
    assert HUSHED not in str(told)


@pytest.mark.parametrize("text", ["two\nlines", 'a "quote"', "naïve ☃", "\u2028"])
def test_any_text_becomes_one_line_of_json(text: str):
    record = logging.LogRecord("x", logging.WARNING, __file__, 1, "%s", (text,), None)
    record.fields = {"n": 1, "odd": object}
    line = JsonFormatter("profile").format(record)
    assert "\n" not in line
    read = json.loads(line)
    assert (read["level"], read["service"], read["event"], read["n"]) == ("warning", "profile", text, 1)
    assert read["time"].endswith("Z")


def test_set_up_sends_lines_of_the_wanted_level_to_standard_error(capsys: pytest.CaptureFixture[str]):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        set_up("ranker", "warning")
        logging.getLogger("anything").info("quiet")
        try:
            raise chained()
        except ValueError:
            logging.getLogger("anything").exception("loud")
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.warn("a library speaks", stacklevel=1)
        sys.stderr.flush()
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = handlers
        root.setLevel(level)
    line, warning = capsys.readouterr().err.splitlines()
    assert "a library speaks" in json.loads(warning)["event"]
    assert (json.loads(line)["event"], json.loads(line)["exception"]) == ("loud", "ValueError")
    assert HUSHED not in line
