"""The schedule is the one ghz follows."""

import pytest

from services.cli.loadtest.failure import LoadTestError
from services.cli.loadtest.schedule import Step, schedule_of
from services.cli.loadtest.settings import LoadSettings, seconds


def settings(**options: object) -> LoadSettings:
    return LoadSettings.model_validate({"call": "a.B.C", "host": "h:1", "async": True, **options})


def steps(start: int, step: int, end: int, duration: str, length: str = "2s") -> list[tuple[float, float, float]]:
    options = {"load-start": start, "load-step": step, "load-end": end, "load-step-duration": length}
    made = schedule_of(settings(**{"load-schedule": "step"}, **options, duration=duration))
    return [(each.rate, each.begins_s, each.seconds) for each in made.steps]


def test_steps_rise_to_the_last_rate_and_stay_there_until_the_end():
    assert steps(10, 10, 25, "9s") == [(10, 0, 2), (20, 2, 2), (25, 4, 2), (25, 6, 2), (25, 8, 1)]


def test_a_spike_is_one_step_down_and_then_the_base_in_steps_of_the_same_length():
    assert steps(150, -130, 20, "6s") == [(150, 0, 2), (20, 2, 2), (20, 4, 2)]


def test_a_constant_rate_is_one_step():
    assert schedule_of(settings(rps=5, duration="10s")).steps == (Step(5, 0, 10),)


def test_a_call_is_due_one_interval_after_the_one_before_and_belongs_to_the_step_it_ends():
    made = schedule_of(
        settings(
            **{"load-schedule": "step", "load-start": 2, "load-step": 2, "load-end": 4, "load-step-duration": "1s"},
            duration="2s",
        )
    )
    assert made.due_s(7).tolist() == [0.5, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25]
    assert made.step_of(7).tolist() == [0, 0, 1, 1, 1, 1, 1]


def test_only_steps_that_go_up_are_a_rise():
    up = schedule_of(
        settings(
            **{"load-schedule": "step", "load-start": 1, "load-step": 1, "load-end": 3, "load-step-duration": "1s"},
            duration="3s",
        )
    )
    assert up.rises
    assert up.lowest_rate == 1
    assert not schedule_of(settings(rps=5, duration="10s")).rises


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"rps": 5}, "duration"),
        ({"duration": "5s"}, "rps"),
        ({"load-schedule": "line", "duration": "5s"}, "line"),
        ({"load-schedule": "step", "load-start": 1, "duration": "5s"}, "load-step"),
        (
            {"load-schedule": "step", "load-start": 1, "load-step": 1, "load-step-duration": "1s", "duration": "5s"},
            "load-end",
        ),
    ],
)
def test_settings_without_known_rates_are_refused_by_name(options, named):
    with pytest.raises(LoadTestError, match=named):
        schedule_of(settings(**options))


@pytest.mark.parametrize(
    ("given", "expected"),
    [("500ms", 0.5), ("1m30s", 90), ("1h", 3600), ("1.5s", 1.5), ("0", 0), (2_000_000_000, 2), ("10us", 1e-5)],
)
def test_durations_are_those_of_go(given, expected):
    assert seconds(given) == pytest.approx(expected)


@pytest.mark.parametrize("given", ["10", "ten", "5 s", ""])
def test_what_is_no_duration_is_refused(given):
    with pytest.raises(ValueError, match="no duration"):
        seconds(given)
