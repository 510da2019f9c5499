"""Interests: incremental sums are the sums of the definition."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.profile.events import Event
from services.profile.interests import HalfLives, Interest, added, moved, strongest, weight
from shared.action import Action
from tests.profile.samples import DAY, NOW, an_event

HALF_LIVES = HalfLives()
VALUES = {Action.DWELL: st.floats(0, 10_000), Action.RATE: st.floats(0, 5)}


@st.composite
def events(draw: st.DrawFn) -> Event:
    action = draw(st.sampled_from(Action))
    value = draw(VALUES.get(action, st.just(0.0)))
    time = draw(st.floats(NOW - 200 * DAY, NOW))
    return an_event("e", action=action, value=value, time=time, category="news")


def summed(recorded: list[Event]) -> Interest:
    interest = None
    for event in recorded:
        interest = added(interest, event, HALF_LIVES)
    assert interest is not None
    return interest


def direct(recorded: list[Event], now: float, half_life: float) -> float:
    return sum(weight(event) * 2 ** (-max(0.0, now - event.time) / half_life) for event in recorded)


@given(st.lists(events(), min_size=1, max_size=30), st.floats(0, 100 * DAY), st.randoms())
def test_incremental_sums_equal_the_direct_sum_over_all_events_in_any_order(
    recorded: list[Event], later: float, shuffler: random.Random
) -> None:
    now = NOW + later
    shuffler.shuffle(recorded)
    interest = moved(summed(recorded), now, HALF_LIVES)
    assert interest.short_term == pytest.approx(direct(recorded, now, HALF_LIVES.short_s), rel=1e-9, abs=1e-9)
    assert interest.long_term == pytest.approx(direct(recorded, now, HALF_LIVES.long_s), rel=1e-9, abs=1e-9)


@given(st.lists(events(), min_size=1, max_size=10), st.floats(0, 50 * DAY), st.floats(0, 50 * DAY))
def test_moving_in_two_steps_is_moving_in_one(recorded: list[Event], first: float, second: float) -> None:
    interest = summed(recorded)
    stepwise = moved(moved(interest, NOW + first, HALF_LIVES), NOW + first + second, HALF_LIVES)
    at_once = moved(interest, NOW + first + second, HALF_LIVES)
    assert stepwise.short_term == pytest.approx(at_once.short_term, rel=1e-9, abs=1e-12)
    assert stepwise.long_term == pytest.approx(at_once.long_term, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("action", "value", "expected"),
    [
        (Action.VIEW, 0, 0.5),
        (Action.CLICK, 0, 1),
        (Action.LIKE, 0, 3),
        (Action.DISLIKE, 0, -3),
        (Action.HIDE, 0, -5),
        (Action.PURCHASE, 99, 5),
        (Action.DWELL, 30, 0.5),
        (Action.DWELL, 3600, 2),
        (Action.COMMENT, 0, 2),
        (Action.SHARE, 0, 3),
        (Action.RATE, 5, 2.5),
        (Action.RATE, 0, -2.5),
    ],
)
def test_each_action_has_its_weight(action: Action, value: float, expected: float) -> None:
    assert weight(an_event("e", action=action, value=value)) == expected


def test_a_click_counts_half_after_one_half_life() -> None:
    interest = added(None, an_event("e", category="news"), HALF_LIVES)
    assert moved(interest, NOW + DAY, HALF_LIVES).short_term == pytest.approx(0.5)
    assert moved(interest, NOW + 30 * DAY, HALF_LIVES).long_term == pytest.approx(0.5)


def test_a_moment_before_the_event_gives_it_age_zero() -> None:
    interest = added(None, an_event("e", category="news"), HALF_LIVES)
    assert moved(interest, NOW - DAY, HALF_LIVES) == interest


def test_the_strongest_come_first_for_or_against_and_each_as_of_the_same_moment() -> None:
    weak = Interest("weak", NOW, 0.1, 0.1)
    disliked = Interest("disliked", NOW, -4.0, -4.0)
    faded = Interest("faded", NOW - 1000 * DAY, 100.0, 100.0)
    found = strongest([weak, faded, disliked], NOW, HALF_LIVES, most=2)
    assert [interest.category for interest in found] == ["disliked", "weak"]
    assert {interest.as_of for interest in found} == {NOW}
