"""A page as its caller gets it, and as the event log keeps it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

from homepage.profile.v1 import profile_pb2
from homepage.types.v1 import event_pb2, item_pb2
from homepage.v1 import homepage_pb2

from services.orchestrator.reasons import ReasonKind, reasons_of
from services.orchestrator.recommend import Ask
from services.orchestrator.requests import name_of
from services.orchestrator.slate import Page, Placed, PlacedSection
from services.orchestrator.tokens import Issue, Tokens
from shared.timestamps import to_duration, to_timestamp

_OPTIONAL: tuple[Literal["published_at", "price", "duration"], ...] = ("published_at", "price", "duration")
_REASON_CODES = {kind: homepage_pb2.ReasonCode.Value(f"REASON_CODE_{kind.name}") for kind in ReasonKind}
_ORGANIC, _FILLER = event_pb2.SLOT_KIND_ORGANIC, event_pb2.SLOT_KIND_FILLER


@dataclass(frozen=True, slots=True)
class PageWriter:
    """Writes pages. `rules_version` tells how they were put together."""

    tokens: Tokens
    rules_version: str

    def write(
        self, page: Page, ask: Ask, request: homepage_pb2.RecommendRequest, issued_at: float
    ) -> homepage_pb2.RecommendResponse:
        """The response but for its next_page_token; `issued_at` in unix seconds goes into the tokens."""
        response = homepage_pb2.RecommendResponse(
            recommendation_id=page.recommendation_id,
            versions=homepage_pb2.Versions(
                model=page.model_version,
                index=page.index_version,
                profile=page.profile.version,
                rules=self.rules_version,
                calibrated=page.calibrated,
            ),
        )
        recordable = request.mode in (homepage_pb2.MODE_UNSPECIFIED, homepage_pb2.MODE_LIVE)
        user = self.tokens.user_hash(name_of(ask.user.user_id, ask.user.visitor_id))
        issue = Issue(page.recommendation_id, ask.surface, user, int(issued_at), recordable)
        sign = self.tokens.item_signer(issue)
        for section in page.sections:
            _write_section(response.sections.add(), section, page, sign)
            if request.explain:
                _explain(response.sections[-1], section, page)
        if page.profile.updated_at is not None:
            response.profile_age.CopyFrom(to_duration(max(issued_at - page.profile.updated_at, 0.0)))
        for degradation in page.degraded:
            response.degraded.add(
                stage=homepage_pb2.Stage.Value(f"STAGE_{degradation.stage.name}"),
                cause=homepage_pb2.DegradedCause.Value(f"DEGRADED_CAUSE_{degradation.cause.name}"),
                fallback=degradation.fallback,
            )
        for name, count in sorted(page.removed.items()):
            response.removed.add(filter=name, count=count)
        for timing in page.timings:
            response.timings.add(
                stage=homepage_pb2.Stage.Value(f"STAGE_{timing.stage.name}"),
                elapsed=to_duration(timing.elapsed_s),
                compute=to_duration(timing.compute_s) if timing.compute_s is not None else None,
            )
        return response


def served_page(page: Page, ask: Ask, request: homepage_pb2.RecommendRequest) -> profile_pb2.UserEvent:
    """The page as the event log keeps it. Each page of a recommendation is a record of its own."""
    first = page.sections[0].items[0].position
    record_id = page.recommendation_id if first == 1 else f"{page.recommendation_id}/{first}"
    event = profile_pb2.UserEvent(
        user_id=ask.user.user_id,
        visitor_id=ask.user.visitor_id,
        served_page=event_pb2.ServedPage(
            recommendation_id=record_id,
            surface=ask.surface,
            time=to_timestamp(ask.now),
            model_version=page.model_version,
            session_id=request.session_id,
            items=[
                event_pb2.ServedItem(
                    item_id=placed.scored.candidate.item_id,
                    position=placed.position,
                    slot_kind=_FILLER if placed.scored.candidate.filler else _ORGANIC,
                    score=placed.scored.score,
                    propensity=1.0,
                )
                for section in page.sections
                for placed in section.items
            ],
        ),
    )
    if request.HasField("consent"):
        event.consent.CopyFrom(request.consent)
    if page.train is not None:
        event.consent.train = page.train
    return event


def _write_section(
    target: homepage_pb2.Section, section: PlacedSection, page: Page, sign: Callable[[str, str, int], str]
) -> None:
    target.id, target.title, target.anchor_item_id = section.id, section.title, section.anchor_item_id
    for placed in section.items:
        scored, candidate = placed.scored, placed.scored.candidate
        item = target.items.add(
            item_id=candidate.item_id,
            token=sign(candidate.item_id, candidate.category, placed.position),
            position=placed.position,
            slot_kind=_FILLER if candidate.filler else _ORGANIC,
            score=scored.score,
            sources=candidate.sources,
            propensity=1.0,
        )
        _write_display(item.display, cast(item_pb2.Item, candidate.item))
        for reason in reasons_of(scored, section.id, page.items_by_id):
            evidence = reason.evidence_item_id
            item.reasons.add(code=_REASON_CODES[reason.kind], text=reason.text, evidence_item_id=evidence)


def _explain(target: homepage_pb2.Section, section: PlacedSection, page: Page) -> None:
    for item, placed in zip(target.items, section.items, strict=True):
        item.score_parts.CopyFrom(_parts(placed, page))


def _write_display(display: homepage_pb2.Display, item: item_pb2.Item) -> None:
    display.title = item.title
    display.summary = item.summary
    display.url = item.url
    display.image_url = item.image_url
    display.category = item.category
    display.publisher = item.publisher
    display.domain = item.domain
    for name in _OPTIONAL:
        if item.HasField(name):
            getattr(display, name).CopyFrom(getattr(item, name))


def _parts(placed: Placed, page: Page) -> homepage_pb2.ScoreParts:
    scored = placed.scored
    return homepage_pb2.ScoreParts(
        action_probabilities=dict(zip(page.actions, scored.probabilities, strict=False)),
        popularity=scored.candidate.popularity,
        freshness=scored.freshness,
        retrieval=scored.candidate.retrieval_score,
        diversity_factor=placed.diversity_factor,
    )
