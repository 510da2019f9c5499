"""The limit of calls at once follows what the service bears, and is never moved by what says nothing of it."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.concurrency_limit import ConcurrencyLimit, Ended

ALLOWED_S = 0.5
LEAST, MOST = 4, 64


@dataclass
class Server:
    """Works on all calls it has at once, at so many calls' worth of work a second; one simulated tick after another."""

    limit: ConcurrencyLimit
    rate: float
    tick_s: float = 0.005

    def answered_in_time(self, offered_per_s: float, seconds: float) -> float:
        """Calls a second that were answered within ALLOWED_S, over the second half of the time."""
        now, due, good = 0.0, 0.0, 0
        working: list[tuple[float, float]] = []
        while now < seconds:
            now += self.tick_s
            due += offered_per_s * self.tick_s
            while due >= 1:
                due -= 1
                if len(working) < self.limit.value:
                    working.append((now, 1.0))
            share = self.rate * self.tick_s / max(len(working), 1)
            left = []
            for began, work in working:
                over = now - began >= ALLOWED_S
                if work <= share or over:
                    self.limit.learn(Ended(began, now, ALLOWED_S, not over), len(working))
                    good += not over and now > seconds / 2
                else:
                    left.append((began, work - share))
            working = left
        return good / (seconds / 2)


def test_under_overload_goodput_stays_near_what_the_service_can_do() -> None:
    for offered in (60.0, 100.0, 300.0):
        adaptive = Server(ConcurrencyLimit(LEAST, MOST, 0.25), rate=30.0).answered_in_time(offered, 30.0)
        fixed = Server(ConcurrencyLimit(MOST, MOST, 0.25), rate=30.0).answered_in_time(offered, 30.0)
        assert adaptive > 0.85 * 30.0
        assert fixed < 0.5 * 30.0


def test_a_fast_service_is_not_held_back() -> None:
    server = Server(ConcurrencyLimit(LEAST, MOST, 0.25), rate=2000.0, tick_s=0.001)
    assert server.answered_in_time(1500.0, 4.0) > 0.95 * 1500.0


def test_of_the_calls_of_one_jam_only_the_first_lowers_the_limit() -> None:
    limit = ConcurrencyLimit(LEAST, MOST, 0.25)
    before = limit.value
    for place in range(8):
        limit.learn(Ended(0.0, 0.5 + place / 100, ALLOWED_S, finished=True), 8)
    assert limit.value == int(before * 0.7)


@pytest.mark.parametrize(
    "call",
    [
        Ended(0.0, 0.09, 0.1, finished=True),  # its caller was in a hurry
        Ended(0.0, 0.01, ALLOWED_S, finished=False),  # given up at once
    ],
)
def test_what_says_nothing_of_the_load_changes_nothing(call: Ended) -> None:
    limit = ConcurrencyLimit(LEAST, MOST, 0.25)
    before = limit.value
    for _ in range(1000):
        limit.learn(call, MOST)
    assert limit.value == before


def test_a_limit_that_is_not_used_does_not_rise() -> None:
    limit = ConcurrencyLimit(LEAST, MOST, 0.25)
    before = limit.value
    for moment in range(1000):
        limit.learn(Ended(moment, moment + 0.01, ALLOWED_S, finished=True), 1)
    assert limit.value == before


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.integers(1, 80))))
def test_it_stays_within_its_bounds_and_a_fixed_one_where_it_is(calls: list[tuple[float, bool, int]]) -> None:
    moving, fixed = ConcurrencyLimit(LEAST, MOST, 0.25), ConcurrencyLimit(MOST, MOST, 0.25)
    for moment, (took, finished, in_flight) in enumerate(calls):
        for limit in (moving, fixed):
            limit.learn(Ended(2.0 * moment, 2.0 * moment + took, ALLOWED_S, finished), in_flight)
        assert LEAST <= moving.value <= MOST
        assert fixed.value == MOST
