"""From ghz's report to figures: which step a call belongs to, from when its time counts, and what follows."""

import json

import numpy as np
import pytest

from services.cli.loadtest.failure import LoadTestError
from services.cli.loadtest.fallbacks import Fallbacks
from services.cli.loadtest.figures import measure
from services.cli.loadtest.ghz import read_run
from tests.load.conftest import BEGAN, RECORDED, on_time, report

RATES = (10, 20, 30, 40)


def quick(_step):
    return 0.05, "OK"


def test_a_recorded_report_is_read_whole():
    measured = measure(read_run(RECORDED))
    assert measured.name == "recommend-step"
    assert [(step.rate, step.begins_s, step.seconds) for step in measured.steps] == [(10, 0, 1), (20, 1, 1)]
    assert [step.calls for step in measured.steps] == [10, 19]
    for step in measured.steps:
        assert step.ok == step.calls
        assert 0.01 < step.p50_s <= step.p95_s <= step.p99_s < 0.05


def test_every_call_belongs_to_the_step_in_which_it_was_due(measured_from):
    measured = measured_from(on_time(RATES, lambda step: (0.01 * (step + 1), "OK")))
    assert [step.calls for step in measured.steps] == list(RATES)
    assert [step.p50_s for step in measured.steps] == pytest.approx([0.01, 0.02, 0.03, 0.04], abs=1e-5)


def test_the_order_in_which_calls_end_does_not_matter(measured_from):
    calls = on_time(RATES, quick)
    assert measured_from(calls[::-1]).steps == measured_from(calls).steps


def test_a_generator_that_falls_behind_does_not_shorten_the_waiting(measured_from):
    calls = on_time(RATES, quick)
    calls[60:] = [(max(began, 3.4), latency, status) for began, latency, status in calls[60:]]  # a pause of 0.4 s
    measured = measured_from(calls)
    assert measured.steps[3].calls == 40
    assert measured.steps[3].p99_s == pytest.approx(0.05 + 0.375, abs=1e-3)
    assert measured.late_s(100) == pytest.approx(0.375, abs=1e-3)


def test_percentiles_are_those_of_calls_answered_ok_and_goodput_of_those_in_time(measured_from):
    def outcome(step):
        return (0.6, "OK") if step == 3 else (0.2, "OK")

    calls = on_time(RATES, outcome)
    calls[:5] = [(began, 0.001, "ResourceExhausted") for began, _, _ in calls[:5]]
    measured = measured_from(calls)
    assert measured.steps[0].p50_s == pytest.approx(0.2, abs=1e-4)
    assert measured.steps[0].error_share == 0.5
    assert measured.steps[0].errors == (("ResourceExhausted", 5),)
    assert measured.steps[0].goodput_per_s == 5
    assert measured.steps[3].answered_per_s == 40
    assert measured.steps[3].goodput_per_s == 0, "answered after the timeout, from when they were due"


def test_a_step_without_an_answer_has_no_percentiles(measured_from):
    measured = measured_from(on_time(RATES, lambda step: (0.5, "DeadlineExceeded") if step == 3 else (0.1, "OK")))
    assert measured.steps[3].p50_s is None
    assert measured.steps[3].error_share == 1


def overloaded_from(step_number):
    """Half of the calls fail from that step on."""
    calls = on_time(RATES, quick)
    first = sum(RATES[:step_number])
    return calls[:first] + [
        (began, latency, "Unavailable" if number % 2 else status)
        for number, (began, latency, status) in enumerate(calls[first:])
    ]


def test_saturation_is_the_highest_rate_of_which_nearly_all_is_answered_in_time(measured_from):
    measured = measured_from(overloaded_from(2))
    assert measured.saturated
    assert measured.saturation.rate == 20
    assert measured.beyond(2).rate == 40
    assert measured.beyond(2).goodput_per_s == 20
    assert measured.beyond(3) is None


def test_a_run_that_never_fails_is_not_saturated(measured_from):
    measured = measured_from(on_time(RATES, quick))
    assert not measured.saturated
    assert measured.saturation.rate == 40


def test_a_run_that_fails_at_once_has_no_saturation_rate(measured_from):
    measured = measured_from(overloaded_from(0))
    assert measured.saturated
    assert measured.saturation is None


def test_steps_of_one_rate_are_judged_together(measured_from):
    options = {"load-start": 30, "load-step": -20, "load-end": 10, "duration": 3 * 10**9}
    measured = measured_from(on_time((30, 10, 10), quick), **options)
    assert measured.together(10).calls == 20
    assert measured.together(10).goodput_per_s == 10
    assert measured.together().calls == 50
    assert measured.together(11) is None


def test_fallbacks_are_per_page_made_during_the_step(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report(on_time(RATES, quick))))
    at = BEGAN + np.arange(5.0)
    told = Fallbacks(at, stages=np.array([7.0, 7, 7, 22, 62]), pages=100 + np.array([0.0, 10, 30, 60, 100]))
    measured = measure(read_run(path), told)
    assert [step.fallbacks for step in measured.steps] == pytest.approx([0, 0, 0.5, 1.0], abs=0.01)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"skipFirst": 5}, "skipFirst"),
        ({"async": False}, "async"),
        ({"load-schedule": "line"}, "line"),
    ],
)
def test_reports_whose_calls_cannot_be_placed_are_refused(tmp_path, change, named):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report(on_time(RATES, quick), **change)))
    with pytest.raises(LoadTestError, match=named):
        read_run(path)


def test_a_report_that_leaves_out_calls_is_refused(tmp_path):
    told = report(on_time(RATES, quick))
    told["count"] += 1
    path = tmp_path / "report.json"
    path.write_text(json.dumps(told))
    with pytest.raises(LoadTestError, match="first million"):
        read_run(path)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"count": 0, "options": {"call": "a.B.C"}}'])
def test_what_is_no_report_is_refused_with_what_is_missing(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(LoadTestError, match="no JSON report of ghz"):
        read_run(path)


def test_a_report_without_calls_is_refused(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**report([]), "details": None}))
    with pytest.raises(LoadTestError, match="no call"):
        read_run(path)
