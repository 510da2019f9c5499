"""Homepage.Recommend as its callers see it."""

import asyncio
import math
from itertools import pairwise

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from homepage.profile.v1 import profile_pb2
from homepage.retrieval.v1 import retrieval_pb2
from homepage.types.v1 import event_pb2, item_pb2
from homepage.v1 import homepage_pb2

from shared.errors import Reason
from shared.rich_status import from_rpc_error
from shared.timestamps import to_timestamp
from tests.stand_ins import DAY, NOW, candidate


def items_of(page):
    return [item for section in page.sections for item in section.items]


def ids_of(page):
    return [item.item_id for item in items_of(page)]


def section(page, section_id):
    return next((each for each in page.sections if each.id == section_id), None)


async def test_a_page_has_as_many_items_as_asked_for_each_once_and_numbered_from_one(homepage):
    page = await homepage.recommend(page_size=30)
    assert len(ids_of(page)) == 30
    assert len(set(ids_of(page))) == 30
    assert [item.position for item in items_of(page)] == list(range(1, 31))
    assert page.degraded == []


async def test_every_item_says_what_a_page_needs_to_draw_and_explain_it(homepage):
    page = await homepage.recommend()
    for item in items_of(page):
        assert item.display.title
        assert item.display.category
        assert item.reasons
        assert item.sources
        assert item.token
        assert 0 < item.score < 1
        assert item.propensity == 1


async def test_the_answer_names_what_made_it(homepage):
    homepage.profile.has_read(1, 2)
    page = await homepage.recommend()
    assert page.versions.model == "stand-in"
    assert page.versions.index == "index-1"
    assert page.versions.profile == "2"
    assert page.versions.rules
    assert not page.versions.calibrated
    stages = [homepage_pb2.Stage.Name(timing.stage) for timing in page.timings]
    assert stages == ["STAGE_PROFILE", "STAGE_RETRIEVAL", "STAGE_RANKING", "STAGE_ASSEMBLY"]


async def test_what_the_model_prefers_stands_first(homepage):
    homepage.ranker.probability = lambda number: 0.9 if number == 155 else 0.2
    page = await homepage.recommend(knobs=homepage_pb2.Knobs(diversity=homepage_pb2.LEVEL_OFF))
    assert ids_of(page)[0] == "i155"


async def test_diversity_keeps_one_category_from_filling_the_top(homepage):
    homepage.ranker.probability = lambda number: 0.6 if number % 5 == 0 else 0.5
    plain = await homepage.recommend(knobs=homepage_pb2.Knobs(diversity=homepage_pb2.LEVEL_OFF))
    mixed = await homepage.recommend(knobs=homepage_pb2.Knobs(diversity=homepage_pb2.LEVEL_HIGH))
    top = {
        name: [item.display.category for item in items_of(page)[:8]]
        for name, page in (("plain", plain), ("mixed", mixed))
    }
    assert top["plain"].count("c0") == 8
    assert top["mixed"].count("c0") <= 3


async def test_the_freshness_knob_lifts_recent_items(homepage):
    homepage.retrieval.candidates = [candidate(n, age_days=300) for n in range(100, 130)] + [candidate(200, age_days=0)]
    off = await homepage.recommend(page_size=5, knobs=homepage_pb2.Knobs(freshness=homepage_pb2.LEVEL_OFF))
    high = await homepage.recommend(page_size=5, knobs=homepage_pb2.Knobs(freshness=homepage_pb2.LEVEL_HIGH))
    assert ids_of(high)[0] == "i200"
    assert ids_of(off)[0] != "i200"


async def test_the_ranker_is_told_age_nearness_and_the_moment_of_each_page(homepage):
    near = candidate(1, score=0.25, anchor="i9", age_days=2)
    near.sources.insert(0, retrieval_pb2.SourceScore(source=retrieval_pb2.SOURCE_POPULAR, score=0.75))
    undated = candidate(2, score=0.5)
    undated.item.ClearField("published_at")
    homepage.retrieval.candidates = [near, undated]
    await homepage.recommend()
    (request,) = homepage.ranker.requests
    assert request.now == to_timestamp(NOW)
    nan = pytest.approx(math.nan, nan_ok=True)
    assert request.signals.published_at_seconds[:] == [NOW - 2 * DAY, nan]
    assert request.signals.retrieval_scores[:] == [0.25, nan]


@pytest.mark.parametrize("blended", [False, True])
async def test_what_a_fusion_has_weighed_is_not_added_again_nor_told_as_a_reason(homepage, blended):
    homepage.ranker.blended = blended
    homepage.profile.has_read(1)
    homepage.profile.profile.interests.add(category="c3", short_term=1.0, long_term=1.0)
    homepage.retrieval.candidates = [candidate(n, anchor="i1", popularity=0.5, age_days=0.1) for n in range(100, 110)]
    page = await homepage.recommend(page_size=10)
    told = {reason.code for item in items_of(page) for reason in item.reasons}
    added = {homepage_pb2.REASON_CODE_INTEREST, homepage_pb2.REASON_CODE_POPULAR, homepage_pb2.REASON_CODE_NEW}
    assert told == {homepage_pb2.REASON_CODE_SIMILAR_TO} | (set() if blended else added)
    assert all((item.score == pytest.approx(0.5)) is blended for item in items_of(page))


async def test_a_caller_who_wants_things_fresh_gets_them_from_a_fusion_too(homepage):
    homepage.ranker.blended = True
    homepage.retrieval.candidates = [candidate(n, age_days=300) for n in range(100, 110)] + [candidate(200, age_days=0)]
    for level, first in ((homepage_pb2.LEVEL_HIGH, True), (homepage_pb2.LEVEL_OFF, False)):
        page = await homepage.recommend(page_size=11, knobs=homepage_pb2.Knobs(freshness=level))
        assert (ids_of(page)[0] == "i200") is first
        assert (ids_of(page)[-1] == "i200") is not first


async def test_a_reader_gets_a_section_about_what_was_read_and_why(homepage):
    homepage.profile.has_read(1, 2)
    homepage.retrieval.candidates = [
        *(candidate(n, score=0.9, anchor="i1") for n in range(200, 230)),
        *(candidate(n, score=0.5, popularity=0.5) for n in range(300, 330)),
        *(candidate(n, score=0.5, age_days=0.1) for n in range(400, 430)),
    ]
    page = await homepage.recommend()
    because = section(page, "because")
    assert because.title == "Because you read “Title 1”"
    assert because.anchor_item_id == "i1"
    assert all(200 <= int(item.item_id[1:]) < 230 for item in because.items)
    assert because.items[0].reasons[0].evidence_item_id == "i1"
    assert [each.id for each in page.sections] == ["for_you", "because", "trending", "new"]
    assert all(item.reasons[0].code == homepage_pb2.REASON_CODE_POPULAR for item in section(page, "trending").items)
    assert all(item.reasons[0].code == homepage_pb2.REASON_CODE_NEW for item in section(page, "new").items)


async def test_a_new_user_gets_a_full_page_without_claims_about_taste(homepage):
    page = await homepage.recommend(user_id="", visitor_id="never-seen")
    assert len(ids_of(page)) == 24
    assert page.sections[0].title == "Good to start with"
    assert not page.HasField("profile_age")
    personal = {homepage_pb2.REASON_CODE_SIMILAR_TO, homepage_pb2.REASON_CODE_INTEREST}
    assert not any(reason.code in personal for item in items_of(page) for reason in item.reasons)


async def test_interest_in_a_category_lifts_its_items_and_is_told(homepage):
    homepage.profile.has_read(1)
    homepage.profile.profile.interests.append(profile_pb2.Interest(category="c3", short_term=4, long_term=9))
    page = await homepage.recommend(page_size=4, knobs=homepage_pb2.Knobs(diversity=homepage_pb2.LEVEL_OFF))
    assert {item.display.category for item in items_of(page)} == {"c3"}
    assert "You care for c3" in [reason.text for reason in items_of(page)[0].reasons]


async def test_recent_events_count_at_once(homepage):
    event = event_pb2.Event(action=event_pb2.ACTION_CLICK, item_id="i100", time=to_timestamp(NOW))
    page = await homepage.recommend(recent_events=[event])
    assert "i100" not in ids_of(page)
    assert homepage.retrieval.requests[-1].history[0].item_id == "i100"
    assert homepage.ranker.requests[-1].history[0].item.item_id == "i100"


async def test_the_ranker_reads_each_item_of_the_history_once_with_the_last_act_newest_first(homepage):
    acts = [("i100", "CLICK", 50), ("i101", "CLICK", 40), ("i100", "LIKE", 30)]
    events = [
        event_pb2.Event(action=f"ACTION_{action}", item_id=item_id, time=to_timestamp(NOW - back))
        for item_id, action, back in acts
    ]
    await homepage.recommend(recent_events=events)
    read = [(entry.item.item_id, entry.action) for entry in homepage.ranker.requests[-1].history]
    assert read == [("i100", event_pb2.ACTION_LIKE), ("i101", event_pb2.ACTION_CLICK)]


async def test_excluded_and_hidden_items_stay_away(homepage):
    homepage.profile.profile.hidden_item_ids.append("i101")
    page = await homepage.recommend(page_size=100, exclude_item_ids=["i100"])
    assert {"i100", "i101"}.isdisjoint(ids_of(page))


async def test_without_leave_to_personalise_the_profile_is_not_even_read(homepage):
    homepage.profile.has_read(1)
    event = event_pb2.Event(action=event_pb2.ACTION_CLICK, item_id="i100", time=to_timestamp(NOW))
    await homepage.recommend(consent=event_pb2.Consent(personalise=False), recent_events=[event])
    assert homepage.profile.requests == []
    assert list(homepage.retrieval.requests[-1].history) == []
    assert list(homepage.ranker.requests[-1].history) == []


async def test_a_stored_refusal_to_personalise_is_kept(homepage):
    homepage.profile.has_read(1)
    homepage.profile.profile.consent.personalise = False
    await homepage.recommend()
    assert list(homepage.retrieval.requests[-1].history) == []


async def test_a_strict_filter_gives_a_short_page_and_a_lax_one_fillers(homepage):
    only = item_pb2.ItemFilter(include_categories=["c1"], strict=True)
    strict = await homepage.recommend(filter=only)
    assert {item.display.category for item in items_of(strict)} == {"c1"}
    assert len(ids_of(strict)) == 12
    only.strict = False
    lax = await homepage.recommend(filter=only)
    kinds = [item.slot_kind for item in items_of(lax)]
    assert len(kinds) == 24
    assert kinds.count(event_pb2.SLOT_KIND_FILLER) == 12
    assert len(set(ids_of(lax))) == 24
    for item in items_of(lax):
        assert (item.display.category == "c1") == (item.slot_kind == event_pb2.SLOT_KIND_ORGANIC)


async def test_explain_tells_the_parts_of_the_score(homepage):
    page = await homepage.recommend(explain=True)
    parts = items_of(page)[0].score_parts
    assert parts.action_probabilities["click"] == pytest.approx(0.5)
    assert 0 < parts.diversity_factor <= 1
    silent = await homepage.recommend()
    assert not items_of(silent)[0].HasField("score_parts")


async def test_the_same_request_id_gives_the_same_recommendation(homepage):
    first = await homepage.recommend(request_id="r-1")
    again = await homepage.recommend(request_id="r-1")
    other = await homepage.recommend(request_id="r-2")
    assert first.recommendation_id == again.recommendation_id
    assert ids_of(first) == ids_of(again)
    assert first.recommendation_id != other.recommendation_id


async def test_a_preview_may_look_ahead(homepage):
    context = homepage_pb2.RequestContext(now=to_timestamp(NOW + 3600))
    assert ids_of(await homepage.recommend(context=context, mode=homepage_pb2.MODE_PREVIEW))


async def test_the_same_request_id_on_another_surface_is_another_recommendation(homepage):
    first = await homepage.recommend(request_id="r-1", surface="home")
    other = await homepage.recommend(request_id="r-1", surface="sidebar")
    assert first.recommendation_id != other.recommendation_id


async def test_a_served_page_reaches_the_event_log_once_and_a_preview_never(homepage):
    preview = await homepage.recommend(mode=homepage_pb2.MODE_PREVIEW)
    page = await homepage.recommend(request_id="r-1")
    await homepage.recommend(request_id="r-1")
    async with asyncio.timeout(5):
        await homepage.profile.arrived.wait()
        while page.recommendation_id not in homepage.profile.recorded:
            homepage.profile.arrived.clear()
            await homepage.profile.arrived.wait()
    record = homepage.profile.recorded[page.recommendation_id].served_page
    assert [each.item_id for each in record.items] == ids_of(page)
    assert [each.position for each in record.items] == list(range(1, 25))
    assert preview.recommendation_id not in homepage.profile.recorded


INVALID = {
    "user_id": {"user_id": ""},
    "page_size": {"page_size": -1},
    "surface": {"surface": "s" * 65},
    "exclude_item_ids": {"exclude_item_ids": ["x"] * 1001},
    "exclude_item_ids[1]": {"exclude_item_ids": ["x", ""]},
    "recent_events[0].item_id": {"recent_events": [event_pb2.Event(action=1, time=to_timestamp(NOW))]},
    "recent_events[0].action": {"recent_events": [event_pb2.Event(item_id="i", time=to_timestamp(NOW))]},
    "recent_events[0].time": {"recent_events": [event_pb2.Event(item_id="i", action=1)]},
    "filter.max_age": {"filter": item_pb2.ItemFilter(max_age=Duration(seconds=-5))},
    "filter.languages[0]": {"filter": item_pb2.ItemFilter(languages=["en_US"])},
    "filter.domains[0]": {"filter": item_pb2.ItemFilter(domains=["x" * 65])},
    "context.now": {"context": homepage_pb2.RequestContext(now=to_timestamp(NOW + 3600))},
    "knobs.diversity": {"knobs": homepage_pb2.Knobs(diversity=9)},
    "mode": {"mode": 17},
    "page_token": {"page_token": "nonsense"},
}


@pytest.mark.parametrize("field", INVALID)
async def test_a_bad_field_is_named(homepage, field):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await homepage.recommend(**INVALID[field])
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    error = from_rpc_error(caught.value)
    assert [violation.field for violation in error.violations] == [field]
    assert error.violations[0].description


async def test_all_bad_fields_are_told_at_once(homepage):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await homepage.recommend(user_id="", page_size=-1, mode=17)
    assert {violation.field for violation in from_rpc_error(caught.value).violations} == {
        "user_id",
        "page_size",
        "mode",
    }


@pytest.mark.parametrize(
    ("feature", "fields"),
    [
        ("RecommendRequest.promotions", {"promotions": [homepage_pb2.Promotion(name="p")]}),
        ("RecommendRequest.knobs.exploration", {"knobs": homepage_pb2.Knobs(exploration=homepage_pb2.LEVEL_LOW)}),
    ],
)
async def test_what_is_not_built_yet_says_so(homepage, feature, fields):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await homepage.recommend(**fields)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    error = from_rpc_error(caught.value)
    assert error.reason is Reason.NOT_IMPLEMENTED
    assert error.metadata["feature"] == feature


async def test_explain_is_not_built_yet_and_says_so(homepage):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await homepage.stub.Explain(homepage_pb2.ExplainRequest(token="x"))
    assert from_rpc_error(caught.value).reason is Reason.NOT_IMPLEMENTED


async def test_for_you_falls_in_score_when_diversity_is_off(homepage):
    homepage.ranker.probability = lambda number: (number % 10 + 1) / 12
    page = await homepage.recommend(page_size=7, knobs=homepage_pb2.Knobs(diversity=homepage_pb2.LEVEL_OFF))
    scores = [item.score for item in section(page, "for_you").items]
    assert all(a >= b for a, b in pairwise(scores))
