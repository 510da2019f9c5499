"""What a Recommend request asks for, checked and in the core's words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from homepage.types.v1 import event_pb2, item_pb2
from homepage.v1 import homepage_pb2

from services.orchestrator.recommend import Ask
from services.orchestrator.slate import ItemFilter, User
from services.orchestrator.tokens import PageToken, TokenError, Tokens
from services.orchestrator.upstreams import ACTIONS, history_event
from shared.clock import Clock
from shared.contract_checks import MOST_AHEAD_S, check_filter
from shared.errors import Reason, ServiceError, not_implemented
from shared.ids import IdSource, derived_id
from shared.timestamps import duration_seconds, to_seconds
from shared.validation import Checks

DEFAULT_PAGE_SIZE = 24
MOST_PAGE_SIZE = 100
DEFAULT_SURFACE = "home"
_CLOCKS_DIFFER_S = 60.0
"""How far a live page may lie ahead: what is not published yet is for previews only."""

_Knobs = homepage_pb2
ATTENUATION = {
    _Knobs.LEVEL_UNSPECIFIED: 0.85,
    _Knobs.LEVEL_OFF: 1.0,
    _Knobs.LEVEL_LOW: 0.95,
    _Knobs.LEVEL_MEDIUM: 0.85,
    _Knobs.LEVEL_HIGH: 0.7,
}
"""Diversity: factor per item of the same category that is already on the page."""
FRESHNESS = {
    _Knobs.LEVEL_UNSPECIFIED: 0.25,
    _Knobs.LEVEL_OFF: 0.0,
    _Knobs.LEVEL_LOW: 0.25,
    _Knobs.LEVEL_MEDIUM: 0.75,
    _Knobs.LEVEL_HIGH: 1.5,
}
"""Weight of freshness on the logit scale."""


def names_of(user_id: str, visitor_id: str) -> list[str]:
    """A user's names among all users and visitors, the one that counts first."""
    return [*([f"u:{user_id}"] if user_id else []), *([f"v:{visitor_id}"] if visitor_id else [])]


def name_of(user_id: str, visitor_id: str) -> str:
    """A user's name among all users; user_id counts before visitor_id."""
    return names_of(user_id, visitor_id)[0]


@dataclass(frozen=True, slots=True)
class RequestReader:
    """Turns requests into Asks."""

    tokens: Tokens
    ids: IdSource
    clock: Clock

    def read(self, request: homepage_pb2.RecommendRequest, ends: float) -> Ask:
        """The request as the core takes it; `ends` is the call's end in monotonic seconds.

        Raises:
            ServiceError: INVALID_FIELD, INVALID_TOKEN or NOT_IMPLEMENTED.
        """
        _check(request, self.clock.now())
        if request.promotions:
            raise not_implemented("RecommendRequest.promotions")
        if request.knobs.exploration not in (homepage_pb2.LEVEL_UNSPECIFIED, homepage_pb2.LEVEL_OFF):
            raise not_implemented("RecommendRequest.knobs.exploration")
        name = name_of(request.user_id, request.visitor_id)
        surface = request.surface or DEFAULT_SURFACE
        page = self._page(request, name)
        has_now = request.HasField("context") and request.context.HasField("now")
        consent = request.consent
        personalise = consent.personalise if consent.HasField("personalise") else None
        return Ask(
            user=User(request.user_id, request.visitor_id),
            surface=surface,
            size=min(request.page_size, MOST_PAGE_SIZE) or DEFAULT_PAGE_SIZE,
            now=to_seconds(request.context.now) if has_now else self.clock.now(),
            ends=ends,
            recommendation_id=page.recommendation_id if page else self._recommendation_id(request, name),
            shown=page.shown if page else (),
            recent=[event for event in map(history_event, request.recent_events) if event]
            if personalise is not False
            else (),
            exclude=tuple(request.exclude_item_ids),
            filter=_filter(request.filter),
            attenuation=ATTENUATION[request.knobs.diversity],
            freshness=FRESHNESS[request.knobs.freshness],
            personalise=personalise,
            train=consent.train if consent.HasField("train") else None,
        )

    def next_page(self, request: homepage_pb2.RecommendRequest, ask: Ask, placed: Sequence[str]) -> str:
        """The token that goes on after this page."""
        name = name_of(request.user_id, request.visitor_id)
        shown = (*ask.shown, *placed)
        return self.tokens.sign_page(
            PageToken(ask.recommendation_id, self.tokens.user_hash(name), _fingerprint(request), shown)
        )

    def _recommendation_id(self, request: homepage_pb2.RecommendRequest, name: str) -> str:
        if not request.request_id:
            return self.ids()
        return derived_id("recommendation", request.request_id, request.surface, name)

    def _page(self, request: homepage_pb2.RecommendRequest, name: str) -> PageToken | None:
        if not request.page_token:
            return None
        try:
            page = self.tokens.read_page(request.page_token)
        except TokenError:
            raise _bad_page_token("is not a next_page_token of this service; begin again without it") from None
        if not self.tokens.is_user(page.user, name):
            raise _bad_page_token("was made for another user; begin again without it")
        if page.request != _fingerprint(request):
            raise _bad_page_token("was made for a request with other fields; send them as before, or begin again")
        return page


def _bad_page_token(description: str) -> ServiceError:
    checks = Checks()
    checks.fail("page_token", description)
    return checks.error(Reason.INVALID_TOKEN)


def _fingerprint(request: homepage_pb2.RecommendRequest) -> str:
    """What must stay the same from page to page."""
    kept = homepage_pb2.RecommendRequest()
    kept.CopyFrom(request)
    for varying in (
        "request_id",
        "page_token",
        "page_size",
        "context",
        "recent_events",
        "session_id",
        "explain",
        "consent",
    ):
        kept.ClearField(varying)
    return derived_id("request", kept.SerializeToString(deterministic=True).hex())[:16]


def _check(request: homepage_pb2.RecommendRequest, now: float) -> None:
    checks = Checks()
    checks.user(request.user_id, request.visitor_id)
    checks.text("request_id", request.request_id, 128)
    checks.text("session_id", request.session_id, 128)
    checks.text("surface", request.surface, 64)
    if request.page_size < 0:
        checks.fail("page_size", f"must not be negative, is {request.page_size}")
    is_live = request.mode in (homepage_pb2.MODE_UNSPECIFIED, homepage_pb2.MODE_LIVE)
    _check_context(checks, request.context, now + _CLOCKS_DIFFER_S if is_live else math.inf)
    checks.size("recent_events", request.recent_events, 100)
    for index, event in enumerate(request.recent_events[:100]):
        _check_recent(checks, f"recent_events[{index}]", event, now)
    checks.size("exclude_item_ids", request.exclude_item_ids, 1000)
    for index, item_id in enumerate(request.exclude_item_ids[:1000]):
        checks.text(f"exclude_item_ids[{index}]", item_id, 256, least=1)
    checks.size("promotions", request.promotions, 10)
    check_filter(checks, request.filter)
    checks.enum("knobs.diversity", request.knobs.diversity, homepage_pb2.Level)
    checks.enum("knobs.exploration", request.knobs.exploration, homepage_pb2.Level)
    checks.enum("knobs.freshness", request.knobs.freshness, homepage_pb2.Level)
    checks.enum("mode", request.mode, homepage_pb2.Mode)
    checks.done()


def _check_context(checks: Checks, context: homepage_pb2.RequestContext, latest: float) -> None:
    for name in ("locale", "country", "time_zone", "device"):
        checks.text(f"context.{name}", getattr(context, name), 64)
    if context.HasField("now"):
        checks.timestamp("context.now", context.now, latest=latest)


def _check_recent(checks: Checks, path: str, event: event_pb2.Event, now: float) -> None:
    checks.text(f"{path}.item_id", event.item_id, 256, least=1)
    if event.action not in ACTIONS:
        checks.fail(f"{path}.action", "must be set to what the user did")
    if event.HasField("time"):
        checks.timestamp(f"{path}.time", event.time, latest=now + MOST_AHEAD_S)
    else:
        checks.fail(f"{path}.time", "is required")


def _filter(wanted: item_pb2.ItemFilter) -> ItemFilter:
    return ItemFilter(
        include_categories=frozenset(wanted.include_categories),
        exclude_categories=frozenset(wanted.exclude_categories),
        languages=tuple(language.lower() for language in wanted.languages),
        domains=frozenset(wanted.domains),
        max_age_s=duration_seconds(wanted.max_age) if wanted.HasField("max_age") else None,
        strict=wanted.strict,
    )
