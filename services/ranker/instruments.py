"""What the ranker tells Prometheus: the batcher's observer, look-ups of the cache, time per stage."""

from services.ranker.batcher import DropCause
from shared.metrics import (
    RANKER_BATCH_TOKENS,
    RANKER_CACHE,
    RANKER_DROPPED,
    RANKER_QUEUE_TOKENS,
    RANKER_STAGE_SECONDS,
    Metrics,
)


class Instruments:
    """A BatchObserver, and what the core reports itself."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def queue_changed(self, tokens: int) -> None:
        """Tokens that wait now."""
        self._metrics.gauge(RANKER_QUEUE_TOKENS).set(tokens)

    def batch_cut(self, tokens: int) -> None:
        """A batch of so many tokens goes to the device."""
        self._metrics.histogram(RANKER_BATCH_TOKENS).observe(tokens)

    def work_dropped(self, cause: DropCause) -> None:
        """A piece was dropped before it was computed."""
        self._metrics.counter(RANKER_DROPPED, cause).inc()

    def looked_up(self, hits: int, misses: int) -> None:
        """Look-ups of one call in the vector cache."""
        self._metrics.counter(RANKER_CACHE, "hit").inc(hits)
        self._metrics.counter(RANKER_CACHE, "miss").inc(misses)

    def stage(self, name: str, seconds: float) -> None:
        """Time of a stage of one call."""
        self._metrics.histogram(RANKER_STAGE_SECONDS, name).observe(seconds)
