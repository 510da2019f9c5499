"""Stand-ins for the services behind the orchestrator: real servicers that answer at once with what a test gave them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc
from homepage.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from homepage.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from homepage.types.v1 import event_pb2, item_pb2

from shared.timestamps import to_timestamp

NOW = 1_768_478_400.0
DAY = 86_400.0


def item(number: int, *, age_days: float = 10.0) -> item_pb2.Item:
    """Item `i<number>`, of category `c<number % 5>` and publisher `p<number % 7>`."""
    return item_pb2.Item(
        item_id=f"i{number}",
        revision=f"r{number}",
        title=f"Title {number}",
        summary=f"Summary of {number}",
        category=f"c{number % 5}",
        publisher=f"p{number % 7}",
        domain="news",
        language="en",
        published_at=to_timestamp(NOW - age_days * DAY),
    )


def candidate(
    number: int, *, score: float = 0.5, anchor: str = "", popularity: float = 0.0, age_days: float = 10.0
) -> retrieval_pb2.Candidate:
    """A candidate; near to `anchor` when there is one, else popular."""
    source = retrieval_pb2.SOURCE_NEAREST if anchor else retrieval_pb2.SOURCE_POPULAR
    return retrieval_pb2.Candidate(
        item=item(number, age_days=age_days),
        sources=[retrieval_pb2.SourceScore(source=source, score=score, anchor_item_id=anchor)],
        popularity=popularity,
    )


class Failing:
    """A status to fail with, and a gate to hang at; both off at first."""

    def __init__(self) -> None:
        self.status: grpc.StatusCode | None = None
        self.hang = False
        self.calls = 0

    async def __call__(self, context: grpc.aio.ServicerContext) -> None:
        self.calls += 1
        if self.hang:
            await asyncio.Event().wait()
        if self.status is not None:
            await context.abort(self.status, "stand-in was told to fail")


@dataclass
class ProfileStandIn(profile_pb2_grpc.ProfileServicer):
    profile: profile_pb2.UserProfile = field(default_factory=lambda: profile_pb2.UserProfile(version="0"))
    recorded: dict[str, profile_pb2.UserEvent] = field(default_factory=dict)
    failing: Failing = field(default_factory=Failing)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    requests: list[profile_pb2.GetProfileRequest] = field(default_factory=list)

    async def GetProfile(self, request, context):
        self.requests.append(request)
        await self.failing(context)
        return profile_pb2.GetProfileResponse(profile=self.profile)

    async def RecordEvents(self, request, context):
        await self.failing(context)
        known = len(self.recorded)
        for entry in request.events:
            self.recorded.setdefault(entry.event.event_id or entry.served_page.recommendation_id, entry)
        self.arrived.set()
        new = len(self.recorded) - known
        return profile_pb2.RecordEventsResponse(recorded=new, duplicates=len(request.events) - new)

    def has_read(self, *numbers: int) -> None:
        """Gives the user a history of clicks on these items, newest first."""
        self.profile.version = str(len(numbers))
        for back, number in enumerate(numbers):
            self.profile.recent_events.append(
                event_pb2.Event(
                    event_id=f"e{number}",
                    action=event_pb2.ACTION_CLICK,
                    item_id=f"i{number}",
                    category=f"c{number % 5}",
                    time=to_timestamp(NOW - 60 * (back + 1)),
                )
            )


@dataclass
class RetrievalStandIn(retrieval_pb2_grpc.RetrievalServicer):
    """Keeps to the contract where the orchestrator relies on it: no excluded and no seen items, filter, limit."""

    candidates: Sequence[retrieval_pb2.Candidate] = ()
    failing: Failing = field(default_factory=Failing)
    requests: list[retrieval_pb2.RetrieveRequest] = field(default_factory=list)

    async def Retrieve(self, request, context):
        self.requests.append(request)
        await self.failing(context)
        unwanted = {entry.item_id for entry in request.history} | set(request.exclude_item_ids)
        wanted = set(request.filter.include_categories)
        found = [
            each
            for each in self.candidates
            if each.item.item_id not in unwanted and (not wanted or each.item.category in wanted)
        ]
        return retrieval_pb2.RetrieveResponse(
            candidates=found[: request.max_candidates or 200],
            history_items=[item(int(entry.item_id[1:])) for entry in request.history],
            index_version="index-1",
        )


@dataclass
class RankerStandIn(ranker_pb2_grpc.RankerServicer):
    """Gives item `i<n>` the probability that `probability(n)` says; 0.5 at first."""

    probability: object = field(default=lambda number: 0.5)
    blended: bool = False
    weighed: tuple[str, ...] = ("popularity", "log age")
    failing: Failing = field(default_factory=Failing)
    requests: list[ranker_pb2.RankRequest] = field(default_factory=list)

    async def Rank(self, request, context):
        self.requests.append(request)
        await self.failing(context)
        scores = [
            ranker_pb2.CandidateScore(probabilities=[self.probability(int(each.item_id[1:]))])
            for each in request.candidates
        ]
        return ranker_pb2.RankResponse(
            scores=scores,
            actions=["click"],
            model_version="stand-in",
            calibrated=False,
            blended=self.blended,
            weighed=self.weighed if self.blended else (),
        )
