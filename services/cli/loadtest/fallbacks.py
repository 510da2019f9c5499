"""How many pages were made with a fallback: ghz cannot see that, the orchestrator's /metrics can.

Its counters are read every second while the load runs; between two readings they are taken to grow evenly.
"""

import contextlib
import http.client
import threading
import time
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from shared.metrics import DEGRADED, SERVER_DURATION

_METHOD = "homepage.v1.Homepage/Recommend"
_EVERY_S = 1.0
_LIMIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Fallbacks:
    """Readings of the counters. All arrays have shape [readings]."""

    at: NDArray[np.float64]
    """Unix seconds, rising."""
    stages: NDArray[np.float64]
    """Stages replaced by a fallback since the orchestrator started."""
    pages: NDArray[np.float64]
    """Pages it has made since then, whether or not they still came in time."""

    def per_page(self, begins: float, ends: float) -> float | None:
        """Fallbacks for each page made between two points in time; None when none was made."""
        stages = np.diff(np.interp([begins, ends], self.at, self.stages))
        pages = np.diff(np.interp([begins, ends], self.at, self.pages))
        return float(stages[0] / pages[0]) if pages[0] > 0 else None


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters at one moment, summed over causes."""

    stages: float
    pages: float


def read_counters(address: str) -> Reading:
    """The counters of the orchestrator whose metrics are at `host:port`.

    Raises:
        OSError: when it cannot be reached.
        ValueError: when something else answers there.
    """
    try:
        with contextlib.closing(http.client.HTTPConnection(address, timeout=_LIMIT_S)) as connection:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode(errors="replace")
    except http.client.HTTPException as error:
        raise ValueError(str(error)) from error
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return Reading(
        stages=sum(each.value for each in samples if each.name == f"{DEGRADED.name}_total"),
        pages=sum(
            each.value
            for each in samples
            if each.name == f"{SERVER_DURATION.name}_count"
            and each.labels["grpc_method"] == _METHOD
            and each.labels["grpc_status"] == "OK"
        ),
    )


class FallbackWatch:
    """Reads the counters while a `with` block runs; `seen` is what it read."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._readings: list[tuple[float, Reading]] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "FallbackWatch":
        """Reads once, so that what cannot be read is known at once; raises as read_counters does."""
        self._read()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def seen(self) -> Fallbacks:
        """All readings so far."""
        readings = [reading for _, reading in self._readings]
        return Fallbacks(
            np.array([at for at, _ in self._readings]),
            np.array([reading.stages for reading in readings]),
            np.array([reading.pages for reading in readings]),
        )

    def _read(self) -> None:
        reading = read_counters(self._address)
        self._readings.append((time.time(), reading))

    def _watch(self) -> None:
        while not self._done.wait(_EVERY_S):
            self._try()
        self._try()

    def _try(self) -> None:
        """A reading that an overloaded process does not answer is missing, no more."""
        try:
            self._read()
        except (OSError, ValueError):
            return
