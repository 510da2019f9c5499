"""Two profiles and two retrievals over one Redis are one homepage, whichever of them is asked, and killed."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import pytest
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc
from homepage.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from homepage.types.v1 import event_pb2
from homepage.v1 import homepage_pb2, homepage_pb2_grpc

from services.cli.fleet import Fleet, commands, free_fleet, open_sync_channel, wait_until_serving
from services.cli.launcher import Command, Launcher
from shared.timestamps import to_timestamp
from tests.e2e.conftest import NOW, act, eventually, library
from tests.redis_server import RedisServer

STORED = ("profile", "retrieval")


@dataclass(frozen=True)
class Replicas:
    """An orchestrator and a ranker, and of profile and retrieval two each, by number."""

    launcher: Launcher
    commands: dict[str, Command]
    fleets: tuple[Fleet, Fleet]
    homepage: homepage_pb2_grpc.HomepageStub
    profiles: tuple[profile_pb2_grpc.ProfileStub, ...]
    retrievals: tuple[retrieval_pb2_grpc.RetrievalStub, ...]

    def page(self, user: str) -> homepage_pb2.RecommendResponse:
        context = homepage_pb2.RequestContext(now=to_timestamp(NOW))
        return self.homepage.Recommend(homepage_pb2.RecommendRequest(user_id=user, context=context), timeout=5)

    def whole_pages(self, user: str) -> None:
        """Returns once ten pages one after the other, spread over the replicas, miss nothing and fit the reader."""

        def whole() -> bool:
            pages = [self.page(user) for _ in range(10)]
            tops = [Counter(item.display.category for item in page.sections[0].items[:6]) for page in pages]
            return not any(page.degraded for page in pages) and all(
                top.most_common(1)[0][0] == "cycling" for top in tops
            )

        eventually(whole, 60, "pages stay degraded")

    def indexed(self, items: int, events: int) -> None:
        """Returns once both retrievals have all items in their index and have counted all events."""

        def both() -> bool:
            told = [each.GetIndexStatus(retrieval_pb2.GetIndexStatusRequest(), timeout=5) for each in self.retrievals]
            return all((one.items, one.indexed, one.counted_events) == (items, items, events) for one in told)

        eventually(both, 60, "the two libraries do not become one")

    def kill(self, name: str) -> None:
        child = next(child for child in self.launcher.children if child.name == name)
        self.launcher.children.remove(child)
        child.kill()


def numbered(command: Command, number: int, fleets: tuple[Fleet, Fleet], store: dict[str, str]) -> Command:
    """The command of a replica: its data in Redis, and calls spread over all replicas."""
    service = command.name.upper()
    both = {name: "ipv4:" + ",".join(fleet.address(name) for fleet in fleets) for name in STORED}
    both |= {"ranker": fleets[0].address("ranker")}
    named = {f"HOMEPAGE_{service}_{name.upper()}_ADDRESS": address for name, address in both.items()}
    addresses = {name: address for name, address in named.items() if name in command.environment}
    own_store = {f"HOMEPAGE_{service}_{name}": value for name, value in store.items() if command.name in STORED}
    name = f"{command.name}-{number}"
    return replace(command, name=name, environment={**command.environment, **addresses, **own_store})


@pytest.fixture
def replicas(redis_server: RedisServer, tmp_path: Path) -> Iterator[Replicas]:
    fleets = (free_fleet(), free_fleet())
    store = {"STORE": "redis", "REDIS_URL": redis_server.url, "REDIS_KEY_PREFIX": f"{tmp_path}:"}
    twins = replace(fleets[1], members=tuple(member for member in fleets[1].members if member.name in STORED))
    running = [
        numbered(command, number, fleets, store)
        for number, fleet in enumerate(fleets)
        for command in commands(fleet, tmp_path, own_stores=False)
        if number == 0 or command.name in STORED
    ]
    with Launcher() as launcher:
        launcher.start(running)
        for fleet in (fleets[0], twins):
            wait_until_serving(fleet, launcher, lambda _: None)
        channels: list[grpc.Channel] = []

        def channel(fleet: Fleet, name: str) -> grpc.Channel:
            channels.append(open_sync_channel(fleet.address(name)))
            return channels[-1]

        yield Replicas(
            launcher,
            {command.name: command for command in running},
            (fleets[0], twins),
            homepage_pb2_grpc.HomepageStub(channel(fleets[0], "orchestrator")),
            tuple(profile_pb2_grpc.ProfileStub(channel(fleet, "profile")) for fleet in fleets),
            tuple(retrieval_pb2_grpc.RetrievalStub(channel(fleet, "retrieval")) for fleet in fleets),
        )
        for each in channels:
            each.close()


def test_replicas_over_one_redis_are_one_homepage_and_outlive_each_other(replicas: Replicas) -> None:
    user = "cycling-reader"
    acts = [act(user, f"cycling-{n}", event_pb2.ACTION_CLICK, 10 * (n + 1)) for n in range(4)]
    items = library()
    for retrieval, half in zip(replicas.retrievals, (items[::2], items[1::2]), strict=True):
        retrieval.PutItems(iter([retrieval_pb2.PutItemsRequest(items=half)]), timeout=30)
    for profile, half in zip(replicas.profiles, (acts[::2], acts[1::2]), strict=True):
        assert profile.RecordEvents(profile_pb2.RecordEventsRequest(events=half), timeout=30).recorded == 2
    asked = profile_pb2.GetProfileRequest(user_id=user, now=to_timestamp(NOW))
    one, other = (profile.GetProfile(asked, timeout=5) for profile in replicas.profiles)
    assert one == other
    assert len(one.profile.recent_events) == 4
    replicas.indexed(len(items), len(acts))
    replicas.whole_pages(user)

    replicas.kill("profile-0")
    replicas.kill("retrieval-1")
    replicas.whole_pages(user)
    late = [act(user, f"cycling-{n}", event_pb2.ACTION_LIKE, 1) for n in range(5, 8)]
    replicas.profiles[1].RecordEvents(profile_pb2.RecordEventsRequest(events=late), timeout=30)
    gone = retrieval_pb2.DeleteItemsRequest(item_ids=["space-0"])
    assert replicas.retrievals[0].DeleteItems(gone, timeout=5).deleted == 1

    replicas.launcher.start([replicas.commands["profile-0"], replicas.commands["retrieval-1"]])
    for fleet in replicas.fleets:
        wait_until_serving(fleet, replicas.launcher, lambda _: None)
    replicas.indexed(len(items) - 1, len(acts) + len(late))
    assert replicas.profiles[0].GetProfile(asked, timeout=5) == replicas.profiles[1].GetProfile(asked, timeout=5)
    replicas.whole_pages(user)
