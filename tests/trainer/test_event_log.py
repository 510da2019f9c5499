"""The service's own log becomes a corpus: read over real channels, built from plain values."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc
from homepage.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from homepage.types.v1 import event_pb2

from services.profile.service import ProfileService
from services.profile.settings import ProfileSettings
from services.trainer.assembly import CorpusOptions
from services.trainer.corpus import Corpus, Example
from services.trainer.event_log import EventLog, LoggedAct, LoggedPage, corpus_of_log
from services.trainer.log_reader import LogReadError, ReadLimits, read_log
from shared.clock import ManualClock
from shared.datasets import Interaction, Item
from shared.errors import Reason, ServiceError
from shared.ids import seeded_ids
from shared.server import Runtime, ServiceHost
from shared.timestamps import to_timestamp
from tests.conftest import OpenChannel, RegisteredService, StartService
from tests.stand_ins import NOW, item

WHOLE = CorpusOptions(valid_share=0, test_share=0, least_positives=1)
QUICK = ReadLimits(page_size=2, items_at_once=2, stream_s=20.0, call_s=20.0)


# --- building


def act(
    time: float, item_id: str, action: str = "click", page: str = "", *, user: str = "u", value: float = 0.0
) -> LoggedAct:
    name = f"{user}-{time}-{item_id}-{action}"
    return LoggedAct(Interaction(name, user, item_id, action, time, value), page)  # type: ignore[arg-type]


def page(page_id: str, time: float, items: str, *, user: str = "u", first: int = 1) -> LoggedPage:
    return LoggedPage(page_id, user, time, tuple((each, place) for place, each in enumerate(items, start=first)))


def built(acts: list[LoggedAct], pages: list[LoggedPage], options: CorpusOptions = WHOLE) -> Corpus:
    return corpus_of_log(EventLog(acts, pages, [Item(each, f"Title {each}") for each in "abcdef"]), options)


def done(corpus: Corpus) -> dict[str, set[tuple[str, str]]]:
    """By page what was done, as (item, action)."""
    return {
        example.impression_id: {
            (corpus.items[example.candidates[row]].item_id, corpus.actions[column])
            for row, column in zip(*example.labels.nonzero(), strict=True)
        }
        for examples in corpus.splits.values()
        for example in examples
    }


def past(corpus: Corpus, example: Example) -> list[tuple[str, str]]:
    return [(corpus.items[each.item].item_id, each.action) for each in example.history]


def test_a_served_page_is_a_slate_with_positions() -> None:
    corpus = built([], [page("r/4", 100, "ca", first=4)])
    (example,) = corpus.splits["train"]
    assert (example.impression_id, example.user, example.time) == ("r/4", "u", 100)
    assert [corpus.items[row].item_id for row in example.candidates] == ["c", "a"]
    assert example.positions is not None
    assert example.positions.tolist() == [4, 5]
    assert example.labels.tolist() == [[0.0], [0.0]]


def test_an_act_belongs_to_the_page_of_its_recommendation_that_shows_its_item() -> None:
    pages = [page("r", 100, "ab"), page("r/3", 200, "cd", first=3), page("q", 300, "ab")]
    acts = [act(400, "a", "like", "r"), act(9_999_999, "d", "click", "r"), act(400, "b", "click", "another")]
    assert done(built(acts, pages)) == {"r": {("a", "like")}, "r/3": {("d", "click")}, "q": set()}


def test_an_act_of_no_recommendation_belongs_to_the_latest_page_of_half_an_hour() -> None:
    pages = [page("r", 1000, "a"), page("q", 2000, "ab")]
    acts = [act(1999, "a"), act(2000, "a", "like"), act(3800, "b"), act(3800.1, "b", "hide")]
    assert done(built(acts, pages)) == {"r": {("a", "click")}, "q": {("a", "like"), ("b", "click")}}


def test_acts_of_other_users_belong_to_no_page() -> None:
    acts = [act(101, "a", user="v"), act(101, "a", "like", "r", user="v")]
    assert done(built(acts, [page("r", 100, "ab")])) == {"r": set()}


def test_the_past_of_a_page_is_the_last_act_on_each_item_before_it() -> None:
    acts = [act(10, "a"), act(20, "b", "hide"), act(30, "a", "dwell", value=5.0), act(100, "d"), act(5, "e", user="v")]
    corpus = built(acts, [page("r", 100, "cd")])
    assert past(corpus, corpus.splits["train"][0]) == [("a", "dwell"), ("b", "hide")]
    assert "dwell" not in {event.action for event in corpus.events}  # five seconds: no act to count


def test_a_page_never_finds_its_outcome_in_its_past_though_the_senders_clock_is_behind() -> None:
    corpus = built([act(90, "a", "click", "r")], [page("r", 100, "ab"), page("q", 200, "b")])
    first, second = corpus.splits["train"]
    assert (done(corpus)["r"], past(corpus, first)) == ({("a", "click")}, [])
    assert past(corpus, second) == [("a", "click")]
    assert [event.time for event in corpus.events] == [100]


def test_what_speaks_of_items_that_are_gone_is_left_out_and_counted() -> None:
    corpus = built([act(101, "x", page="r"), act(102, "a", page="r")], [page("r", 100, "xab"), page("q", 200, "x")])
    assert done(corpus) == {"r": {("a", "click")}}
    assert corpus.splits["train"][0].positions is not None
    assert corpus.splits["train"][0].positions.tolist() == [2, 3]
    assert corpus.dropped == {
        "act on an item that is gone": 1,
        "served item that is gone": 2,
        "page without known item": 1,
    }


def test_the_log_is_cut_by_time_over_all_users() -> None:
    pages = [page(f"r{n}", n, "ab", user=f"u{n % 3}") for n in range(10)]
    corpus = built([act(n, "a", page=f"r{n}", user=f"u{n % 3}") for n in range(10)], pages, CorpusOptions())
    assert [example.impression_id for example in corpus.splits["train"]] == [f"r{n}" for n in range(8)]
    assert [event.time for event in corpus.events] == list(range(8))
    assert (len(corpus.splits["valid"]), len(corpus.splits["test"])) == (1, 1)


# --- reading


class Library(retrieval_pb2_grpc.RetrievalServicer):
    """Knows items `i<n>` but for those that are gone; fails when it is away."""

    def __init__(self, *gone: str, away: bool = False) -> None:
        self.gone, self.away = gone, away
        self.asked: list[list[str]] = []

    async def GetItems(self, request: retrieval_pb2.GetItemsRequest, context: Any) -> retrieval_pb2.GetItemsResponse:
        if self.away:
            raise ServiceError(Reason.NOT_READY, "away")
        self.asked.append(list(request.item_ids))
        known = [each for each in request.item_ids if each not in self.gone]
        return retrieval_pb2.GetItemsResponse(
            items=[item(int(each[1:])) for each in known],
            missing_item_ids=[each for each in request.item_ids if each in self.gone],
        )


class Brittle(profile_pb2_grpc.ProfileServicer):
    """A log of six clicks, of two a message, whose stream breaks after each message as long as it has `breaks` left."""

    def __init__(self, breaks: int, reason: Reason = Reason.NOT_READY, after: int = 1) -> None:
        self.breaks, self.reason, self.after = breaks, reason, after
        self.requests: list[profile_pb2.ReadEventsRequest] = []

    async def ReadEvents(
        self, request: profile_pb2.ReadEventsRequest, context: Any
    ) -> AsyncIterator[profile_pb2.ReadEventsResponse]:
        self.requests.append(request)
        for sent, start in enumerate(range(int(request.cursor or 0), 6, 2)):
            if self.breaks and sent >= self.after:
                self.breaks -= 1
                raise ServiceError(self.reason, "gone for a moment")
            events = [logged(event(f"e{row}", f"i{row}", NOW + row)) for row in (start, start + 1)]
            yield profile_pb2.ReadEventsResponse(events=events, next_cursor=str(start + 2))


def event(
    event_id: str, item_id: str, time: float, action: int = event_pb2.ACTION_CLICK, **fields: Any
) -> event_pb2.Event:
    return event_pb2.Event(event_id=event_id, item_id=item_id, time=to_timestamp(time), action=action, **fields)


def logged(message: event_pb2.Event) -> profile_pb2.LoggedEvent:
    return profile_pb2.LoggedEvent(subject="s", event=message)


Serve = Callable[..., Awaitable[grpc.aio.Channel]]


@pytest.fixture
def serve(start_service: StartService, open_test_channel: OpenChannel) -> Serve:
    """`await serve(add_…_to_server, servicer)`: a channel to a real server with that servicer."""

    async def start(add: Callable[..., None], servicer: object) -> grpc.aio.Channel:
        return open_test_channel(await start_service(RegisteredService((), (add, servicer))))

    return start


@pytest.fixture
async def profile(start_service: StartService, open_test_channel: OpenChannel, tmp_path: Path) -> grpc.aio.Channel:
    """A real profile service over a file of its own."""
    settings = ProfileSettings(
        listen=f"unix:{tmp_path}/profile.sock",
        admin_listen="127.0.0.1:0",
        metrics_listen="",
        database=tmp_path / "profile.db",
        grace_s=1,
    )
    runtime = Runtime(settings, ManualClock(NOW + 10_000), seeded_ids(3))
    host: ServiceHost = await start_service(ProfileService(runtime, settings), runtime)
    return open_test_channel(host)


def of_user(user: str, *, train: bool | None = None, **kind: Any) -> profile_pb2.UserEvent:
    consent = event_pb2.Consent() if train is None else event_pb2.Consent(train=train)
    return profile_pb2.UserEvent(user_id=user, consent=consent, **kind)


def served(recommendation_id: str, time: float, *item_ids: str) -> event_pb2.ServedPage:
    items = [
        event_pb2.ServedItem(item_id=each, position=place, propensity=1) for place, each in enumerate(item_ids, start=1)
    ]
    return event_pb2.ServedPage(recommendation_id=recommendation_id, time=to_timestamp(time), items=items)


async def test_a_real_log_becomes_a_corpus_under_pseudonyms_and_without_what_was_not_allowed(
    profile: grpc.aio.Channel, serve: Serve
) -> None:
    entries = [
        of_user("ann", event=event("1", "i9", NOW - 60)),
        of_user("ann", served_page=served("r", NOW, "i1", "i2")),
        of_user("ann", event=event("2", "i2", NOW + 1, recommendation_id="r")),
        of_user("ann", event=event("3", "i2", NOW + 2, event_pb2.ACTION_RATE, recommendation_id="r", value=4.5)),
        of_user("bob", event=event("4", "i1", NOW + 3), train=False),
        of_user("bob", served_page=served("q", NOW, "i7"), train=False),
    ]
    await profile_pb2_grpc.ProfileStub(profile).RecordEvents(profile_pb2.RecordEventsRequest(events=entries))
    library = Library()
    retrieval = await serve(retrieval_pb2_grpc.add_RetrievalServicer_to_server, library)
    corpus = corpus_of_log(await read_log(profile, retrieval, QUICK), WHOLE)
    (example,) = corpus.splits["train"]
    assert (example.impression_id, example.time) == ("r", NOW)
    assert past(corpus, example) == [("i9", "click")]
    assert done(corpus) == {"r": {("i2", "click"), ("i2", "like")}}
    assert {each.item_id for each in corpus.items} == {"i9", "i1", "i2"}
    assert "ann" not in {example.user, *(each.user for each in corpus.events)}
    assert "i7" not in {each for asked in library.asked for each in asked}


async def test_items_come_with_all_their_fields_and_missing_ones_are_dropped(serve: Serve) -> None:
    profile = await serve(profile_pb2_grpc.add_ProfileServicer_to_server, Brittle(0))
    library = Library("i4")
    retrieval = await serve(retrieval_pb2_grpc.add_RetrievalServicer_to_server, library)
    log = await read_log(profile, retrieval, QUICK)
    assert library.asked == [["i0", "i1"], ["i2", "i3"], ["i4", "i5"]]
    first = log.items[0]
    assert (first.item_id, first.title, first.category, first.publisher) == ("i0", "Title 0", "c0", "p0")
    assert (first.published_at, first.domain, first.price_micros, first.duration_s) == (
        NOW - 10 * 86_400,
        "news",
        None,
        None,
    )
    assert corpus_of_log(log, WHOLE).dropped == {"act on an item that is gone": 1}


async def test_a_broken_stream_goes_on_from_its_cursor_and_asks_for_training(serve: Serve) -> None:
    brittle = Brittle(2)
    profile = await serve(profile_pb2_grpc.add_ProfileServicer_to_server, brittle)
    retrieval = await serve(retrieval_pb2_grpc.add_RetrievalServicer_to_server, Library())
    log = await read_log(profile, retrieval, QUICK)
    assert [each.interaction.item_id for each in log.acts] == [f"i{row}" for row in range(6)]
    assert [request.cursor for request in brittle.requests] == ["", "2", "4"]
    assert {request.purpose for request in brittle.requests} == {profile_pb2.READ_PURPOSE_TRAINING}
    assert {request.page_size for request in brittle.requests} == {2}


async def test_a_log_that_does_not_get_on_is_given_up_and_the_error_names_service_and_status(serve: Serve) -> None:
    stuck = Brittle(99, after=0)
    profile = await serve(profile_pb2_grpc.add_ProfileServicer_to_server, stuck)
    retrieval = await serve(retrieval_pb2_grpc.add_RetrievalServicer_to_server, Library())
    with pytest.raises(LogReadError, match="the profile service answers UNAVAILABLE"):
        await read_log(profile, retrieval, QUICK)
    assert len(stuck.requests) >= QUICK.tries


async def test_a_refusal_is_not_tried_again(serve: Serve) -> None:
    refusing = Brittle(99, Reason.PRECONDITION, after=0)
    profile = await serve(profile_pb2_grpc.add_ProfileServicer_to_server, refusing)
    retrieval = await serve(retrieval_pb2_grpc.add_RetrievalServicer_to_server, Library())
    with pytest.raises(LogReadError, match="FAILED_PRECONDITION"):
        await read_log(profile, retrieval, QUICK)
    assert len(refusing.requests) == 1


async def test_a_library_that_fails_is_named(serve: Serve) -> None:
    profile = await serve(profile_pb2_grpc.add_ProfileServicer_to_server, Brittle(0))
    retrieval = await serve(retrieval_pb2_grpc.add_RetrievalServicer_to_server, Library(away=True))
    with pytest.raises(LogReadError, match="the retrieval service answers UNAVAILABLE; is it up"):
        await read_log(profile, retrieval, QUICK)


async def test_entries_of_kinds_not_known_here_are_counted(serve: Serve) -> None:
    class Newer(profile_pb2_grpc.ProfileServicer):
        async def ReadEvents(self, request: Any, context: Any) -> AsyncIterator[profile_pb2.ReadEventsResponse]:
            entries = [
                profile_pb2.LoggedEvent(subject="s"),
                logged(event("1", "i1", NOW, 77)),
                logged(event("2", "i2", NOW)),
            ]
            yield profile_pb2.ReadEventsResponse(events=entries, next_cursor="3")

    profile = await serve(profile_pb2_grpc.add_ProfileServicer_to_server, Newer())
    retrieval = await serve(retrieval_pb2_grpc.add_RetrievalServicer_to_server, Library())
    log = await read_log(profile, retrieval, QUICK)
    assert (len(log.acts), log.dropped) == (1, {"entry of a kind that is not known here": 2})
