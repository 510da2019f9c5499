"""The gRPC face of the profile service: checks a request, asks the store, answers in the contract's words."""

# ruff: noqa: ARG002 - the arguments are those of the generated interface

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc

from services.profile.cursor import to_cursor, to_sequence
from services.profile.events import Entry
from services.profile.interests import HalfLives, strongest
from services.profile.request_checks import check_get_profile, check_read_events, check_record_events
from services.profile.store import LogPage, LogQuery, ProfileStore
from services.profile.translation import from_logged, from_profile, to_entry, user_name
from shared.clock import Clock
from shared.errors import not_implemented
from shared.metrics import EVENTS_DUPLICATE, EVENTS_RECORDED, Metrics
from shared.timestamps import to_seconds

DEFAULT_EVENTS = 50
DEFAULT_PAGE = 1000
MOST_INTERESTS = 50
MOST_PAGE_BYTES = 2 * 2**20
"""Where a message of ReadEvents is cut, well below the 4 MiB that gRPC clients take by default."""
_LARGE_BATCH = 100
"""From so many entries on a batch is read in a thread: 1000 would hold up all other calls for 10 ms."""

_Context = grpc.aio.ServicerContext[Any, Any]


class ProfileServicer(profile_pb2_grpc.ProfileServicer):
    """homepage.profile.v1.Profile over a ProfileStore."""

    def __init__(self, store: ProfileStore, half_lives: HalfLives, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._half_lives = half_lives
        self._clock = clock
        self._metrics = metrics

    async def GetProfile(
        self, request: profile_pb2.GetProfileRequest, context: _Context
    ) -> profile_pb2.GetProfileResponse:
        """See the contract. Served pages are no part of a profile and do not change its version."""
        check_get_profile(request)
        now = to_seconds(request.now) if request.HasField("now") else self._clock.now()
        user = user_name(request.user_id, request.visitor_id)
        stored = await self._store.profile(user, request.max_events or DEFAULT_EVENTS)
        interests = strongest(stored.interests, now, self._half_lives, MOST_INTERESTS)
        return profile_pb2.GetProfileResponse(profile=from_profile(stored, interests))

    async def RecordEvents(
        self, request: profile_pb2.RecordEventsRequest, context: _Context
    ) -> profile_pb2.RecordEventsResponse:
        """See the contract."""
        now = self._clock.now()
        if len(request.events) < _LARGE_BATCH:
            entries = _to_entries(request, now)
        else:
            entries = await asyncio.to_thread(_to_entries, request, now)
        recorded = await self._store.record(entries)
        self._metrics.counter(EVENTS_RECORDED, "event").inc(recorded.events)
        self._metrics.counter(EVENTS_RECORDED, "served_page").inc(recorded.served_pages)
        self._metrics.counter(EVENTS_DUPLICATE).inc(recorded.duplicates)
        new = recorded.events + recorded.served_pages
        return profile_pb2.RecordEventsResponse(recorded=new, duplicates=recorded.duplicates)

    async def ReadEvents(
        self, request: profile_pb2.ReadEventsRequest, context: _Context
    ) -> AsyncIterator[profile_pb2.ReadEventsResponse]:
        """See the contract. Holds one page at a time; a page that would be too large for a message is cut."""
        check_read_events(request)
        log_id = await self._store.log_id()
        after, caught_up = to_sequence(log_id, request.cursor), False
        for_training = request.purpose == profile_pb2.READ_PURPOSE_TRAINING
        while not caught_up:
            query = LogQuery(log_id, after, request.page_size or DEFAULT_PAGE, MOST_PAGE_BYTES, for_training)
            page = await self._store.read_log(query)
            after, caught_up = page.next_after, page.caught_up
            yield await asyncio.to_thread(_from_page, page, to_cursor(log_id, after))

    async def UpdatePreferences(
        self, request: profile_pb2.UpdatePreferencesRequest, context: _Context
    ) -> profile_pb2.UpdatePreferencesResponse:
        """Not in this version."""
        raise not_implemented("Profile.UpdatePreferences")

    async def SetConsent(
        self, request: profile_pb2.SetConsentRequest, context: _Context
    ) -> profile_pb2.SetConsentResponse:
        """Not in this version."""
        raise not_implemented("Profile.SetConsent")

    def ExportUser(
        self, request: profile_pb2.ExportUserRequest, context: _Context
    ) -> AsyncIterator[profile_pb2.ExportUserResponse]:
        """Not in this version."""
        raise not_implemented("Profile.ExportUser")

    async def EraseUser(
        self, request: profile_pb2.EraseUserRequest, context: _Context
    ) -> profile_pb2.EraseUserResponse:
        """Not in this version."""
        raise not_implemented("Profile.EraseUser")


def _to_entries(request: profile_pb2.RecordEventsRequest, now: float) -> list[Entry]:
    """Raises ServiceError(INVALID_FIELD) with every violation."""
    check_record_events(request, now)
    return [to_entry(entry) for entry in request.events]


def _from_page(page: LogPage, next_cursor: str) -> profile_pb2.ReadEventsResponse:
    return profile_pb2.ReadEventsResponse(
        events=[from_logged(entry) for entry in page.entries], next_cursor=next_cursor
    )
