"""From data sets to the contract, and into running services."""

import asyncio
import io

import grpc
import pytest
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc
from homepage.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from homepage.types.v1 import event_pb2
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from services.cli import loading
from services.cli.fleet import open_sync_channel
from services.cli.loading import Loaded, Loader, LoadError, events_to_load, to_entry, to_item
from services.cli.terminal import progress
from shared.datasets import ACTIONS, Dataset, Interaction, Item, WorldConfig, generate_world
from shared.timestamps import to_seconds
from shared.validation import MIN_TIMESTAMP_S, Checks
from tests.conftest import RegisteredService


def interaction(number: int, action: str = "click", value: float = 0.0) -> Interaction:
    return Interaction(f"event-{number}", "user", f"item-{number % 5}", action, 1000.0 + number, value)


def dataset(*interactions: Interaction) -> Dataset:
    items = tuple(Item(f"item-{n}", f"Title {n}", category=f"category-{n}") for n in range(5))
    return Dataset("small", "jsonlines", items, interactions, (), 2000.0, {})


@pytest.mark.parametrize("action", [action for action in ACTIONS if action != "impression"])
def test_every_act_has_the_contracts_action_of_that_name(action: str) -> None:
    entry = to_entry(interaction(1, action), "Cycling")
    assert entry.event.action == event_pb2.Action.Value(f"ACTION_{action.upper()}")
    assert (entry.user_id, entry.event.category, to_seconds(entry.event.time)) == ("user", "Cycling", 1001.0)


@pytest.mark.parametrize(("action", "sent"), [("dwell", 4.5), ("purchase", 4.5), ("like", 0.0), ("view", 0.0)])
def test_a_value_is_sent_only_with_acts_that_have_one(action: str, sent: float) -> None:
    assert to_entry(interaction(1, action, 4.5), "").event.value == sent


def test_impressions_are_left_out_and_the_cap_keeps_the_newest() -> None:
    acts = [interaction(n, "impression" if n % 2 else "click") for n in range(10)]
    assert [act.event_id for act in events_to_load(dataset(*acts), cap=2)] == ["event-6", "event-8"]
    assert events_to_load(dataset(*acts), cap=0) == ()


def test_an_item_keeps_what_the_contract_has_a_place_for() -> None:
    item = to_item(
        Item("a", "T", "S", "C", ("x", ""), "P", 86_400.0, "shop", "en-GB", 1_500_000, "EUR", 90.0, "u", "i")
    )
    assert (item.title, item.summary, item.category, list(item.tags)) == ("T", "S", "C", ["x"])
    assert (item.price.micros, item.price.currency_code, item.duration.seconds) == (1_500_000, "EUR", 90)
    assert (to_seconds(item.published_at), item.domain, item.language) == (86_400.0, "shop", "en-GB")


def test_a_film_of_before_1970_keeps_its_date() -> None:
    assert to_seconds(to_item(Item("a", "Metropolis", published_at=-1_356_998_400.0)).published_at) == -1_356_998_400.0
    assert not to_item(Item("a", "Undated")).HasField("published_at")
    assert to_item(Item("a", "The epoch", published_at=0.0)).HasField("published_at")


@given(st.text(min_size=1), st.lists(st.text(max_size=200), max_size=70), st.floats(-1e10, 1e10) | st.none(), st.text())
def test_texts_and_dates_of_items_are_always_such_as_the_contract_takes(
    title: str, tags: list[str], published_at: float | None, url: str
) -> None:
    item = to_item(Item("a", title * 30, title * 400, title, tuple(tags), title, published_at, title, url=url * 50))
    checks = Checks()
    checks.text("title", item.title, 1000)
    checks.text("summary", item.summary, 10_000)
    checks.text("category", item.category, 256)
    checks.text("publisher", item.publisher, 256)
    checks.text("domain", item.domain, 64)
    checks.text("url", item.url, 2048)
    checks.size("tags", item.tags, 64)
    for tag in item.tags:
        checks.text("tags", tag, 128, least=1)
    checks.timestamp("published_at", item.published_at, earliest_s=MIN_TIMESTAMP_S)
    checks.done()


class FakeRetrieval(retrieval_pb2_grpc.RetrievalServicer):
    """Takes items; embeds 200 at every question and counts what the profile has, `counts` of it at most."""

    def __init__(self, profile: "FakeProfile", counts: int = 1_000_000) -> None:
        self._profile = profile
        self._counts = counts
        self.items: list[str] = []
        self.indexed = 0

    async def PutItems(self, request_iterator, context: grpc.aio.ServicerContext) -> retrieval_pb2.PutItemsResponse:
        async for message in request_iterator:
            self.items += [item.item_id for item in message.items]
        return retrieval_pb2.PutItemsResponse(stored=len(self.items))

    async def GetIndexStatus(
        self, request: retrieval_pb2.GetIndexStatusRequest, context: grpc.aio.ServicerContext
    ) -> retrieval_pb2.GetIndexStatusResponse:
        self.indexed = min(self.indexed + 200, len(self.items))
        return retrieval_pb2.GetIndexStatusResponse(
            items=len(self.items),
            indexed=self.indexed,
            pending=len(self.items) - self.indexed,
            index_version="index-1",
            counted_events=min(len(self._profile.events), self._counts),
        )


class FakeProfile(profile_pb2_grpc.ProfileServicer):
    """Keeps entries by their id."""

    def __init__(self) -> None:
        self.events: dict[str, profile_pb2.UserEvent] = {}

    async def RecordEvents(
        self, request: profile_pb2.RecordEventsRequest, context: grpc.aio.ServicerContext
    ) -> profile_pb2.RecordEventsResponse:
        new = {entry.event.event_id: entry for entry in request.events if entry.event.event_id not in self.events}
        self.events |= new
        return profile_pb2.RecordEventsResponse(recorded=len(new), duplicates=len(request.events) - len(new))


@pytest.fixture
def load(start_service):
    """`await load(dataset, retrieval, profile)`: loads it into servers with these servicers."""

    async def run(data: Dataset, retrieval: FakeRetrieval, profile: FakeProfile, cap: int = 60_000) -> Loaded:
        hosts = [
            await start_service(
                RegisteredService(("r",), (retrieval_pb2_grpc.add_RetrievalServicer_to_server, retrieval))
            ),
            await start_service(RegisteredService(("p",), (profile_pb2_grpc.add_ProfileServicer_to_server, profile))),
        ]

        def blocking() -> Loaded:
            with (
                open_sync_channel(hosts[0].address) as to_retrieval,
                open_sync_channel(hosts[1].address) as to_profile,
                progress(Console(file=io.StringIO())) as bars,
            ):
                return Loader(to_retrieval, to_profile).load(data, bars, cap)

        return await asyncio.to_thread(blocking)

    return run


async def test_everything_is_loaded_embedded_and_counted(load) -> None:
    world = generate_world(WorldConfig(items=450, users=30, sessions=5.0))
    profile = FakeProfile()
    retrieval = FakeRetrieval(profile)
    loaded = await load(world, retrieval, profile)
    assert sorted(retrieval.items) == sorted(item.item_id for item in world.items)
    assert retrieval.indexed == loaded.items_stored == 450
    assert set(profile.events) == {act.event_id for act in world.interactions}
    assert loaded.events_recorded == len(world.interactions)
    categories = {item.item_id: item.category for item in world.items}
    assert all(entry.event.category == categories[entry.event.item_id] for entry in profile.events.values())


async def test_loading_again_records_nothing_and_does_not_wait_for_it(load) -> None:
    profile = FakeProfile()
    retrieval = FakeRetrieval(profile)
    data = dataset(*(interaction(n) for n in range(7)))
    await load(data, retrieval, profile)
    loaded = await load(data, retrieval, profile)
    assert (loaded.events_recorded, loaded.events_duplicate) == (0, 7)


async def test_the_cap_is_told_of(load) -> None:
    profile = FakeProfile()
    loaded = await load(dataset(*(interaction(n) for n in range(7))), FakeRetrieval(profile), profile, cap=3)
    assert (loaded.events_recorded, loaded.events_left_out) == (3, 4)


async def test_counts_that_stand_still_are_an_error(load, monkeypatch) -> None:
    monkeypatch.setattr(loading, "COUNTING_STALLED_AFTER_S", 0.0)
    profile = FakeProfile()
    with pytest.raises(LoadError, match="stands still at 2 of 7"):
        await load(dataset(*(interaction(n) for n in range(7))), FakeRetrieval(profile, counts=2), profile)
