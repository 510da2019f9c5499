"""Whatever fails behind the orchestrator, the caller gets a page, and the page says what failed."""

import asyncio

import grpc
import pytest
from homepage.types.v1 import event_pb2, item_pb2
from homepage.v1 import homepage_pb2

from shared.errors import Reason
from shared.rich_status import from_rpc_error
from shared.timestamps import to_timestamp
from tests.orchestrator.test_recommend import ids_of, items_of
from tests.stand_ins import NOW


def told(page):
    return [
        (
            homepage_pb2.Stage.Name(each.stage).removeprefix("STAGE_"),
            homepage_pb2.DegradedCause.Name(each.cause).removeprefix("DEGRADED_CAUSE_"),
            each.fallback,
        )
        for each in page.degraded
    ]


async def popular_list_is_there(homepage):
    """Waits for the orchestrator's own first request for the popular list."""
    async with asyncio.timeout(10):
        while not any(len(request.sources) == 2 for request in homepage.retrieval.requests):
            await homepage.recommend()


async def test_without_profile_the_page_is_made_from_the_request(homepage):
    homepage.profile.has_read(1)
    homepage.profile.failing.status = grpc.StatusCode.UNAVAILABLE
    event = event_pb2.Event(action=event_pb2.ACTION_CLICK, item_id="i100", time=to_timestamp(NOW))
    page = await homepage.recommend(recent_events=[event])
    assert told(page) == [("PROFILE", "UNAVAILABLE", "request_events")]
    assert len(ids_of(page)) == 24
    assert [entry.item_id for entry in homepage.retrieval.requests[-1].history] == ["i100"]


async def test_without_ranker_candidates_stand_in_the_order_of_their_source(homepage):
    homepage.ranker.failing.status = grpc.StatusCode.RESOURCE_EXHAUSTED
    page = await homepage.recommend(page_size=7, knobs=homepage_pb2.Knobs(diversity=homepage_pb2.LEVEL_OFF))
    assert told(page) == [("RANKING", "OVERLOADED", "source_order")]
    assert ids_of(page) == [f"i{n}" for n in range(100, 107)]
    assert page.versions.model == ""
    assert all(0 < item.score < 1 for item in items_of(page))


async def test_without_retrieval_the_last_popular_list_is_shown_without_what_was_seen_or_excluded(homepage):
    await popular_list_is_there(homepage)
    homepage.retrieval.failing.status = grpc.StatusCode.UNAVAILABLE
    homepage.profile.has_read(100)
    page = await homepage.recommend(page_size=30, exclude_item_ids=["i101"])
    assert told(page) == [("RETRIEVAL", "UNAVAILABLE", "last_popular")]
    assert len(ids_of(page)) == 30
    assert {"i100", "i101"}.isdisjoint(ids_of(page))
    assert {source for item in items_of(page) for source in item.sources} == {"fallback_popular"}
    assert {removed.filter: removed.count for removed in page.removed} == {"seen": 2}
    assert page.versions.index == ""


async def test_with_nothing_at_all_to_show_the_call_fails_and_says_when_to_try_again(start_homepage):
    homepage = await start_homepage()
    homepage.retrieval.candidates = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await homepage.recommend()
    error = from_rpc_error(caught.value)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert error.reason is Reason.NOTHING_TO_SHOW
    assert error.retry_after_s > 0


async def test_a_request_that_nothing_matches_gets_a_page_without_sections(homepage):
    nothing = item_pb2.ItemFilter(include_categories=["no such"], strict=True)
    page = await homepage.recommend(filter=nothing)
    assert list(page.sections) == []
    assert page.next_page_token == ""
    assert told(page) == []


async def test_without_retrieval_a_lax_filter_is_filled_from_the_popular_list(homepage):
    await popular_list_is_there(homepage)
    homepage.retrieval.failing.status = grpc.StatusCode.UNAVAILABLE
    page = await homepage.recommend(filter=item_pb2.ItemFilter(include_categories=["c1"]))
    assert len(ids_of(page)) == len(set(ids_of(page))) == 24
    assert {item.slot_kind for item in items_of(page) if item.display.category != "c1"} == {event_pb2.SLOT_KIND_FILLER}
    assert told(page) == [("RETRIEVAL", "UNAVAILABLE", "last_popular")]


async def test_a_caller_who_would_wait_for_ever_gets_a_page_in_time(start_homepage):
    homepage = await start_homepage(longest_page_s=0.5)
    await popular_list_is_there(homepage)
    homepage.ranker.failing.hang = True
    page = await asyncio.wait_for(homepage.recommend(timeout=60), 10)
    assert told(page) == [("RANKING", "LATE", "source_order")]


@pytest.mark.parametrize("late", ["profile", "retrieval", "ranker"])
async def test_a_stage_that_hangs_costs_its_share_of_the_time_and_no_more(homepage, late):
    await popular_list_is_there(homepage)
    getattr(homepage, late).failing.hang = True
    page = await homepage.recommend(timeout=0.6)
    assert [(stage, cause) for stage, cause, _ in told(page)] == [
        (
            {"profile": "PROFILE", "retrieval": "RETRIEVAL", "ranker": "RANKING"}[late],
            "LATE",
        )
    ]
    assert len(ids_of(page)) == 24


async def test_with_everything_behind_it_gone_there_is_still_a_page(homepage):
    await popular_list_is_there(homepage)
    for stand_in in (homepage.profile, homepage.retrieval, homepage.ranker):
        stand_in.failing.status = grpc.StatusCode.UNAVAILABLE
    page = await homepage.recommend(timeout=2.0)
    assert [stage for stage, _, _ in told(page)] == ["PROFILE", "RETRIEVAL", "RANKING"]
    assert len(ids_of(page)) == 24


async def test_a_defect_behind_it_is_not_shown_to_the_caller(homepage):
    homepage.ranker.failing.status = grpc.StatusCode.INTERNAL
    page = await homepage.recommend()
    assert told(page) == [("RANKING", "FAILED", "source_order")]
    assert "stand-in" not in str(page.degraded)
