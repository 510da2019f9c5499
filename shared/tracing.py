"""Traces by OpenTelemetry, off unless a collector is named."""

from collections.abc import Callable, Sequence

import grpc


class Tracing:
    """Interceptors for servers and channels, and what to call at the end; all empty when tracing is off."""

    def __init__(
        self,
        server: Sequence[grpc.aio.ServerInterceptor] = (),
        client: Sequence[grpc.aio.ClientInterceptor] = (),
        flush: Callable[[], object] = lambda: None,
    ) -> None:
        self.server = server
        self.client = client
        self.flush = flush


def set_up_tracing(service: str, endpoint: str) -> Tracing:
    """Sends spans of all calls to an OTLP collector (gRPC, `host:port`); an empty endpoint means no tracing."""
    if not endpoint:
        return Tracing()
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.grpc import aio_client_interceptors, aio_server_interceptor, filters
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": f"homepage-{service}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=True)))
    calls = filters.negate(filters.health_check())  # a Watch would be a span of hours
    return Tracing(
        server=(aio_server_interceptor(tracer_provider=provider, filter_=calls),),  # type: ignore[no-untyped-call]
        client=tuple(aio_client_interceptors(tracer_provider=provider)),  # type: ignore[no-untyped-call]
        flush=provider.shutdown,
    )
