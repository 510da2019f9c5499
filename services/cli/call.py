"""`homepage call`: one Recommend by hand, for people or, as JSON, for programs."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

import grpc
from google.protobuf.json_format import MessageToJson
from google.protobuf.timestamp_pb2 import Timestamp
from homepage.v1 import homepage_pb2, homepage_pb2_grpc
from rich.console import Console

from services.cli.fleet import open_sync_channel
from services.cli.page_view import milliseconds, page_view, score_view
from services.cli.rpc_failure import tell
from shared.timestamps import to_timestamp


@dataclass(frozen=True, slots=True)
class Question:
    """Whom to ask for which page. `timeout_s` is the call's deadline in seconds."""

    address: str
    timeout_s: float
    request: homepage_pb2.RecommendRequest
    as_json: bool = False


def moment(text: str) -> Timestamp:
    """A point in time from ISO 8601; one without a zone is UTC.

    Raises:
        ValueError: when it is none.
    """
    parsed = datetime.fromisoformat(text)
    return to_timestamp((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())


def run(question: Question, output: Console, errors: Console) -> int:
    """Opens a channel and asks; returns the exit status."""
    with open_sync_channel(question.address) as channel:
        return ask(channel, question, output, errors)


def ask(channel: grpc.Channel, question: Question, output: Console, errors: Console) -> int:
    """Asks, prints the page (or the error, on `errors`) and returns the exit status."""
    started = time.perf_counter()
    try:
        page = homepage_pb2_grpc.HomepageStub(channel).Recommend(question.request, timeout=question.timeout_s)
    except grpc.RpcError as error:
        errors.print(tell(error, question.address), markup=False, soft_wrap=True, style="red")
        return 1
    elapsed = time.perf_counter() - started
    if question.as_json:
        output.file.write(MessageToJson(page, ensure_ascii=False) + "\n")
        return 0
    output.print(page_view(page, width=output.width))
    if question.request.explain:
        output.print(score_view(page))
    output.print(f"[dim]Total     {milliseconds(elapsed)}, with the connection[/]")
    if page.next_page_token:
        output.print(f"Next page --page-token {page.next_page_token}", markup=False, soft_wrap=True, style="dim")
    return 0
