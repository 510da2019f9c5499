"""The gRPC face of the orchestrator."""

from collections.abc import Callable
from typing import Any

import grpc
from homepage.profile.v1 import profile_pb2
from homepage.v1 import homepage_pb2, homepage_pb2_grpc

from services.orchestrator.feedback import FeedbackReader
from services.orchestrator.recommend import NothingToShowError, Recommender
from services.orchestrator.requests import RequestReader
from services.orchestrator.responses import PageWriter, served_page
from services.orchestrator.slate import Page
from services.orchestrator.upstreams import ProfileClient
from shared import call
from shared.clock import Clock
from shared.errors import Reason, ServiceError, not_implemented
from shared.metrics import DEGRADED, STAGE_SECONDS, Metrics

_Context = grpc.aio.ServicerContext[Any, Any]


class HomepageServicer(homepage_pb2_grpc.HomepageServicer):
    """homepage.v1.Homepage."""

    def __init__(  # noqa: PLR0913
        self,
        recommender: Recommender,
        reader: RequestReader,
        writer: PageWriter,
        feedback: FeedbackReader,
        profiles: ProfileClient,
        *,
        served: Callable[[profile_pb2.UserEvent], None],
        clock: Clock,
        metrics: Metrics,
        longest_page_s: float,
    ) -> None:
        self._recommender = recommender
        self._reader = reader
        self._writer = writer
        self._feedback = feedback
        self._profiles = profiles
        self._served = served
        self._clock = clock
        self._metrics = metrics
        self._longest_page_s = longest_page_s

    async def Recommend(
        self,
        request: homepage_pb2.RecommendRequest,
        context: _Context,  # noqa: ARG002
    ) -> homepage_pb2.RecommendResponse:
        """One page; see the contract."""
        ask = self._reader.read(request, self._ends())
        try:
            page = await self._recommender.page(ask)
        except NothingToShowError:
            message = "no item can be shown: the library cannot be reached or has nothing left for this request"
            raise ServiceError(Reason.NOTHING_TO_SHOW, message, retry_after_s=1.0) from None
        self._observe(page)
        response = self._writer.write(page, ask, request, self._clock.now())
        if page.more:
            placed = [item.item_id for section in response.sections for item in section.items]
            response.next_page_token = self._reader.next_page(request, ask, placed)
        if page.sections and request.mode in (homepage_pb2.MODE_UNSPECIFIED, homepage_pb2.MODE_LIVE):
            self._served(served_page(page, ask, request))
        return response

    async def RecordFeedback(
        self,
        request: homepage_pb2.RecordFeedbackRequest,
        context: _Context,  # noqa: ARG002
    ) -> homepage_pb2.RecordFeedbackResponse:
        """Checks the tokens and writes to the event log before it answers."""
        recorded = await self._profiles.record(self._feedback.read(request))
        return homepage_pb2.RecordFeedbackResponse(recorded=recorded.recorded, duplicates=recorded.duplicates)

    async def Explain(
        self,
        request: homepage_pb2.ExplainRequest,  # noqa: ARG002
        context: _Context,  # noqa: ARG002
    ) -> homepage_pb2.ExplainResponse:
        """Not implemented yet."""
        raise not_implemented("Homepage.Explain")

    def _ends(self) -> float:
        """When a page must be there, in monotonic seconds: the call's deadline, or sooner."""
        latest = self._clock.monotonic() + self._longest_page_s
        ends = call.deadline.get()
        return latest if ends is None else min(ends, latest)

    def _observe(self, page: Page) -> None:
        for timing in page.timings:
            self._metrics.histogram(STAGE_SECONDS, timing.stage.value).observe(timing.elapsed_s)
        for degradation in page.degraded:
            self._metrics.counter(DEGRADED, degradation.stage.value, degradation.cause.value).inc()
