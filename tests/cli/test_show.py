"""The show: what is asked of the services, what is told, and what is kept of it."""

import asyncio
import io
import json

import grpc
import pytest
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc
from homepage.types.v1 import event_pb2
from homepage.v1 import homepage_pb2, homepage_pb2_grpc
from rich.console import Console

from services.cli.fleet import open_sync_channel
from services.cli.loading import Loaded
from services.cli.report import Report, Scene, StepTime, to_json, write_atomically
from services.cli.show import Show
from shared.timestamps import to_seconds
from tests.conftest import RegisteredService

NOW = 1_768_478_400.0


class FakeHomepage(homepage_pb2_grpc.HomepageServicer):
    """Gives one page until there is feedback, then the other."""

    def __init__(self, before: homepage_pb2.RecommendResponse, after: homepage_pb2.RecommendResponse) -> None:
        self._pages = [before, after]
        self.asked: list[homepage_pb2.RecommendRequest] = []
        self.feedback: list[homepage_pb2.RecordFeedbackRequest] = []

    async def Recommend(
        self, request: homepage_pb2.RecommendRequest, context: grpc.aio.ServicerContext
    ) -> homepage_pb2.RecommendResponse:
        self.asked.append(request)
        return self._pages[bool(self.feedback)]

    async def RecordFeedback(
        self, request: homepage_pb2.RecordFeedbackRequest, context: grpc.aio.ServicerContext
    ) -> homepage_pb2.RecordFeedbackResponse:
        self.feedback.append(request)
        return homepage_pb2.RecordFeedbackResponse(recorded=len(request.feedback))


class FakeProfile(profile_pb2_grpc.ProfileServicer):
    """Everybody cares for Cycling."""

    async def GetProfile(
        self, request: profile_pb2.GetProfileRequest, context: grpc.aio.ServicerContext
    ) -> profile_pb2.GetProfileResponse:
        interests = [profile_pb2.Interest(category="Cycling", long_term=5.0)]
        return profile_pb2.GetProfileResponse(profile=profile_pb2.UserProfile(interests=interests))


@pytest.fixture
def perform(start_service):
    """`await perform(fake)`: the scene of a known user, and what was told."""

    async def run(fake: FakeHomepage) -> tuple[Scene, str]:
        host = await start_service(
            RegisteredService(
                ("show",),
                (homepage_pb2_grpc.add_HomepageServicer_to_server, fake),
                (profile_pb2_grpc.add_ProfileServicer_to_server, FakeProfile()),
            )
        )
        told = io.StringIO()

        def blocking() -> Scene:
            with open_sync_channel(host.address) as channel:
                return Show(channel, channel, {}, Console(file=told, width=110)).known_user("user", NOW)

        return await asyncio.to_thread(blocking), told.getvalue()

    return run


async def test_feedback_goes_to_an_unfamiliar_category_and_the_next_page_is_compared(perform, page_of) -> None:
    fake = FakeHomepage(page_of("a", ("b", "Coffee"), ("c", "Coffee")), page_of(("d", "Coffee"), "e"))
    scene, told = await perform(fake)
    assert [(entry.token, entry.action) for entry in fake.feedback[0].feedback] == [
        ("token-b", event_pb2.ACTION_CLICK),
        ("token-c", event_pb2.ACTION_CLICK),
        ("token-b", event_pb2.ACTION_LIKE),
        ("token-c", event_pb2.ACTION_LIKE),
        ("token-a", event_pb2.ACTION_HIDE),
    ]
    assert scene.still_there == []
    assert "✓ the 3 items acted upon are gone from the page" in told
    assert "2 entered, 3 left" in told


async def test_the_times_of_the_show_run_from_the_data_sets_present_on(perform, page_of) -> None:
    fake = FakeHomepage(page_of("a", ("b", "Coffee")), page_of("e"))
    await perform(fake)
    acts = [to_seconds(entry.time) for entry in fake.feedback[0].feedback]
    assert to_seconds(fake.asked[0].context.now) == NOW < acts[0]
    assert acts == sorted(set(acts))
    assert to_seconds(fake.asked[-1].context.now) > acts[-1]


async def test_an_item_that_stays_although_it_was_acted_upon_is_told_of(perform, page_of) -> None:
    page = page_of("a", ("b", "Coffee"))
    scene, told = await perform(FakeHomepage(page, page))
    assert sorted(scene.still_there) == ["a", "b"]
    assert "✗ 2 items acted upon are still on the page" in told


async def test_a_page_that_is_late_is_told_of_and_asked_for_again_with_more_time(perform, page_of) -> None:
    late = page_of("e")
    late.degraded.add(stage=homepage_pb2.STAGE_RANKING, cause=homepage_pb2.DEGRADED_CAUSE_LATE, fallback="source_order")
    scene, told = await perform(FakeHomepage(page_of("a", ("b", "Coffee")), late))
    assert "Within 500 ms this machine gives a plainer page" in told
    assert scene.after.limit_s == 5.0


async def test_the_report_holds_pages_feedback_changes_and_times(perform, page_of, tmp_path) -> None:
    scene, _ = await perform(FakeHomepage(page_of("a", ("b", "Coffee")), page_of("e", "a")))
    loaded = Loaded(10, 0, 20, 0, 0, 0.1, 0.2, 0.3, "index-1", "embedding-1")
    path = tmp_path / "shown.json"
    path.write_text("old")
    write_atomically(path, to_json(Report("data", 10, 2, loaded, [scene], [StepTime("load", 1.5)])))
    found = json.loads(path.read_text())
    assert found["steps_s"] == {"load": 1.5}
    assert found["scenes"][0]["before"]["page"]["sections"][0]["items"][0]["itemId"] == "a"
    assert found["scenes"][0]["feedback"][0] == {"item_id": "b", "title": "Title of b", "action": "ACTION_CLICK"}
    assert {change["kind"] for change in found["scenes"][0]["changes"]} == {"entered", "left", "down"}
    assert found["scenes"][0]["acted_upon_and_still_there"] == ["a"]
    assert list(tmp_path.iterdir()) == [path], "no half-written file is left"
