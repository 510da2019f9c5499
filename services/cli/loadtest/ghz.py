"""ghz, the load generator: found, run, and its report read back.

Its exit status says only whether it could run at all; what became of the calls stands in the report.
"""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from services.cli.loadtest.failure import LoadTestError
from services.cli.loadtest.scenarios import checked_schedule, told
from services.cli.loadtest.schedule import Schedule
from services.cli.loadtest.settings import LoadSettings

INSTALL = "go install github.com/bojand/ghz/cmd/ghz@latest"
OK = "OK"
_POLL_S = 0.2
_OVERTIME_S = 120.0
"""Beyond its duration ghz connects, waits for the last answers and writes its report."""


@dataclass(frozen=True, slots=True)
class Calls:
    """What became of the calls, in no order. All arrays have shape [calls]."""

    began_at: NDArray[np.float64]
    """Unix seconds."""
    latency_s: NDArray[np.float64]
    status: NDArray[np.str_]
    """Names of gRPC statuses as Go writes them, e.g. "OK", "DeadlineExceeded"."""


@dataclass(frozen=True, slots=True)
class Run:
    """A report of ghz: what was asked for, and what became of it."""

    settings: LoadSettings
    schedule: Schedule
    calls: Calls


class _Detail(BaseModel):
    timestamp: str
    """When the call ended."""
    latency: int
    """Nanoseconds."""
    status: str


class _Report(BaseModel):
    model_config = ConfigDict(extra="ignore")

    options: LoadSettings
    count: int
    details: list[_Detail] | None = None


def find_ghz(given: str) -> str:
    """The program: the one given, or from the PATH.

    Raises:
        LoadTestError: when there is none.
    """
    found = shutil.which(given or "ghz")
    if found is None:
        where = f"at {given}" if given else "on the PATH"
        raise LoadTestError(f"there is no ghz {where}. With Go: {INSTALL} (and $(go env GOPATH)/bin on the PATH)")
    return found


def run_ghz(command: list[str], seconds: float, on_time: Callable[[float], None]) -> None:
    """Runs ghz to its end, telling the seconds that have passed; it is ended if anything ends the wait.

    Raises:
        LoadTestError: when it does not run as it should.
    """
    began = time.monotonic()
    with _child(command) as child:
        while True:
            try:
                _, complaint = child.communicate(timeout=_POLL_S)
                break
            except subprocess.TimeoutExpired:
                passed = time.monotonic() - began
                on_time(passed)
                if passed > seconds + _OVERTIME_S:
                    raise LoadTestError(f"ghz has not ended {_OVERTIME_S:.0f} s after its time") from None
    if child.returncode != 0:
        told = complaint.strip() or f"status {child.returncode}"
        raise LoadTestError(f"ghz could not run: {told}\nIs a set up there? homepage demo --keep starts one with data.")


@contextlib.contextmanager
def _child(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def read_run(path: Path) -> Run:
    """The run that ghz reported as JSON.

    Raises:
        LoadTestError: when the file is no such report, or does not tell of every call.
    """
    try:
        report = _Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise LoadTestError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise LoadTestError(f"{path} is no JSON report of ghz: {told(error)}") from error
    details = report.details or []
    if len(details) != report.count:
        raise LoadTestError(
            f"{path} tells of {len(details):,} calls out of {report.count:,}; ghz keeps no more than the first "
            "million, so make the run shorter"
        )
    if not details:
        raise LoadTestError(f"{path} tells of no call at all")
    return Run(report.options, checked_schedule(report.options), _calls(details))


def _calls(details: list[_Detail]) -> Calls:
    latency = np.array([detail.latency for detail in details]) / 1e9
    ended = np.array([datetime.fromisoformat(detail.timestamp).timestamp() for detail in details])
    return Calls(ended - latency, latency, np.array([detail.status or "Unknown" for detail in details]))
