"""The services behind the orchestrator, as the core wants them: values in, values out, StageError when they fail."""

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import grpc
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc
from homepage.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from homepage.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from homepage.types.v1 import event_pb2, item_pb2

from services.orchestrator.recommend import Query
from services.orchestrator.slate import (
    Candidate,
    Cause,
    HistoryEvent,
    Interest,
    Item,
    ItemFilter,
    Profile,
    Retrieved,
    Scores,
    Source,
    StageError,
    User,
)
from shared.action import Action
from shared.timestamps import duration_seconds, set_timestamp, to_duration, to_seconds, to_timestamp

ACTIONS = {event_pb2.Action.Value(f"ACTION_{action.name}"): action for action in Action}
ACTION_VALUES = {action: value for value, action in ACTIONS.items()}
_SOURCES = {
    retrieval_pb2.SOURCE_NEAREST: Source.NEAREST,
    retrieval_pb2.SOURCE_POPULAR: Source.POPULAR,
    retrieval_pb2.SOURCE_FRESH: Source.FRESH,
}
_CAUSES = {
    grpc.StatusCode.UNAVAILABLE: Cause.UNAVAILABLE,
    grpc.StatusCode.CANCELLED: Cause.UNAVAILABLE,  # by the server: it is going down, or drops what it cannot look at
    grpc.StatusCode.DEADLINE_EXCEEDED: Cause.LATE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Cause.OVERLOADED,
}


@asynccontextmanager
async def stage_errors() -> AsyncIterator[None]:
    """Turns a failed call into StageError."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise StageError(_CAUSES.get(error.code(), Cause.FAILED)) from None


class ProfileClient:
    """homepage.profile.v1.Profile."""

    def __init__(self, channel: grpc.aio.Channel, history: int) -> None:
        self._stub = profile_pb2_grpc.ProfileStub(channel)
        self._history = history

    async def get(self, user: User, now: float, limit_s: float) -> Profile:
        """See recommend.Profiles."""
        request = profile_pb2.GetProfileRequest(
            user_id=user.user_id, visitor_id=user.visitor_id, max_events=self._history, now=to_timestamp(now)
        )
        async with stage_errors():
            profile = (await self._stub.GetProfile(request, timeout=limit_s)).profile
        consent = profile.consent
        return Profile(
            version=profile.version,
            updated_at=to_seconds(profile.updated_at) if profile.HasField("updated_at") else None,
            history=[event for event in map(history_event, profile.recent_events) if event is not None],
            interests=[Interest(each.category, each.short_term, each.long_term) for each in profile.interests],
            hidden_item_ids=tuple(profile.hidden_item_ids),
            personalise=consent.personalise if consent.HasField("personalise") else None,
            train=consent.train if consent.HasField("train") else None,
        )

    async def record(self, events: Sequence[profile_pb2.UserEvent]) -> profile_pb2.RecordEventsResponse:
        """Writes to the event log; a failed call raises grpc.aio.AioRpcError."""
        return await self._stub.RecordEvents(profile_pb2.RecordEventsRequest(events=events))

    async def record_served(self, events: Sequence[profile_pb2.UserEvent]) -> None:
        """Writes records of served pages; raises StageError."""
        async with stage_errors():
            await self.record(events)


class LibraryClient:
    """homepage.retrieval.v1.Retrieval."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = retrieval_pb2_grpc.RetrievalStub(channel)

    async def retrieve(self, query: Query, limit_s: float) -> Retrieved:
        """See recommend.Library."""
        request = retrieval_pb2.RetrieveRequest(
            max_candidates=query.count, exclude_item_ids=query.exclude, now=to_timestamp(query.now)
        )
        for event in query.history:
            entry = request.history.add(item_id=event.item_id, action=ACTION_VALUES[event.action])
            set_timestamp(entry.time, event.time)
        if not query.filter.empty:
            request.filter.CopyFrom(_filter(query.filter))
        return await self._ask(request, limit_s)

    async def popular(self, count: int, now: float, limit_s: float) -> Retrieved:
        """What everybody can be shown: the popular and the fresh."""
        sources = (retrieval_pb2.SOURCE_POPULAR, retrieval_pb2.SOURCE_FRESH)
        request = retrieval_pb2.RetrieveRequest(max_candidates=count, sources=sources, now=to_timestamp(now))
        return await self._ask(request, limit_s)

    async def _ask(self, request: retrieval_pb2.RetrieveRequest, limit_s: float) -> Retrieved:
        async with stage_errors():
            response = await self._stub.Retrieve(request, timeout=limit_s)
        return Retrieved(
            candidates=[_candidate(each) for each in response.candidates],
            history_items=response.history_items,
            index_version=response.index_version,
            removed={removal.filter: removal.count for removal in response.removals},
            compute_s=max((duration_seconds(report.elapsed) for report in response.source_reports), default=0.0),
        )


class RankerClient:
    """homepage.ranker.v1.Ranker."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = ranker_pb2_grpc.RankerStub(channel)

    async def rank(
        self,
        surface: str,
        history: Sequence[tuple[Item, HistoryEvent]],
        candidates: Sequence[Candidate],
        now: float,
        limit_s: float,
    ) -> Scores:
        """See recommend.Ranker."""
        request = ranker_pb2.RankRequest(surface=surface, now=to_timestamp(now))
        for item, event in history:
            entry = request.history.add(action=ACTION_VALUES[event.action])
            _write_text(entry.item, item, item.category, item.publisher)
            set_timestamp(entry.time, event.time)
        add = request.candidates.add
        for candidate in candidates:
            _write_text(add(), candidate.item, candidate.category, candidate.publisher)
        request.signals.published_at_seconds.extend(_or_nan(each.published_at) for each in candidates)
        request.signals.retrieval_scores.extend(_or_nan(each.nearness) for each in candidates)
        async with stage_errors():
            response = await self._stub.Rank(request, timeout=limit_s)
        if len(response.scores) != len(candidates):
            raise StageError(Cause.FAILED)
        timings = response.timings
        return Scores(
            actions=tuple(response.actions),
            probabilities=[score.probabilities for score in response.scores],
            model_version=response.model_version,
            calibrated=response.calibrated,
            compute_s=duration_seconds(timings.tokenise) + duration_seconds(timings.compute),
            blended=response.blended,
            weighed=frozenset(response.weighed),
        )


def history_event(event: event_pb2.Event) -> HistoryEvent | None:
    """An event as the core knows it; None for an action this version does not know."""
    action = ACTIONS.get(event.action)
    return HistoryEvent(event.item_id, action, to_seconds(event.time)) if action is not None else None


def _filter(wanted: ItemFilter) -> item_pb2.ItemFilter:
    return item_pb2.ItemFilter(
        include_categories=sorted(wanted.include_categories),
        exclude_categories=sorted(wanted.exclude_categories),
        languages=wanted.languages,
        domains=sorted(wanted.domains),
        max_age=to_duration(wanted.max_age_s) if wanted.max_age_s is not None else None,
        strict=wanted.strict,
    )


def _candidate(candidate: retrieval_pb2.Candidate) -> Candidate:
    item = candidate.item
    sources, score, anchor, nearness = [], 0.0, "", None
    for each in candidate.sources[:]:  # a list, because the container's own iterator ends each time by an exception
        source = _SOURCES.get(each.source)
        if source is not None:
            sources.append(source)
            score = max(score, each.score)
            anchor = anchor or each.anchor_item_id
            if source is Source.NEAREST:
                nearness = each.score
    published_at = to_seconds(item.published_at) if item.HasField("published_at") else None
    return Candidate(
        item.item_id,
        item.category,
        item.publisher,
        published_at,
        sources,
        score,
        candidate.popularity,
        anchor,
        item,
        nearness=nearness,
    )


def _or_nan(number: float | None) -> float:
    return math.nan if number is None else number


def _write_text(text: ranker_pb2.ItemText, item: Item, category: str, publisher: str) -> None:
    """Sets fields one by one: the quickest way to write a message, and this is done for every candidate."""
    text.item_id = item.item_id
    text.revision = cast(item_pb2.Item, item).revision
    text.title = item.title
    text.category = category
    text.publisher = publisher
