"""An orchestrator between stand-ins."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from homepage.profile.v1 import profile_pb2_grpc
from homepage.ranker.v1 import ranker_pb2_grpc
from homepage.retrieval.v1 import retrieval_pb2_grpc
from homepage.v1 import homepage_pb2, homepage_pb2_grpc

from services.orchestrator.service import OrchestratorService
from services.orchestrator.settings import OrchestratorSettings
from shared.clock import Clock, SystemClock
from shared.ids import seeded_ids
from shared.server import Runtime, ServiceHost
from tests.conftest import RegisteredService
from tests.stand_ins import NOW, ProfileStandIn, RankerStandIn, RetrievalStandIn, candidate


class PageClock(SystemClock):
    """Stands still at NOW, while monotonic time runs: deadlines are real, pages are repeatable."""

    def __init__(self) -> None:
        self.wall = NOW

    def now(self) -> float:
        return self.wall


@dataclass
class Homepage:
    """The orchestrator under test and what stands around it."""

    stub: homepage_pb2_grpc.HomepageStub
    host: ServiceHost
    profile: ProfileStandIn
    retrieval: RetrievalStandIn
    ranker: RankerStandIn
    clock: Clock
    hosts: dict[str, ServiceHost] = field(default_factory=dict)

    async def recommend(self, timeout: float = 5.0, **fields: Any) -> homepage_pb2.RecommendResponse:
        fields.setdefault("user_id", "ann")
        return await self.stub.Recommend(homepage_pb2.RecommendRequest(**fields), timeout=timeout)


StartHomepage = Callable[..., Awaitable[Homepage]]


@pytest.fixture
async def start_homepage(start_service, open_test_channel, tmp_path) -> StartHomepage:
    """`await start_homepage(**orchestrator settings)`; sixty popular candidates i100 to i159 at first."""

    async def start(**settings: Any) -> Homepage:
        profile = ProfileStandIn()
        retrieval = RetrievalStandIn([candidate(n, score=(160 - n) / 60) for n in range(100, 160)])
        ranker = RankerStandIn()
        stand_ins = {
            "profile": (profile_pb2_grpc.add_ProfileServicer_to_server, profile),
            "retrieval": (retrieval_pb2_grpc.add_RetrievalServicer_to_server, retrieval),
            "ranker": (ranker_pb2_grpc.add_RankerServicer_to_server, ranker),
        }
        hosts = {}
        for name, registration in stand_ins.items():
            service = RegisteredService((), registration)
            hosts[name] = await start_service(service, listen=f"unix:{tmp_path}/{name}.sock")
        clock = PageClock()
        addresses = {f"{name}_address": host.address for name, host in hosts.items()}
        given = {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0", "metrics_listen": "", "grace_s": 1.0}
        given |= {"token_keys": "k" * 32, **addresses, **settings}
        wired = OrchestratorSettings(**given)
        runtime = Runtime(wired, clock=clock, ids=seeded_ids(1))
        host = await start_service(OrchestratorService(runtime, wired), runtime)
        stub = homepage_pb2_grpc.HomepageStub(open_test_channel(host))
        return Homepage(stub, host, profile, retrieval, ranker, clock, hosts)

    return start


@pytest.fixture
async def homepage(start_homepage: StartHomepage) -> Homepage:
    """A started homepage with default settings."""
    return await start_homepage()
