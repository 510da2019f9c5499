"""What the ranker tells Prometheus, and its host's health: it observes the batcher, the calls and the models."""

from functools import partial
from typing import Any

from services.ranker.batcher import DropCause
from services.ranker.caches import BoundedLru, Caches
from services.ranker.models import Models
from services.ranker.ranking import CacheName
from shared.health import Fitness
from shared.metrics import (
    RANKER_BATCH_BUDGET,
    RANKER_BATCH_FILL,
    RANKER_BATCH_TOKENS,
    RANKER_CACHE,
    RANKER_CACHE_BYTES,
    RANKER_DEVICE_BYTES,
    RANKER_DROPPED,
    RANKER_ITEMS_FAILED,
    RANKER_MODEL_INFO,
    RANKER_QUEUE_JOBS,
    RANKER_QUEUE_TOKENS,
    RANKER_STAGE_SECONDS,
    Metrics,
)


class Instruments:
    """A BatchObserver and a RankObserver."""

    def __init__(self, metrics: Metrics, fitness: Fitness) -> None:
        self._metrics = metrics
        self._fitness = fitness
        self._told: set[tuple[str, str, str]] = set()

    def queue_changed(self, tokens: int, jobs: int) -> None:
        """What waits now."""
        self._metrics.gauge(RANKER_QUEUE_TOKENS).set(tokens)
        self._metrics.gauge(RANKER_QUEUE_JOBS).set(jobs)

    def batch_cut(self, tokens: int, limit: int) -> None:
        """A batch of so many tokens, out of so many it might have had, goes to the device."""
        self._metrics.histogram(RANKER_BATCH_TOKENS).observe(tokens)
        self._metrics.histogram(RANKER_BATCH_FILL).observe(tokens / limit)

    def work_dropped(self, cause: DropCause) -> None:
        """A job was dropped before it was computed; for "overload", a whole call."""
        self._metrics.counter(RANKER_DROPPED, cause).inc()

    def items_failed(self, count: int) -> None:
        """So many items failed even alone."""
        self._metrics.counter(RANKER_ITEMS_FAILED).inc(count)

    def budget_changed(self, tokens: int) -> None:
        """Tokens that a batch of Rank calls may have from now on."""
        self._metrics.gauge(RANKER_BATCH_BUDGET).set(tokens)

    def health_changed(self, healthy: bool) -> None:
        """The device stopped or began to answer."""
        self._fitness.change(healthy)

    def looked_up(self, cache: CacheName, hits: int, misses: int) -> None:
        """Look-ups of one call in one cache."""
        self._metrics.counter(RANKER_CACHE, cache, "hit").inc(hits)
        self._metrics.counter(RANKER_CACHE, cache, "miss").inc(misses)

    def stage(self, name: str, seconds: float) -> None:
        """Time of a stage of one Rank call."""
        self._metrics.histogram(RANKER_STAGE_SECONDS, name).observe(seconds)

    def watch_memory(self, caches: Caches) -> None:
        """From now on the memory of the caches and of the GPU is read whenever metrics are."""
        for name, cache in (("tokens", caches.tokens), ("items", caches.items), ("contexts", caches.contexts)):
            self._metrics.gauge(RANKER_CACHE_BYTES, name).set_function(partial(_bytes_of, cache))
        self._metrics.gauge(RANKER_DEVICE_BYTES).set_function(_gpu_bytes)

    def models_changed(self, models: Models) -> None:
        """The line-up or the attempts changed."""
        now = {(served.name, served.version, "serving") for served in models.now.models.values()}
        now |= {(tried.name, tried.version, "failed") for tried in models.attempts() if tried.failure}
        for labels in self._told - now:
            self._metrics.forget(RANKER_MODEL_INFO, *labels)
        for labels in now:
            self._metrics.gauge(RANKER_MODEL_INFO, *labels).set(1)
        self._told = now


def _bytes_of(cache: BoundedLru[Any, Any]) -> float:
    return cache.used_bytes


def _gpu_bytes() -> float:
    import torch

    return float(torch.cuda.memory_allocated()) if torch.cuda.is_available() else 0.0
