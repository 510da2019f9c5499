"""Four real processes with a small library, started once for all end-to-end tests."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc
from homepage.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from homepage.types.v1 import event_pb2, item_pb2
from homepage.v1 import homepage_pb2, homepage_pb2_grpc

from services.cli.fleet import Fleet, commands, free_fleet, open_sync_channel, wait_until_serving
from services.cli.launcher import Command, Launcher
from shared.timestamps import to_timestamp

NOW = 1_768_478_400.0
TOPICS = {
    "cycling": ["gravel bike", "road race", "bicycle repair", "mountain bike trail", "cycling helmet"],
    "finance": ["stock market", "interest rates", "bank merger", "government bonds", "quarterly earnings"],
    "cooking": ["sourdough bread", "pasta sauce", "slow cooker stew", "grilled vegetables", "baking a cake"],
    "space": ["rocket launch", "mars rover", "space telescope", "moon landing", "satellite in orbit"],
}
PATTERNS = [
    "A guide to the {}",
    "Ten things about the {}",
    "Why the {} matters",
    "What is new: the {}",
    "The {} in review",
]
PER_TOPIC = 20


@dataclass
class Set:
    """The running processes and their stubs."""

    fleet: Fleet
    launcher: Launcher
    commands: dict[str, Command]
    homepage: homepage_pb2_grpc.HomepageStub
    profile: profile_pb2_grpc.ProfileStub
    retrieval: retrieval_pb2_grpc.RetrievalStub

    def recommend(self, user_id: str, timeout: float = 5.0, **fields: object) -> homepage_pb2.RecommendResponse:
        context = homepage_pb2.RequestContext(now=to_timestamp(NOW))
        request = homepage_pb2.RecommendRequest(user_id=user_id, context=context, **fields)
        return self.homepage.Recommend(request, timeout=timeout)

    def kill(self, name: str) -> None:
        """SIGKILL, as the kernel does it when memory runs out."""
        child = next(child for child in self.launcher.children if child.name == name)
        self.launcher.children.remove(child)
        child.kill()

    def restart(self, name: str) -> None:
        self.launcher.start([self.commands[name]])
        wait_until_serving(self.fleet, self.launcher, lambda _: None)


def eventually(holds: Callable[[], bool], limit_s: float, what: str) -> None:
    """Asks until it holds; fails with `what` after the limit."""
    ends = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < ends, what
        time.sleep(0.05)


def library() -> list[item_pb2.Item]:
    """Eighty items of four topics that a language model can tell apart."""
    items = []
    for topic, subjects in TOPICS.items():
        for number in range(PER_TOPIC):
            subject, pattern = subjects[number % 5], PATTERNS[number // 5]
            items.append(
                item_pb2.Item(
                    item_id=f"{topic}-{number}",
                    title=pattern.format(subject),
                    category=topic,
                    publisher=f"{topic} daily",
                    domain="news",
                    language="en",
                    published_at=to_timestamp(NOW - 3600.0 * (number + 1) * 5),
                )
            )
    return items


def act(user: str, item_id: str, action: event_pb2.Action, minutes_ago: float) -> profile_pb2.UserEvent:
    return profile_pb2.UserEvent(
        user_id=user,
        event=event_pb2.Event(
            event_id=f"{user}-{item_id}-{action}",
            action=action,
            item_id=item_id,
            category=item_id.split("-", maxsplit=1)[0],
            time=to_timestamp(NOW - 60 * minutes_ago),
        ),
    )


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Set]:
    data: Path = tmp_path_factory.mktemp("homepage")
    fleet = free_fleet()
    by_name = {command.name: command for command in commands(fleet, data, own_stores=True)}
    with Launcher() as launcher:
        launcher.start(list(by_name.values()))
        wait_until_serving(fleet, launcher, lambda _: None)
        channels = {name: open_sync_channel(fleet.address(name)) for name in ("orchestrator", "profile", "retrieval")}
        running = Set(
            fleet,
            launcher,
            by_name,
            homepage_pb2_grpc.HomepageStub(channels["orchestrator"]),
            profile_pb2_grpc.ProfileStub(channels["profile"]),
            retrieval_pb2_grpc.RetrievalStub(channels["retrieval"]),
        )
        fill(running)
        yield running
        for channel in channels.values():
            channel.close()


def fill(running: Set) -> None:
    """The library, and readers of each topic."""
    running.retrieval.PutItems(iter([retrieval_pb2.PutItemsRequest(items=library())]), timeout=30)
    events = []
    for topic in TOPICS:
        for reader in range(5):
            user = f"{topic}-reader-{reader}"
            events += [
                act(user, f"{topic}-{n}", event_pb2.ACTION_CLICK, 10 * (n + 1)) for n in range(reader, reader + 4)
            ]
    running.profile.RecordEvents(profile_pb2.RecordEventsRequest(events=events), timeout=30)

    def ready() -> bool:
        status = running.retrieval.GetIndexStatus(retrieval_pb2.GetIndexStatusRequest(), timeout=5)
        return status.pending == 0 and status.indexed == status.items and status.counted_events >= len(events)

    eventually(ready, 60, "the library was not embedded in time")
