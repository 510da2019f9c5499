"""What happens around every call of a server, as one small class each.

An interceptor here is an asynchronous context manager around the handler; `_Around` applies it to all four kinds
of RPC. Order, outermost first: CallLog (request id and log line), CallMetrics, tracing, ErrorMapping, Admission
(deadline and load).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_status import rpc_status

from shared import call
from shared.clock import Clock
from shared.concurrency_limit import ConcurrencyLimit, Ended
from shared.errors import Reason, ServiceError
from shared.ids import IdSource
from shared.logs import FIELDS, Pseudonyms
from shared.metrics import CALLS_IN_FLIGHT, CALLS_REFUSED, SERVER_DURATION, SERVER_STARTED, Metrics
from shared.rich_status import from_rpc_error, to_status

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
_MAX_REQUEST_ID = 128
_TELLING_SHARE = 0.5
"""Of the default deadline: calls that were given less time say nothing of how loaded the service is."""
_EXEMPT_PREFIXES = ("/grpc.health.", "/grpc.reflection.", "/grpc.channelz.")


@dataclass(frozen=True, slots=True)
class Call:
    """One call as interceptors see it. `request` is None for client streams."""

    method: str
    request: object | None
    context: Context


class _Around(grpc.aio.ServerInterceptor):
    """Puts `around` about the handlers of this system; those of health, reflection and Channelz stay bare."""

    @abstractmethod
    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        """Entered before the handler runs, left when it ends or raises."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wraps the handler, whatever its kind; unknown methods pass."""
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or method.startswith(_EXEMPT_PREFIXES):
            return handler
        return self._wrapped(handler, method)

    def _wrapped(self, handler: grpc.RpcMethodHandler[Any, Any], method: str) -> grpc.RpcMethodHandler[Any, Any]:
        around = self.around

        def single(inner: Callable[..., Awaitable[Any]], streams_in: bool) -> Callable[..., Awaitable[Any]]:
            async def handle(request: object, context: Context) -> object:
                async with around(Call(method, None if streams_in else request, context)):
                    return await inner(request, context)

            return handle

        def stream(inner: Callable[..., AsyncIterator[Any]], streams_in: bool) -> Callable[..., AsyncIterator[Any]]:
            async def handle(request: object, context: Context) -> AsyncIterator[object]:
                async with around(Call(method, None if streams_in else request, context)):
                    async for response in inner(request, context):
                        yield response

            return handle

        serialisers = (handler.request_deserializer, handler.response_serializer)
        # Typed for synchronous handlers only; an aio server takes coroutines and asynchronous generators here.
        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(stream(handler.stream_stream, True), *serialisers)  # type: ignore[arg-type]
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(single(handler.stream_unary, True), *serialisers)  # type: ignore[arg-type]
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(stream(handler.unary_stream, False), *serialisers)  # type: ignore[arg-type]
        return grpc.unary_unary_rpc_method_handler(single(handler.unary_unary, False), *serialisers)  # type: ignore[arg-type]


class CallLog(_Around):
    """Accepts or makes the request id, sends it back as trailing metadata, and logs one line per call.

    Not as initial metadata: sent early, that commits the client to this attempt, and no failed call would ever be tried
    again (gRPC proposal A6); sent late, it costs an operation of its own.
    """

    def __init__(self, ids: IdSource, pseudonyms: Pseudonyms) -> None:
        self._ids = ids
        self._pseudonyms = pseudonyms

    @contextlib.asynccontextmanager
    async def around(self, call_: Call) -> AsyncIterator[None]:
        """See the class."""
        sent = dict(call_.context.invocation_metadata() or ()).get(call.REQUEST_ID_KEY, "")
        # ASCII only: gRPC takes other bytes in, but cannot send them back.
        usable = isinstance(sent, str) and 0 < len(sent) <= _MAX_REQUEST_ID and sent.isascii() and sent.isprintable()
        request_id = str(sent) if usable else self._ids()
        token = call.request_id.set(request_id)
        call_.context.set_trailing_metadata(((call.REQUEST_ID_KEY, request_id),))
        started = time.perf_counter()
        outcome = _Outcome()
        try:
            with outcome.observe(call_.context):
                yield
        finally:
            _reset(call.request_id, token)
            fields = {
                "method": call_.method,
                "code": outcome.code,
                "ms": round((time.perf_counter() - started) * 1000, 2),
                "request_id": request_id,
            }
            user = getattr(call_.request, "user_id", ""), getattr(call_.request, "visitor_id", "")
            if any(user):
                fields["user"] = self._pseudonyms.of(*user)
            log.info("call", extra={FIELDS: fields})


class CallMetrics(_Around):
    """Counts calls and their time under the names of A66."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    @contextlib.asynccontextmanager
    async def around(self, call_: Call) -> AsyncIterator[None]:
        """See the class."""
        method = call_.method.lstrip("/")
        self._metrics.counter(SERVER_STARTED, method).inc()
        started = time.perf_counter()
        outcome = _Outcome()
        try:
            with outcome.observe(call_.context):
                yield
        finally:
            elapsed = time.perf_counter() - started
            self._metrics.histogram(SERVER_DURATION, method, outcome.code).observe(elapsed)


class ErrorMapping(_Around):
    """Turns whatever a handler raises into a rich status; the text of an unexpected exception goes nowhere."""

    def __init__(self, ids: IdSource) -> None:
        self._ids = ids

    @contextlib.asynccontextmanager
    async def around(self, call_: Call) -> AsyncIterator[None]:
        """See the class."""
        try:
            yield
        except grpc.aio.AbortError:
            raise
        except ServiceError as error:
            await _abort(call_.context, error)
        except Exception as error:
            upstream = _from_upstream(error) if isinstance(error, grpc.aio.AioRpcError) else None
            await _abort(call_.context, upstream or self._unexpected(error, call_.method))

    def _unexpected(self, error: Exception, method: str) -> ServiceError:
        error_id = self._ids()
        fields = {"method": method, "error_id": error_id, "request_id": call.request_id.get()}
        log.error("unexpected error", exc_info=error, extra={FIELDS: fields})
        message = f"internal error {error_id}; the server's log tells more under this id"
        return ServiceError(Reason.INTERNAL, message, metadata={"error_id": error_id})


@dataclass(frozen=True, slots=True)
class Limits:
    """Default and least time of a call in seconds, and how many calls are handled at once, at least and at most."""

    default_deadline_s: float
    min_deadline_s: float
    max_concurrent_calls: int
    least_concurrent_calls: int = 0
    """0 = the number is fixed."""


class Admission(_Around):
    """Notes the deadline for the calls made downstream, and refuses what is too late or too much.

    The limit counts calls of this system only: gRPC's own `maximum_concurrent_rpcs` counts health checks too, and
    would let a busy server look dead.
    """

    def __init__(self, limits: Limits, clock: Clock, metrics: Metrics) -> None:
        self.open = False
        """Whether the service has warmed up; until then every call is refused with NOT_READY."""
        self.idle = asyncio.Event()
        """Set while no call is handled."""
        self.idle.set()
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._in_flight = 0
        most = limits.max_concurrent_calls
        self._concurrency = ConcurrencyLimit(
            limits.least_concurrent_calls or most, most, _TELLING_SHARE * limits.default_deadline_s
        )

    @contextlib.asynccontextmanager
    async def around(self, call_: Call) -> AsyncIterator[None]:
        """See the class."""
        if not self.open:
            self._metrics.counter(CALLS_REFUSED, "not_ready").inc()
            raise ServiceError(Reason.NOT_READY, "still warming up; try again later", retry_after_s=1.0)
        remaining = call_.context.time_remaining()
        if remaining is not None and remaining < self._limits.min_deadline_s:
            self._metrics.counter(CALLS_REFUSED, "deadline").inc()
            raise ServiceError(Reason.DEADLINE_TOO_SHORT, "the deadline leaves no time to begin; give the call more")
        if self._in_flight >= self._concurrency.value:
            self._metrics.counter(CALLS_REFUSED, "overload").inc()
            raise ServiceError(Reason.OVERLOADED, "too many calls at once; try again later", retry_after_s=0.1)
        limit = self._limits.default_deadline_s if remaining is None else remaining
        began = self._clock.monotonic()
        token = call.deadline.set(began + limit)
        gauge = self._metrics.gauge(CALLS_IN_FLIGHT)
        self._in_flight += 1
        self.idle.clear()
        gauge.inc()
        finished = False
        try:
            if remaining is not None:
                yield  # gRPC cancels the handler at the deadline by itself
                finished = True
                return
            try:
                async with asyncio.timeout(limit) as time_limit:
                    yield
                finished = True
            except TimeoutError:
                if not time_limit.expired():
                    raise
                raise ServiceError(Reason.DEADLINE_TOO_SHORT, "took longer than the server's time limit") from None
        finally:
            self._concurrency.learn(Ended(began, self._clock.monotonic(), limit, finished), self._in_flight)
            self._in_flight -= 1
            if self._in_flight == 0:
                self.idle.set()
            gauge.dec()
            _reset(call.deadline, token)


class _Outcome:
    """The status a call ended with, for the log and the metrics."""

    def __init__(self) -> None:
        self.code = "OK"

    @contextlib.contextmanager
    def observe(self, context: Context) -> Any:
        try:
            yield
        except asyncio.CancelledError:
            remaining = context.time_remaining()
            self.code = "DEADLINE_EXCEEDED" if remaining is not None and remaining <= 0 else "CANCELLED"
            raise
        except GeneratorExit:
            self.code = "CANCELLED"
            raise
        except BaseException:
            self.code = _code_name(context)
            raise


async def _abort(context: Context, error: ServiceError) -> None:
    rich = rpc_status.to_status(to_status(error))
    trailing = (*(rich.trailing_metadata or ()), (call.REQUEST_ID_KEY, call.request_id.get()))
    try:
        await context.abort(rich.code, rich.details or "", trailing)
    except grpc.aio.AbortError as aborted:
        raise aborted from None  # or whoever records it, as traces do, would tell the text of what went wrong


def _from_upstream(error: grpc.aio.AioRpcError) -> ServiceError | None:
    """What a caller learns of a failed call behind this service, never foreign text; None = it is a defect here."""
    code = error.code()
    own = from_rpc_error(error)
    if own is not None and code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE):
        return own
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return ServiceError(Reason.OVERLOADED, "a service behind this one is overloaded", retry_after_s=0.1)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return ServiceError(Reason.DEADLINE_TOO_SHORT, "a service behind this one did not answer in time")
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        message = "a service behind this one cannot be reached"
        return ServiceError(Reason.UPSTREAM_UNAVAILABLE, message, retry_after_s=0.5)
    return None


def _code_name(context: Context) -> str:
    code = context.code()
    if isinstance(code, grpc.StatusCode):
        return code.name
    # aio keeps the number; 0 means that nothing was set before the exception passed.
    return next((status.name for status in grpc.StatusCode if code and status.value[0] == code), "UNKNOWN")


def _reset(variable: Any, token: Any) -> None:
    """Resets a context variable; an abandoned stream is closed in another context, where nothing is set."""
    with contextlib.suppress(ValueError):
        variable.reset(token)
