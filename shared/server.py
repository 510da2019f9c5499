"""The life of a service process: bind, warm up, serve, drain, stop.

Two gRPC servers share one event loop. The main one answers the service; the admin one answers health checks and
Channelz, so that a busy service is not taken for a dead one and probes need no certificate. Prometheus metrics have
a port of their own. On SIGTERM or SIGINT: NOT_SERVING, a pause for balancers, drain of calls in flight within the
grace, then the service's own stop, the admin server last.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol
from wsgiref.simple_server import WSGIServer

import grpc
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health, health_pb2_grpc
from prometheus_client import start_http_server

from shared import logs, tls
from shared.client import ChannelOptions, open_channel
from shared.clock import Clock, SystemClock
from shared.health import Fitness, Health
from shared.ids import IdSource, random_ids
from shared.interceptors import Admission, CallLog, CallMetrics, ErrorMapping, Limits
from shared.logs import FIELDS, Pseudonyms
from shared.metrics import Metrics
from shared.reflection import add_reflection
from shared.settings import ServiceSettings
from shared.start import StartError
from shared.tracing import Tracing, set_up_tracing

log = logging.getLogger(__name__)

_CANCELLED_CALLS_S = 1.0
"""How long calls that outlived the grace may tidy up after they were cancelled."""
_LAST_SPANS_S = 3.0
"""What a collector that is away may cost at the end."""


class Service(Protocol):
    """What a service hands to the runtime."""

    names: tuple[str, ...]
    """Full names of its gRPC services, for health and reflection."""

    def register(self, server: grpc.aio.Server) -> None:
        """Adds its servicers."""

    async def start(self) -> None:
        """Opens stores, loads models, warms up. Calls are taken when it returns."""

    async def stop(self) -> None:
        """Called when no call is in flight any more: finish queued work, close."""


@dataclass(frozen=True)
class Runtime:
    """What every service gets: time, identifiers, metrics, channels to other services, and a say in its health."""

    settings: ServiceSettings
    clock: Clock = field(default_factory=SystemClock)
    ids: IdSource = field(default_factory=random_ids)
    metrics: Metrics = field(default_factory=Metrics)
    tracing: Tracing = field(default_factory=Tracing)
    fitness: Fitness = field(default_factory=Fitness)

    def channel(self, target: str) -> grpc.aio.Channel:
        """A channel to another service; whoever opens it closes it."""
        options = ChannelOptions(
            max_message_bytes=self.settings.max_message_bytes,
            credentials=tls.channel_credentials(self.settings),
            tracing=self.tracing.client,
            clock=self.clock,
        )
        return open_channel(target, self.metrics, options)


class ServiceHost:
    """Runs one service. `start`, then `stop`; or `run_until_signal` for both."""

    def __init__(self, service: Service, runtime: Runtime) -> None:
        self._service = service
        self._runtime = runtime
        self._settings = runtime.settings
        self.health = Health(service.names)
        runtime.fitness.follow(self.health.set_fit)
        self.address = ""
        """Where the service listens, with the real port; set by `start`."""
        self.admin_address = ""
        self.metrics_port = 0
        limits = Limits(
            self._settings.default_deadline_s,
            self._settings.min_deadline_s,
            self._settings.max_concurrent_calls,
            self._settings.least_concurrent_calls,
        )
        self._admission = Admission(limits, runtime.clock, runtime.metrics)
        self._server = self._main_server()
        self._admin = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._admin)
        channelz.add_channelz_servicer(self._admin)
        self._metrics_server: WSGIServer | None = None
        self._metrics_thread: threading.Thread | None = None

    def _main_server(self) -> grpc.aio.Server:
        settings, runtime = self._settings, self._runtime
        pseudonyms = Pseudonyms(settings.log_key.get_secret_value().encode() or runtime.ids().encode())
        server = grpc.aio.server(
            interceptors=[
                CallLog(runtime.ids, pseudonyms),
                CallMetrics(runtime.metrics),
                *runtime.tracing.server,
                ErrorMapping(runtime.ids),
                self._admission,
            ],
            options=[
                ("grpc.so_reuseport", 0),
                # An event loop takes one call a round: under overload calls would wait here, unseen, until their
                # deadline. Beyond this many, gRPC drops them in C (CANCELLED), and those that are taken end in time.
                ("grpc.server.max_pending_requests", settings.max_waiting_calls),
                ("grpc.server.max_pending_requests_hard_limit", settings.max_waiting_calls),
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", settings.max_message_bytes),
                ("grpc.keepalive_time_ms", int(settings.keepalive_s * 1000)),
                ("grpc.keepalive_timeout_ms", 10_000),
                # Clients of this system ping every two minutes; gRPC's default would call that abuse.
                ("grpc.http2.min_ping_interval_without_data_ms", 60_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.max_connection_age_ms", int(settings.max_connection_age_s * 1000)),
                ("grpc.max_connection_age_grace_ms", int(settings.max_connection_age_grace_s * 1000)),
            ],
        )
        self._service.register(server)
        # Health stands on the main port too: that is where clients watch it (gRPC proposal A17).
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        if settings.reflection:
            add_reflection((*self._service.names, health.SERVICE_NAME), server)
        return server

    async def start(self) -> None:
        """Binds all ports, answers at once (NOT_READY to calls), and is ready when the service has warmed up.

        Raises:
            AddressInUseError: when an address cannot be bound.
        """
        settings = self._settings
        credentials = tls.server_credentials(settings)
        self.admin_address = _bind(self._admin, settings.admin_listen, None)
        self.address = _bind(self._server, settings.listen, credentials)
        if settings.metrics_listen:
            host, _, port = settings.metrics_listen.rpartition(":")
            try:
                served = start_http_server(int(port), host.strip("[]"), self._runtime.metrics.registry)
            except OSError:
                raise AddressInUseError(settings.metrics_listen) from None
            self._metrics_server, self._metrics_thread = served
            self.metrics_port = int(self._metrics_server.server_address[1])
        await self._admin.start()
        await self._server.start()
        await self._service.start()
        self._admission.open = True
        self.health.set_ready(True)
        fields = {
            "address": self.address,
            "admin_address": self.admin_address,
            "metrics_port": self.metrics_port,
        }
        log.info("serving", extra={FIELDS: fields})

    async def stop(self) -> None:
        """Drains and stops; see the module. What never served has nothing to drain."""
        served = self.health.ready
        self.health.drain()
        if served:
            log.info("draining")
            await asyncio.sleep(self._settings.drain_delay_s)
        await self._server.stop(self._settings.grace_s if served else 0)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._admission.idle.wait(), _CANCELLED_CALLS_S)
        await self._service.stop()
        await _in_time(self._runtime.tracing.flush, _LAST_SPANS_S)
        await asyncio.to_thread(self._stop_metrics)
        await self._admin.stop(0)
        if served:
            log.info("stopped")

    def _stop_metrics(self) -> None:
        if self._metrics_server is not None and self._metrics_thread is not None:
            self._metrics_server.shutdown()
            self._metrics_server.server_close()
            self._metrics_thread.join()

    async def run_until_signal(self) -> None:
        """Serves until SIGTERM or SIGINT; a signal during the start ends it too."""
        signalled = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signalled.set)
        starting = asyncio.create_task(self.start())
        waiting = asyncio.create_task(signalled.wait())
        await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
        try:
            if starting.done():
                starting.result()
                _settle_memory()
                await waiting
            else:
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
        finally:
            waiting.cancel()
            await self.stop()


async def _in_time(task: Callable[[], object], limit_s: float) -> None:
    """Runs blocking work in a thread of its own, and goes on without it after `limit_s`."""
    thread = threading.Thread(target=task, daemon=True)
    thread.start()
    await asyncio.to_thread(thread.join, limit_s)


def _settle_memory() -> None:
    """Takes what the start has built (models, libraries) out of the collector's rounds, and makes those rarer.

    A request makes thousands of short-lived objects without cycles; walking the whole heap for them only adds pauses.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


class AddressInUseError(StartError):
    """An address cannot be bound."""

    def __init__(self, address: str) -> None:
        super().__init__(f"cannot listen on {address}: it is taken, or not an address of this machine")


def serve(name: str, settings: ServiceSettings, build: Callable[[Runtime], Service]) -> NoReturn:
    """The body of a service's `__main__`: logs, tracing, event loop; ends the process with its exit status."""
    logs.set_up(name, settings.log_level)
    traces = set_up_tracing(name, settings.otlp_endpoint)

    async def main() -> NoReturn:
        runtime = Runtime(settings, tracing=traces)
        status = 0
        try:
            await ServiceHost(build(runtime), runtime).run_until_signal()
        except StartError as error:
            log.error("cannot start", extra={FIELDS: {"why": str(error)}})
            status = 2
        except Exception:
            log.exception("ended by a defect")
            status = 1
        _end(status)

    _run_loop(main())


def _end(status: int) -> NoReturn:
    """Ends the process at once: all that matters is written, and the interpreter would wait for every thread, be it
    stuck in a device or in a volume that is gone.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _run_loop(main: Coroutine[Any, Any, NoReturn]) -> NoReturn:
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> str:
    """Binds and returns the address with its real port."""
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError:
        raise AddressInUseError(address) from None
    if address.startswith("unix:"):
        return address
    return f"{address.rpartition(':')[0]}:{port}"
