"""gRPC health checking (grpc.health.v1) whose Watch streams end on drain.

The stock servicer leaves Watch open, which holds a graceful stop for its whole grace. Names: "" and the service's
own names tell readiness, "readiness" too; "liveness" is SERVING as long as the event loop answers at all.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

LIVENESS = "liveness"
READINESS = "readiness"
SERVING: int = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: int = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN: int = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Fitness:
    """Whether a running service can do its work, as it finds itself; it says so, the host's health follows."""

    def __init__(self) -> None:
        self._followers: list[Callable[[bool], None]] = []

    def follow(self, follower: Callable[[bool], None]) -> None:
        """Calls back at every change."""
        self._followers.append(follower)

    def change(self, fit: bool) -> None:
        """Tells the followers."""
        for follower in self._followers:
            follower(fit)


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # the package has no types
    """One readiness for all names of a process; starts NOT_SERVING."""

    def __init__(self, service_names: Iterable[str]) -> None:
        self._names = ("", READINESS, *service_names)
        self._ready = False
        self._fit = True
        self._draining = False
        self._changed = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether the service takes calls."""
        return self._ready

    def set_ready(self, ready: bool) -> None:
        """Changes readiness; once draining it stays NOT_SERVING."""
        self._ready = ready and not self._draining
        self._wake()

    def set_fit(self, fit: bool) -> None:
        """NOT_SERVING while the service finds itself unfit; calls that come all the same are taken."""
        self._fit = fit
        self._wake()

    def drain(self) -> None:
        """NOT_SERVING for good: every Watch is told, then ends."""
        self._draining = True
        self.set_ready(False)

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _status(self, name: str) -> int:
        if name == LIVENESS:
            return SERVING
        if name not in self._names:
            return SERVICE_UNKNOWN
        return SERVING if self._ready and self._fit else NOT_SERVING

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> health_pb2.HealthCheckResponse:
        """The status of a name; NOT_FOUND for an unknown one."""
        status = self._status(request.service)
        if status == SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service name")
        return health_pb2.HealthCheckResponse(status=status)

    async def List(  # noqa: N802
        self,
        request: health_pb2.HealthListRequest,  # noqa: ARG002
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002
    ) -> health_pb2.HealthListResponse:
        """The status of every name."""
        names = (*self._names, LIVENESS)
        statuses = {name: health_pb2.HealthCheckResponse(status=self._status(name)) for name in names}
        return health_pb2.HealthListResponse(statuses=statuses)

    async def Watch(  # noqa: N802
        self,
        request: health_pb2.HealthCheckRequest,
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The status of a name now and at every change, until the drain."""
        told: int | None = None
        while True:
            # Both are read before the yield: a drain that falls into it must still be told.
            changed, draining = self._changed, self._draining
            status = self._status(request.service)
            if status != told:
                told = status
                yield health_pb2.HealthCheckResponse(status=status)
            if draining:
                return
            await changed.wait()
