"""Decayed sums: exact whatever the order of events."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.retrieval.behaviour import Action, CountedEvent, popularity_weight
from services.retrieval.popularity import counted, log_weight

HALF_LIFE = 172_800.0
NOW = 1_750_000_000.0


@given(st.lists(st.tuples(st.sampled_from([-2.0, -1.0, 0.2, 1.0, 4.0]), st.floats(0, 30 * HALF_LIFE)), min_size=1))
def test_the_sum_is_that_of_all_events_in_any_order(acts: list[tuple[float, float]]) -> None:
    tally = None
    for weight, age in acts:
        tally = counted(tally, CountedEvent("a", weight, NOW - age), HALF_LIFE)
    assert tally is not None
    direct = sum(weight * 2 ** (-age / HALF_LIFE) for weight, age in acts)
    now = tally.total * 2 ** (-(NOW - tally.as_of) / HALF_LIFE)
    assert now == pytest.approx(direct, rel=1e-9, abs=1e-9)


def test_weights_are_those_of_the_acts() -> None:
    assert popularity_weight(Action.DWELL, 30) == 0.5
    assert popularity_weight(Action.DWELL, 600) == 1.0
    assert popularity_weight(Action.RATE, 5) == pytest.approx(2.0)
    assert popularity_weight(Action.RATE, 0) == pytest.approx(-2.0)
    assert [popularity_weight(a, 9.0) for a in (Action.VIEW, Action.CLICK, Action.HIDE)] == [0.2, 1.0, -2.0]


def test_a_sum_below_zero_counts_as_none_and_log_weights_differ_by_half_lives() -> None:
    assert log_weight(None, HALF_LIFE) == -math.inf
    assert log_weight(counted(None, CountedEvent("a", -1.0, NOW), HALF_LIFE), HALF_LIFE) == -math.inf
    early = log_weight(counted(None, CountedEvent("a", 1.0, NOW), HALF_LIFE), HALF_LIFE)
    late = log_weight(counted(None, CountedEvent("a", 1.0, NOW + 3 * HALF_LIFE), HALF_LIFE), HALF_LIFE)
    assert late - early == pytest.approx(3.0)
