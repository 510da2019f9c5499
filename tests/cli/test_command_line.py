"""The commands as a person or a script calls them."""

import asyncio
import json
import re
import shlex
import socket

import grpc
import pytest
from click.testing import Result
from google.protobuf import json_format
from homepage.v1 import homepage_pb2, homepage_pb2_grpc
from typer.testing import CliRunner

from services.cli.__main__ import app
from services.cli.call import moment
from services.cli.demo import lines_to_try
from shared.errors import Reason, ServiceError, Violation
from shared.timestamps import to_seconds
from tests.conftest import RegisteredService


class FakeHomepage(homepage_pb2_grpc.HomepageServicer):
    """Answers with a page, or with an error."""

    def __init__(self, answer: homepage_pb2.RecommendResponse | ServiceError) -> None:
        self._answer = answer
        self.asked: list[homepage_pb2.RecommendRequest] = []

    async def Recommend(
        self, request: homepage_pb2.RecommendRequest, context: grpc.aio.ServicerContext
    ) -> homepage_pb2.RecommendResponse:
        self.asked.append(request)
        if isinstance(self._answer, ServiceError):
            raise self._answer
        return self._answer


@pytest.fixture
def serve(start_service):
    """`await serve(fake)`: the address of a server with this servicer."""

    async def start(fake: FakeHomepage) -> str:
        pair = (homepage_pb2_grpc.add_HomepageServicer_to_server, fake)
        host = await start_service(RegisteredService(("homepage.v1.Homepage",), pair))
        return host.address

    return start


async def homepage(*arguments: str) -> Result:
    """Runs a command beside the server's event loop."""
    environment = {"COLUMNS": "110", "TERM": "dumb", "NO_COLOR": "1"}
    return await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)


@pytest.mark.parametrize("command", [(), ("demo",), ("up",), ("load",), ("call",)])
async def test_every_command_has_help(command: tuple[str, ...]) -> None:
    result = await homepage(*command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


async def test_a_page_is_shown_with_titles_times_and_the_next_page(serve, page_of) -> None:
    fake = FakeHomepage(page_of("a", "b"))
    result = await homepage("call", "--user", "u", "--address", await serve(fake), "--page-size", "2", "--timeout", "5")
    assert result.exit_code == 0, result.stderr
    for part in ("For you", "Title of a", "Title of b", "Total", "--page-token more"):
        assert part in result.stdout
    assert fake.asked[0].user_id == "u"
    assert fake.asked[0].page_size == 2


async def test_options_reach_the_request(serve, page_of) -> None:
    fake = FakeHomepage(page_of("a"))
    options = ("--surface", "shop", "--page-token", "t", "--now", "2026-01-15T12:00:00Z", "--explain")
    result = await homepage("call", "--visitor", "v", "--address", await serve(fake), "--timeout", "5", *options)
    assert result.exit_code == 0, result.stderr
    asked = fake.asked[0]
    assert (asked.visitor_id, asked.surface, asked.page_token, asked.explain) == ("v", "shop", "t", True)
    assert to_seconds(asked.context.now) == 1_768_478_400
    assert "How the scores came about" in result.stdout


async def test_json_is_the_whole_of_standard_output(serve, page_of) -> None:
    page = page_of("a")
    result = await homepage("call", "--user", "u", "--address", await serve(FakeHomepage(page)), "--json")
    assert json.loads(result.stdout)["sections"][0]["items"][0]["itemId"] == "a"


async def test_an_error_is_told_with_code_reason_and_violations(serve) -> None:
    violations = [Violation("page_size", "must be 0 to 100, is -1")]
    fake = FakeHomepage(ServiceError(Reason.INVALID_FIELD, "page_size: must be 0 to 100", violations))
    result = await homepage("call", "--user", "u", "--address", await serve(fake), "--json")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "INVALID_ARGUMENT (INVALID_FIELD)" in result.stderr
    assert "  page_size: must be 0 to 100, is -1" in result.stderr


async def test_an_overloaded_server_says_when_to_try_again(serve) -> None:
    fake = FakeHomepage(ServiceError(Reason.OVERLOADED, "too many calls at once", retry_after_s=0.1))
    result = await homepage("call", "--user", "u", "--address", await serve(fake))
    assert "RESOURCE_EXHAUSTED (OVERLOADED)" in result.stderr
    assert "Try again in 0.1 s." in result.stderr


async def test_an_absent_server_is_told_of_with_how_to_start_one() -> None:
    with socket.socket() as reserved:  # bound, but nobody listens
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        result = await homepage("call", "--user", "u", "--address", address, "--timeout", "5")
    assert result.exit_code == 1
    assert f"no server answers at {address}" in result.stderr
    assert "homepage up" in result.stderr


async def test_another_service_at_the_address_is_told_of(start_service) -> None:
    host = await start_service(RegisteredService(("nothing",)))
    result = await homepage("call", "--user", "u", "--address", host.address)
    assert "is another service" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [("call",), ("call", "--user", "u", "--now", "yesterday"), ("load", "--cap", "-1"), ("demo", "--ports", "any")],
)
async def test_wrong_options_end_with_status_2_and_no_trace(arguments: tuple[str, ...]) -> None:
    result = await homepage(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


async def test_a_data_set_that_is_none_is_told_of(tmp_path) -> None:
    result = await homepage("load", "--data", str(tmp_path / "missing"))
    assert result.exit_code == 1
    assert "not a folder" in re.sub(r"\s+", " ", result.stdout)


@pytest.mark.parametrize(
    "text", ["2026-01-15T12:00:00Z", "2026-01-15T12:00:00", "2026-01-15T13:00:00+01:00", "2026-01-15 12:00"]
)
def test_moments_are_iso_8601_and_utc_without_a_zone(text: str) -> None:
    assert to_seconds(moment(text)) == 1_768_478_400


def test_lines_to_paste_survive_quotes_in_a_user_id() -> None:
    for line in lines_to_try("127.0.0.1:1", "o'neil", "2026-01-15T12:00:00Z"):
        words = shlex.split(line.replace("\\\n", " "))
        if words[0] == "homepage":
            assert words[words.index("--user") + 1] == "o'neil"
        else:
            asked = json_format.Parse(words[words.index("-d") + 1], homepage_pb2.RecommendRequest())
            assert (asked.user_id, to_seconds(asked.context.now)) == ("o'neil", 1_768_478_400)


def test_lines_to_paste_fit_into_100_columns_and_need_no_files() -> None:
    lines = lines_to_try("127.0.0.1:50051", "user-00017", "2026-01-15T12:00:00Z")
    assert [line.split()[0] for line in lines] == ["homepage", "grpcurl", "ghz"]
    assert max(len(row) for line in lines for row in line.splitlines()) <= 100
    assert not any("proto" in line for line in lines), "the server's reflection tells the methods"
