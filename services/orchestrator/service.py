"""Wires the orchestrator."""

import asyncio
import contextlib
import logging
import secrets

import grpc
from homepage.profile.v1 import profile_pb2
from homepage.v1 import homepage_pb2, homepage_pb2_grpc

from services.orchestrator.budget import Budget
from services.orchestrator.fallback import PopularFallback
from services.orchestrator.feedback import FeedbackReader
from services.orchestrator.fusion import FusionWeights
from services.orchestrator.recommend import Recommender, Rules, Upstreams
from services.orchestrator.requests import RequestReader
from services.orchestrator.responses import PageWriter
from services.orchestrator.served import ServedLimits, ServedPages
from services.orchestrator.servicer import HomepageServicer
from services.orchestrator.settings import OrchestratorSettings
from services.orchestrator.slate import StageError
from services.orchestrator.tokens import Tokens
from services.orchestrator.upstreams import LibraryClient, ProfileClient, RankerClient
from shared.logs import FIELDS
from shared.metrics import SERVED_PAGES_DROPPED
from shared.server import Runtime
from shared.start import StartError

log = logging.getLogger(__name__)

_REFRESH_LIMIT_S = 2.0
_FIRST_RETRY_S = 0.5


class OrchestratorService:
    """The orchestrator as the runtime runs it. Ready at once: its upstreams may come and go."""

    names: tuple[str, ...] = (homepage_pb2.DESCRIPTOR.services_by_name["Homepage"].full_name,)

    def __init__(self, runtime: Runtime, settings: OrchestratorSettings) -> None:
        self._runtime = runtime
        self._settings = settings
        try:
            self._tokens = Tokens(_keys(settings))
        except ValueError as error:
            raise StartError(f"HOMEPAGE_ORCHESTRATOR_TOKEN_KEYS: {error}") from None
        self._fallback = PopularFallback()
        self._rules = Rules(
            weights=FusionWeights(
                popularity=settings.weight_popularity,
                interest=settings.weight_interest,
                freshness_half_life_s=settings.freshness_half_life_s,
            ),
            budget=Budget(),
            candidates=settings.candidates,
            history=settings.history,
        )
        self._channels = [
            runtime.channel(address)
            for address in (settings.profile_address, settings.retrieval_address, settings.ranker_address)
        ]
        profile, retrieval, ranker = self._channels
        self._profiles = ProfileClient(profile, settings.history)
        self._library = LibraryClient(retrieval)
        self._ranker = RankerClient(ranker)
        self._served: ServedPages[profile_pb2.UserEvent] = ServedPages(
            self._profiles.record_served,
            lambda cause, count: runtime.metrics.counter(SERVED_PAGES_DROPPED, cause).inc(count),
            ServedLimits(),
        )
        self._refreshing: asyncio.Task[None] | None = None

    def register(self, server: grpc.aio.Server) -> None:
        """Adds homepage.v1.Homepage."""
        runtime = self._runtime
        upstreams = Upstreams(self._profiles, self._library, self._ranker)
        servicer = HomepageServicer(
            Recommender(upstreams, self._fallback, self._rules, runtime.clock),
            RequestReader(self._tokens, runtime.ids, runtime.clock),
            PageWriter(self._tokens, self._rules.version),
            FeedbackReader(self._tokens, runtime.clock, self._settings.token_age_s),
            self._profiles,
            served=self._served.add,
            clock=runtime.clock,
            metrics=runtime.metrics,
            longest_page_s=self._settings.longest_page_s,
        )
        homepage_pb2_grpc.add_HomepageServicer_to_server(servicer, server)

    async def start(self) -> None:
        """Begins to send served pages and to keep the popular list fresh."""
        if not self._settings.token_keys.get_secret_value():
            log.warning("HOMEPAGE_ORCHESTRATOR_TOKEN_KEYS is not set: tokens end with this process")
        self._served.start()
        self._refreshing = asyncio.create_task(self._refresh())

    async def stop(self) -> None:
        """Sends the last served pages and closes the channels."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._refreshing
        await self._served.stop()
        for channel in self._channels:
            await channel.close()

    async def _refresh(self) -> None:
        """Keeps the list for the time without retrieval; tries sooner while there is none yet."""
        while True:
            try:
                now = self._runtime.clock.now()
                found = await self._library.popular(self._settings.candidates, now, _REFRESH_LIMIT_S)
                self._fallback.keep(found.candidates)
            except StageError as error:
                log.info("popular list not refreshed", extra={FIELDS: {"cause": error.cause.value}})
            except Exception:
                log.exception("popular list not refreshed")  # a defect, which must not end the refreshing
            await asyncio.sleep(self._settings.popular_refresh_s if self._fallback.size else _FIRST_RETRY_S)


def _keys(settings: OrchestratorSettings) -> list[bytes]:
    """The signing keys; a random one when none is set."""
    given = [key.strip().encode() for key in settings.token_keys.get_secret_value().split(",") if key.strip()]
    return given or [secrets.token_bytes(32)]
