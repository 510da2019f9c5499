"""`python -m tests.images.page ORCHESTRATOR PROFILE RETRIEVAL RANKER`: whether four hosts serve a page together.

Waits until all are ready, loads the generated world with some of its behaviour, asks for a page that nothing may be
missing from, prints it, and ends with status 0.
"""

import sys
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from homepage.v1 import homepage_pb2, homepage_pb2_grpc

from services.cli.load import LoadOptions
from services.cli.load import run as load
from services.cli.page_view import page_view
from services.cli.terminal import console
from shared.datasets.generated import WorldConfig
from shared.timestamps import to_timestamp

PORTS = {"orchestrator": 50051, "profile": 50052, "retrieval": 50053, "ranker": 50054}
ADMIN_FROM_PORT = 10
READY_WITHIN_S, PAGE_WITHIN_S = 180.0, 5.0
ACTS = 5_000


def main(hosts: list[str]) -> None:
    """See above."""
    at = dict(zip(PORTS, hosts, strict=True))
    limit = time.monotonic() + READY_WITHIN_S
    for service, port in PORTS.items():
        _wait_for(service, f"{at[service]}:{port + ADMIN_FROM_PORT}", limit)
    addresses = {service: f"{at[service]}:{port}" for service, port in PORTS.items()}
    out = console()
    if load(LoadOptions(None, addresses["retrieval"], addresses["profile"], ACTS), out):
        raise SystemExit(1)
    page = _page(addresses["orchestrator"])
    out.print(page_view(page, width=out.width))
    if page.degraded or not any(section.items for section in page.sections):
        raise SystemExit(f"the page is not whole: {list(page.degraded)}")


def _wait_for(service: str, address: str, limit: float) -> None:
    asked = health_pb2.HealthCheckRequest(service="readiness")
    with grpc.insecure_channel(address) as channel:
        for answer in health_pb2_grpc.HealthStub(channel).Watch(
            asked, wait_for_ready=True, timeout=limit - time.monotonic()
        ):
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
    raise SystemExit(f"{service} is not ready")


def _page(address: str) -> homepage_pb2.RecommendResponse:
    request = homepage_pb2.RecommendRequest(user_id="user-00294", surface="home")
    request.context.now.CopyFrom(to_timestamp(WorldConfig().now))
    with grpc.insecure_channel(address) as channel:
        answer: homepage_pb2.RecommendResponse = homepage_pb2_grpc.HomepageStub(channel).Recommend(
            request, timeout=PAGE_WITHIN_S
        )
    return answer


if __name__ == "__main__":
    main(sys.argv[1:])
