"""Runs of ghz as it reports them, made up call by call or recorded."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.cli.loadtest.figures import Measured, measure
from services.cli.loadtest.ghz import read_run
from services.cli.loadtest.visits import World
from shared.datasets import WorldConfig, generate_world

HERE = Path(__file__).parent
RECORDED = HERE / "recorded_step.json"
"""A report of ghz 0.120.0 on a recommend-step of 10 and 20 calls a second, one second each, its histogram left out."""
BEGAN = 1_800_000_000.0
CALL = "homepage.v1.Homepage.Recommend"
STEPS = {
    "load-schedule": "step",
    "load-start": 10,
    "load-step": 10,
    "load-end": 40,
    "load-step-duration": 10**9,
    "duration": 4 * 10**9,
}
"""Of ghz's options: 10, 20, 30 and 40 calls a second, one second each."""

Call = tuple[float, float, str]
"""When a call began, in seconds of the run; its latency in seconds; its status."""


def report(calls: Sequence[Call], **options: Any) -> dict[str, Any]:
    """A report of ghz that tells of these calls."""
    details = [
        {
            "timestamp": datetime.fromtimestamp(BEGAN + began + latency, UTC).isoformat(),
            "latency": round(latency * 1e9),
            "error": "" if status == "OK" else status,
            "status": status,
        }
        for began, latency, status in calls
    ]
    settings = {"name": "made-up", "call": CALL, "host": "127.0.0.1:50051", "async": True, "timeout": 500_000_000}
    return {"count": len(details), "details": details, "options": {**settings, **STEPS, **options}}


def on_time(rates: Sequence[float], outcome: Callable[[int], tuple[float, str]]) -> list[Call]:
    """Calls of one-second steps at these rates, each begun when it is due; the outcome follows from the step."""
    calls = []
    for number, rate in enumerate(rates):
        calls += [(number + place / rate, *outcome(number)) for place in range(1, int(rate) + 1)]
    return calls


@pytest.fixture
def measured_from(tmp_path: Path) -> Callable[..., Measured]:
    """`measured_from(calls, **ghz options)`: the figures of a report that tells of these calls."""

    def made(calls: Sequence[Call], **options: Any) -> Measured:
        path = tmp_path / "report.json"
        path.write_text(json.dumps(report(calls, **options)))
        return measure(read_run(path))

    return made


@pytest.fixture(scope="session")
def world() -> World:
    """A small generated world."""
    return World(generate_world(WorldConfig(items=300, users=40, sessions=100)))
