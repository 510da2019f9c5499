"""The synchronous clients on grpcio-testing's channel: what they send, and what they make of every answer.

The test plays the server, call by call, so nothing depends on timing.
"""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
import grpc_testing
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from homepage.profile.v1 import profile_pb2
from homepage.retrieval.v1 import retrieval_pb2
from homepage.v1 import homepage_pb2
from rich.console import Console

from services.cli.call import Question, ask
from services.cli.loading import CALL_LIMIT_S, STREAM_LIMIT_S, Loaded, Loader
from services.cli.rpc_failure import tell
from services.cli.terminal import progress
from shared.datasets import Dataset, Interaction, Item
from shared.errors import Reason, ServiceError, Violation
from shared.rich_status import STATUS_DETAILS_KEY, to_status

pytestmark = pytest.mark.timeout(20)  # a call that never comes would be waited for
SOON = 5.0
SERVICES = [
    service
    for contract in (homepage_pb2, profile_pb2, retrieval_pb2)
    for service in contract.DESCRIPTOR.services_by_name.values()
]
RPCS = {method.name: method for service in SERVICES for method in service.methods}
RECOMMEND, RECORD_EVENTS = RPCS["Recommend"], RPCS["RecordEvents"]
PUT_ITEMS, STATUS = RPCS["PutItems"], RPCS["GetIndexStatus"]
Outcome = tuple[tuple[tuple[str, bytes], ...], grpc.StatusCode, str]
OK: Outcome = ((), grpc.StatusCode.OK, "")


class Noting:
    """Notes the deadline of each call on its way: grpcio-testing drops it, and takes no interceptors."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self.deadlines: dict[str, set[float | None]] = {}

    def unary_unary(self, method: str, *args: Any, **options: Any) -> Any:
        return self._noting(method, self._channel.unary_unary(method, *args, **options))

    def stream_unary(self, method: str, *args: Any, **options: Any) -> Any:
        return self._noting(method, self._channel.stream_unary(method, *args, **options))

    def _noting(self, method: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(requests: object, timeout: float | None = None) -> Any:
            self.deadlines.setdefault(method.rpartition("/")[2], set()).add(timeout)
            return call(requests, timeout=timeout)

        return noted

    def unary_stream(self, method: str, *args: Any, **options: Any) -> Any:
        return self._channel.unary_stream(method, *args, **options)


class Server:
    """The far end of the channel, played by the test."""

    def __init__(self) -> None:
        self._fake = grpc_testing.channel(SERVICES, grpc_testing.strict_fake_time(0.0))
        self.channel = Noting(self._fake)

    def answer(self, method: MethodDescriptor, response: Message | None, outcome: Outcome = OK) -> Any:
        """Waits for the call, answers it, returns its request."""
        _, request, rpc = self._fake.take_unary_unary(method)
        rpc.terminate(response, *outcome)
        return request

    def take_stream(self, method: MethodDescriptor) -> grpc_testing.StreamUnaryChannelRpc:
        """Waits for a call whose requests are a stream."""
        _, rpc = self._fake.take_stream_unary(method)
        return rpc


def refusal(error: ServiceError) -> Outcome:
    """As the error interceptor of the services ends a call."""
    status = to_status(error)
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    return ((STATUS_DETAILS_KEY, status.SerializeToString()),), code, status.message


@pytest.fixture
def client() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield pool


class Screen:
    """Where `call` prints."""

    def __init__(self) -> None:
        self._written, self._complained = io.StringIO(), io.StringIO()
        self.output = Console(file=self._written, width=110)
        self.errors = Console(file=self._complained, width=110)

    @property
    def told(self) -> str:
        return self._written.getvalue()

    @property
    def complaints(self) -> list[str]:
        return self._complained.getvalue().splitlines()


def ask_for(
    client: ThreadPoolExecutor, server: Server, outcome: Outcome, page: homepage_pb2.RecommendResponse | None = None
) -> tuple[int, Screen]:
    """One `homepage call` whose server ends it like this."""
    screen = Screen()
    question = Question("10.0.0.1:50051", 0.25, homepage_pb2.RecommendRequest(user_id="u", page_size=3))
    status = client.submit(ask, server.channel, question, screen.output, screen.errors)
    assert server.answer(RECOMMEND, page, outcome) == question.request
    return status.result(SOON), screen


def test_a_call_sends_the_request_with_its_deadline_and_shows_the_page(client: ThreadPoolExecutor, page_of) -> None:
    server = Server()
    status, screen = ask_for(client, server, OK, page_of("a", "b"))
    assert status == 0
    assert server.channel.deadlines == {"Recommend": {0.25}}
    assert "Title of b" in screen.told
    assert screen.complaints == []


def test_rich_status_details_become_one_paragraph(client: ThreadPoolExecutor) -> None:
    violations = [Violation("page_size", "must be 0 to 100, is -1"), Violation("surface", "is too long")]
    error = ServiceError(Reason.INVALID_FIELD, "page_size: must be 0 to 100 (and 1 more)", violations)
    status, screen = ask_for(client, Server(), refusal(error))
    assert status == 1
    assert screen.told == ""
    assert screen.complaints == [
        "INVALID_ARGUMENT (INVALID_FIELD): this must change in the request:",
        "  page_size: must be 0 to 100, is -1",
        "  surface: is too long",
    ]


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ServiceError(Reason.OVERLOADED, "too many calls", retry_after_s=0.25), "Try again in 0.25 s."),
        (ServiceError(Reason.DEADLINE_TOO_SHORT, "too short"), "Give the call more with --timeout."),
        (ServiceError(Reason.NOTHING_TO_SHOW, "no item"), "`homepage load` fills it."),
    ],
)
def test_an_error_one_can_act_upon_says_how(client: ThreadPoolExecutor, error: ServiceError, advice: str) -> None:
    status, screen = ask_for(client, Server(), refusal(error))
    assert status == 1
    assert screen.complaints[0].endswith(f"({error.reason.name}): {error.message}.")
    assert advice in screen.complaints[1]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (grpc.StatusCode.UNAVAILABLE, "no server answers at 10.0.0.1:50051"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "did not answer in time"),
        (grpc.StatusCode.UNIMPLEMENTED, "is another service"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED: message too large"),
    ],
)
@pytest.mark.parametrize("metadata", [(), ((STATUS_DETAILS_KEY, b"\xff no status"),)])
def test_a_status_without_readable_details_is_told_by_its_code(
    client: ThreadPoolExecutor, code: grpc.StatusCode, told: str, metadata: tuple[tuple[str, bytes], ...]
) -> None:
    status, screen = ask_for(client, Server(), (metadata, code, "message too large"))
    assert status == 1
    assert told in screen.complaints[0]


def data_set(items: int, events: int) -> Dataset:
    return Dataset(
        "small",
        "jsonlines",
        tuple(Item(f"item-{n}", f"Title {n}", category=f"category-{n % 3}") for n in range(items)),
        tuple(Interaction(f"event-{n}", "user", f"item-{n % items}", "click", 1000.0 + n) for n in range(events)),
        (),
        9000.0,
        {},
    )


def load(client: ThreadPoolExecutor, server: Server, dataset: Dataset) -> "Future[Loaded]":
    def loading() -> Loaded:
        with progress(Console(file=io.StringIO())) as bars:
            return Loader(server.channel, server.channel).load(dataset, bars)

    return client.submit(loading)


def test_items_go_in_messages_of_200_and_events_in_calls_of_500_when_all_items_are_stored(
    client: ThreadPoolExecutor,
) -> None:
    server, dataset = Server(), data_set(items=450, events=700)
    loading = load(client, server, dataset)
    server.answer(STATUS, retrieval_pb2.GetIndexStatusResponse(counted_events=40))
    stream = server.take_stream(PUT_ITEMS)
    messages = [stream.take_request() for _ in range(3)]
    stream.requests_closed()
    assert [len(message.items) for message in messages] == [200, 200, 50]
    assert [item.item_id for message in messages for item in message.items] == [item.item_id for item in dataset.items]
    stream.terminate(retrieval_pb2.PutItemsResponse(stored=449, unchanged=1), *OK)
    sent: list[profile_pb2.UserEvent] = []
    for size in (500, 200):
        answer = profile_pb2.RecordEventsResponse(recorded=size - 1, duplicates=1)
        request = server.answer(RECORD_EVENTS, answer)
        assert len(request.events) == size
        sent += request.events
        server.answer(STATUS, retrieval_pb2.GetIndexStatusResponse(items=450, pending=450))
    assert [entry.event.event_id for entry in sent] == [event.event_id for event in dataset.interactions]
    assert {entry.event.category for entry in sent} == {"category-0", "category-1", "category-2"}
    # All embedded, and the 698 new events counted on top of the 40 that were there.
    server.answer(STATUS, retrieval_pb2.GetIndexStatusResponse(items=450, counted_events=738, index_version="i"))
    loaded = loading.result(SOON)
    assert (loaded.items_stored, loaded.items_unchanged) == (449, 1)
    assert (loaded.events_recorded, loaded.events_duplicate, loaded.events_left_out) == (698, 2, 0)
    assert server.channel.deadlines == {
        "GetIndexStatus": {CALL_LIMIT_S},
        "PutItems": {STREAM_LIMIT_S},
        "RecordEvents": {CALL_LIMIT_S},
    }


def test_a_stream_refused_half_way_ends_the_load_before_any_event(client: ThreadPoolExecutor) -> None:
    server = Server()
    loading = load(client, server, data_set(items=450, events=10))
    server.answer(STATUS, retrieval_pb2.GetIndexStatusResponse())
    stream = server.take_stream(PUT_ITEMS)
    assert len(stream.take_request().items) == 200
    error = ServiceError(Reason.INVALID_FIELD, "no", [Violation("items[7].title", "must have 1 to 1000 characters")])
    stream.terminate(None, *refusal(error))
    with pytest.raises(grpc.RpcError) as refused:
        loading.result(SOON)
    assert "  items[7].title: must have 1 to 1000 characters" in tell(refused.value, "10.0.0.1:50053")
    assert "RecordEvents" not in server.channel.deadlines


def test_a_profile_that_refuses_ends_the_load_with_its_reason(client: ThreadPoolExecutor) -> None:
    server = Server()
    loading = load(client, server, data_set(items=3, events=10))
    server.answer(STATUS, retrieval_pb2.GetIndexStatusResponse())
    server.take_stream(PUT_ITEMS).terminate(retrieval_pb2.PutItemsResponse(stored=3), *OK)
    server.answer(RECORD_EVENTS, None, refusal(ServiceError(Reason.STORE_UNAVAILABLE, "the store is full")))
    with pytest.raises(grpc.RpcError) as refused:
        loading.result(SOON)
    assert tell(refused.value, "10.0.0.1:50052") == "UNAVAILABLE (STORE_UNAVAILABLE): the store is full."
