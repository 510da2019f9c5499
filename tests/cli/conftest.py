"""Pages as an orchestrator might answer them."""

from collections.abc import Callable

import pytest
from homepage.types.v1 import event_pb2
from homepage.v1 import homepage_pb2

from shared.timestamps import to_duration

PageOf = Callable[..., homepage_pb2.RecommendResponse]


@pytest.fixture
def page_of() -> PageOf:
    """`page_of("a", ("b", "Coffee"))`: a page of one section; an item is its id (of Cycling), or id and category."""

    def make(*entries: str | tuple[str, str]) -> homepage_pb2.RecommendResponse:
        pairs = [(entry, "Cycling") if isinstance(entry, str) else entry for entry in entries]
        items = [_item(place, item_id, category) for place, (item_id, category) in enumerate(pairs, start=1)]
        answer = homepage_pb2.RecommendResponse(
            recommendation_id="recommendation",
            sections=[homepage_pb2.Section(id="for_you", title="For you", items=items)],
            versions=homepage_pb2.Versions(model="minilm-1", index="index-1", profile="7", rules="abc"),
            next_page_token="more",  # no secret
        )
        answer.timings.add(stage=homepage_pb2.STAGE_PROFILE, elapsed=to_duration(0.0034))
        answer.timings.add(stage=homepage_pb2.STAGE_RANKING, elapsed=to_duration(1.25))
        return answer

    return make


def _item(position: int, item_id: str, category: str) -> homepage_pb2.PageItem:
    return homepage_pb2.PageItem(
        item_id=item_id,
        token=f"token-{item_id}",
        position=position,
        slot_kind=event_pb2.SLOT_KIND_ORGANIC,
        score=0.5 / position,
        sources=["nearest", "popular"],
        reasons=[homepage_pb2.Reason(code=homepage_pb2.REASON_CODE_POPULAR, text="Popular now")],
        display=homepage_pb2.Display(title=f"Title of {item_id}", category=category, publisher="City Gazette"),
        score_parts=homepage_pb2.ScoreParts(action_probabilities={"click": 0.123}, diversity_factor=1.0),
    )
