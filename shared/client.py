"""One factory for the channels between services.

A channel spreads calls over all addresses of a name (round_robin), follows their health, retries UNAVAILABLE and
nothing else, never waits for a server that is not there, and gives every call an explicit deadline: the least of
what the caller asks, a default, and what is left of the incoming call minus a margin. (The service config's own
`timeout` is not used: it fires early in Python, and the server never learns of it.)
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from shared import call
from shared.clock import Clock, SystemClock
from shared.metrics import CLIENT_DURATION, Metrics

_RETRY = {
    "maxAttempts": 3,
    "initialBackoff": "0.02s",
    "maxBackoff": "0.2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}

_Continuation = Callable[[grpc.aio.ClientCallDetails, Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """How calls are made. Times in seconds."""

    default_deadline_s: float = 5.0
    deadline_margin_s: float = 0.005
    """Kept back from the incoming call's time, to answer in."""
    max_message_bytes: int = 16 * 2**20
    credentials: grpc.ChannelCredentials | None = None
    health_checked: bool = True
    """Leave out addresses whose health service says NOT_SERVING."""
    tracing: Sequence[grpc.aio.ClientInterceptor] = ()
    clock: Clock = field(default_factory=SystemClock)


def service_config(health_checked: bool) -> str:
    """gRPC service config as JSON: round_robin, health checks, retry (gRPC proposals A2, A6, A17)."""
    config: dict[str, object] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [{"name": [{}], "retryPolicy": _RETRY}],
        "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
    }
    if health_checked:
        config["healthCheckConfig"] = {"serviceName": ""}
    return json.dumps(config)


def open_channel(target: str, metrics: Metrics, options: ChannelOptions) -> grpc.aio.Channel:
    """A channel to `host:port`, `dns:///name:port` or `unix:/path`; close it when done."""
    arguments: list[tuple[str, Any]] = [
        ("grpc.service_config", service_config(options.health_checked)),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_send_message_length", options.max_message_bytes),
        ("grpc.keepalive_time_ms", 120_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # The defaults wait up to two minutes before they try a restarted service again.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.dns_min_time_between_resolutions_ms", 5_000),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    each = [kind(target, metrics, options) for kind in (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)]
    interceptors = [*each, *options.tracing]
    if options.credentials is None:
        return grpc.aio.insecure_channel(target, options=arguments, interceptors=interceptors)
    return grpc.aio.secure_channel(target, options.credentials, options=arguments, interceptors=interceptors)


class _Outgoing:
    """Deadline, request id and metrics of outgoing calls."""

    def __init__(self, target: str, metrics: Metrics, options: ChannelOptions) -> None:
        self._target = target
        self._metrics = metrics
        self._options = options

    def _details(self, details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
        limit = self._options.default_deadline_s if details.timeout is None else details.timeout
        ends = call.deadline.get()
        if ends is not None:
            limit = min(limit, ends - self._options.clock.monotonic() - self._options.deadline_margin_s)
        metadata = details.metadata if details.metadata is not None else grpc.aio.Metadata()
        request_id = call.request_id.get()
        if request_id and metadata.get(call.REQUEST_ID_KEY) is None:
            metadata = grpc.aio.Metadata(*metadata, (call.REQUEST_ID_KEY, request_id))
        return grpc.aio.ClientCallDetails(details.method, max(limit, 0.0), metadata, details.credentials, False)

    async def _single(self, continuation: _Continuation, details: grpc.aio.ClientCallDetails, request: object) -> Any:
        """A call with one response: waits for its end, to know its status and time."""
        started = time.perf_counter()
        outgoing = await continuation(self._details(details), request)
        try:
            code = await outgoing.code()
        except asyncio.CancelledError:
            outgoing.cancel()
            self._record(details.method, grpc.StatusCode.CANCELLED, started)
            raise
        self._record(details.method, code, started)
        return outgoing

    async def _stream(self, continuation: _Continuation, details: grpc.aio.ClientCallDetails, request: object) -> Any:
        return await continuation(self._details(details), request)

    def _record(self, method: str | bytes, code: grpc.StatusCode, started: float) -> None:
        name = (method.decode() if isinstance(method, bytes) else method).lstrip("/")
        histogram = self._metrics.histogram(CLIENT_DURATION, name, self._target, code.name)
        histogram.observe(time.perf_counter() - started)


class _UnaryUnary(_Outgoing, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._single(continuation, client_call_details, request)


class _UnaryStream(_Outgoing, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._stream(continuation, client_call_details, request)


class _StreamUnary(_Outgoing, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._stream(continuation, client_call_details, request_iterator)


class _StreamStream(_Outgoing, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._stream(continuation, client_call_details, request_iterator)
