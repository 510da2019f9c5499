"""Every metric of the system, once, with unit and help.

RPC metrics carry the names and buckets of gRPC proposal A66 (dots become underscores, the unit is appended).
Calls of unknown methods are not counted, so that a scanner cannot fill the memory with labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

A66_LATENCY_BUCKETS_S = (
    0, 0.00001, 0.00005, 0.0001, 0.0003, 0.0006, 0.0008, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.013,
    0.016,    0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8, 1, 2,
    5, 10, 20, 50, 100,
)  # fmt: skip
COUNT_BUCKETS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)
TOKEN_BUCKETS = tuple(2**power for power in range(4, 18))
RATIO_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """Name, kind, help and labels of one metric."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: Sequence[float] = ()


def _seconds(name: str, text: str, *labels: str) -> MetricSpec:
    return MetricSpec(name, "histogram", text, labels, A66_LATENCY_BUCKETS_S)


SERVER_STARTED = MetricSpec(
    "grpc_server_call_started", "counter", "Calls that a server began to handle (A66).", ("grpc_method",)
)
SERVER_DURATION = _seconds(
    "grpc_server_call_duration_seconds", "Time of calls in the server (A66).", "grpc_method", "grpc_status"
)
CLIENT_DURATION = _seconds(
    "grpc_client_call_duration_seconds",
    "Time of calls as their caller saw it, retries included (A66).",
    "grpc_method",
    "grpc_target",
    "grpc_status",
)
CALLS_REFUSED = MetricSpec(
    "homepage_calls_refused", "counter", "Calls refused before they were handled, by cause.", ("cause",)
)
CALLS_IN_FLIGHT = MetricSpec("homepage_calls_in_flight", "gauge", "Calls being handled.")
STAGE_SECONDS = _seconds("homepage_recommend_stage_seconds", "Time of a stage of Recommend.", "stage")
DEGRADED = MetricSpec(
    "homepage_recommend_degraded",
    "counter",
    "Pages served by a fallback, by stage and cause.",
    ("stage", "cause"),
)
SERVED_PAGES_DROPPED = MetricSpec(
    "homepage_served_pages_dropped",
    "counter",
    "Records of served pages that did not reach the event log.",
    ("cause",),
)
EVENTS_RECORDED = MetricSpec(
    "homepage_profile_events_recorded", "counter", "Entries written to the event log, by kind.", ("kind",)
)
EVENTS_DUPLICATE = MetricSpec("homepage_profile_events_duplicate", "counter", "Entries whose id was known already.")
SOURCE_SECONDS = _seconds("homepage_retrieval_source_seconds", "Time of a candidate source.", "source")
SOURCE_FOUND = MetricSpec(
    "homepage_retrieval_source_candidates",
    "histogram",
    "Candidates a source found.",
    ("source",),
    COUNT_BUCKETS,
)
LIBRARY_ITEMS = MetricSpec("homepage_retrieval_items", "gauge", "Items of the library, by state.", ("state",))
RANKER_QUEUE_TOKENS = MetricSpec("homepage_ranker_queue_tokens", "gauge", "Tokens waiting for the device.")
RANKER_QUEUE_JOBS = MetricSpec("homepage_ranker_queue_jobs", "gauge", "Jobs (parts of calls) waiting for the device.")
RANKER_BATCH_TOKENS = MetricSpec("homepage_ranker_batch_tokens", "histogram", "Tokens of a batch.", (), TOKEN_BUCKETS)
RANKER_BATCH_FILL = MetricSpec(
    "homepage_ranker_batch_fill_ratio", "histogram", "Tokens of a batch, out of those it might have.", (), RATIO_BUCKETS
)
RANKER_BATCH_BUDGET = MetricSpec(
    "homepage_ranker_batch_budget_tokens", "gauge", "Tokens that a batch of Rank calls may have now."
)
RANKER_STAGE_SECONDS = _seconds(
    "homepage_ranker_stage_seconds",
    "Time of a stage (queue, tokenise, compute) of answered Rank calls; Embed and the ranker's own work do not count.",
    "stage",
)
RANKER_DROPPED = MetricSpec(
    "homepage_ranker_dropped",
    "counter",
    "What callers waited for and was dropped before it was computed, by cause: jobs (parts of calls); for overload, "
    "whole calls.",
    ("cause",),
)
RANKER_ITEMS_FAILED = MetricSpec(
    "homepage_ranker_items_failed", "counter", "Items that could not be computed even alone."
)
RANKER_CACHE = MetricSpec(
    "homepage_ranker_cache_lookups",
    "counter",
    "Look-ups of what is known from earlier calls, by cache (tokens, items, contexts) and result.",
    ("cache", "result"),
)
RANKER_CACHE_BYTES = MetricSpec("homepage_ranker_cache_bytes", "gauge", "Memory held by a cache.", ("cache",))
RANKER_MODEL_INFO = MetricSpec(
    "homepage_ranker_model_info",
    "gauge",
    "1 for each version that answers for a name (serving), or could not be loaded for it (failed).",
    ("model", "version", "state"),
)
RANKER_DEVICE_BYTES = MetricSpec(
    "homepage_ranker_device_memory_bytes", "gauge", "Memory that PyTorch has allocated on the GPU."
)

CATALOGUE: tuple[MetricSpec, ...] = tuple(value for value in dict(globals()).values() if isinstance(value, MetricSpec))
"""All metrics, for the documentation and for tests."""


class Metrics:
    """The metrics of one process, in a registry of its own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}

    def counter(self, spec: MetricSpec, *labels: str) -> Counter:
        """The counter of these label values; made on first use."""
        metric = self._counters.get(spec.name)
        if metric is None:
            metric = Counter(spec.name, spec.help, spec.labels, registry=self.registry)
            self._counters[spec.name] = metric
        return metric.labels(*labels) if spec.labels else metric

    def gauge(self, spec: MetricSpec, *labels: str) -> Gauge:
        """The gauge of these label values; made on first use."""
        metric = self._gauges.get(spec.name)
        if metric is None:
            metric = self._gauges[spec.name] = Gauge(spec.name, spec.help, spec.labels, registry=self.registry)
        return metric.labels(*labels) if spec.labels else metric

    def forget(self, spec: MetricSpec, *labels: str) -> None:
        """Removes a gauge of label values that will not come again."""
        if spec.name in self._gauges:
            self._gauges[spec.name].remove(*labels)

    def histogram(self, spec: MetricSpec, *labels: str) -> Histogram:
        """The histogram of these label values; made on first use."""
        metric = self._histograms.get(spec.name)
        if metric is None:
            metric = Histogram(spec.name, spec.help, spec.labels, registry=self.registry, buckets=spec.buckets)
            self._histograms[spec.name] = metric
        return metric.labels(*labels) if spec.labels else metric
