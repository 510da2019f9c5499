"""The checker names every line that is not kept, and nothing else."""

import tomllib

import pytest

from services.cli.loadtest.failure import LoadTestError
from services.cli.loadtest.objectives import Objective, failures, read_objectives
from services.cli.loadtest.scenarios import find_scenario, load_folder, scenario_names
from tests.load.conftest import on_time

RATES = (10, 20, 30, 40)
SLO = load_folder() / "slo.toml"


@pytest.fixture
def half_good(measured_from):
    """At 10/s all is well; at 40/s half of the calls fail, the others take 300 ms."""
    calls = on_time(RATES, lambda step: (0.3 if step == 3 else 0.05, "OK"))
    calls[60:] = [(began, took, "Unavailable" if n % 2 else "OK") for n, (began, took, _) in enumerate(calls[60:])]
    return measured_from(calls)


def test_objectives_that_are_kept_break_no_line(half_good):
    kept = Objective(rate=10, p50_ms=51, p99_ms=51, error_share=0, goodput_per_s=10)
    assert failures(half_good, (kept,)) == ()


@pytest.mark.parametrize(
    ("limit", "line"),
    [
        ({"p50_ms": 100}, "made-up at 40/s: p50_ms = 100 is broken, it was 300"),
        ({"p99_ms": 250}, "made-up at 40/s: p99_ms = 250 is broken, it was 300"),
        ({"error_share": 0.1}, "made-up at 40/s: error_share = 0.1 is broken, it was 0.5"),
        ({"goodput_per_s": 30}, "made-up at 40/s: goodput_per_s = 30 is broken, it was 20"),
    ],
)
def test_every_kind_of_line_is_named_when_it_is_broken(half_good, limit, line):
    assert failures(half_good, (Objective(rate=40, **limit),)) == (line,)


def test_all_broken_lines_are_named_at_once(half_good):
    objectives = (Objective(rate=40, p50_ms=1, goodput_per_s=39), Objective(error_share=0.01))
    named = [line.split(" = ")[0] for line in failures(half_good, objectives)]
    assert named == ["made-up at 40/s: p50_ms", "made-up at 40/s: goodput_per_s", "made-up: error_share"]


def test_latency_without_an_answer_is_broken(measured_from):
    measured = measured_from(on_time(RATES, lambda _: (0.5, "DeadlineExceeded")))
    assert failures(measured, (Objective(p99_ms=400),)) == ("made-up: p99_ms: nothing was answered OK",)


def test_a_rate_that_no_step_offers_is_a_failure(half_good):
    [line] = failures(half_good, (Objective(rate=15, p50_ms=1),))
    assert line == "made-up at 15/s: no step offers that; there are 10, 20, 30, 40"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[[steady]]\nrate = 5", "set p50_ms"),
        ("[[steady]]\np90_ms = 5", "p90_ms"),
        ("[[steady]]\nerror_share = 2", "error_share"),
        ("[[steady]\n", "line 1"),
    ],
)
def test_a_file_that_sets_no_limit_or_an_unknown_one_is_refused(tmp_path, text, named):
    path = tmp_path / "slo.toml"
    path.write_text(text)
    with pytest.raises(LoadTestError, match=named):
        read_objectives(path, "steady")


def test_a_file_that_is_not_there_is_told_of(tmp_path):
    with pytest.raises(LoadTestError, match="No such file"):
        read_objectives(tmp_path / "none.toml", "steady")


@pytest.mark.parametrize("name", scenario_names())
def test_every_scenario_has_objectives_at_rates_that_it_offers(name):
    objectives = read_objectives(SLO, name)
    offered = {step.rate for step in find_scenario(name).schedule.steps}
    assert objectives
    assert {each.rate for each in objectives} <= offered | {None}


def test_every_objective_is_of_a_scenario():
    assert set(tomllib.loads(SLO.read_text())) == set(scenario_names())
