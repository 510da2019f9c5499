"""Identifiers and times: what can be replayed is replayed, and what goes into protobuf comes out of it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import ManualClock, SystemClock
from shared.ids import derived_id, random_ids, seeded_ids
from shared.timestamps import duration_seconds, to_duration, to_seconds, to_timestamp

ID = re.compile(r"[0-9a-f]{32}")


def test_random_ids_do_not_repeat():
    source = random_ids()
    made = [source() for _ in range(1000)]
    assert all(ID.fullmatch(one) for one in made)
    assert len(set(made)) == 1000


def test_seeded_ids_repeat_for_the_same_seed_only():
    first, again, other = seeded_ids(1), seeded_ids(1), seeded_ids(2)
    made = [first() for _ in range(10)]
    assert made == [again() for _ in range(10)]
    assert not set(made) & {other() for _ in range(10)}
    assert all(ID.fullmatch(one) for one in made)


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_derived_ids_are_the_same_for_the_same_parts_only(first: list[str], second: list[str]):
    assert ID.fullmatch(derived_id(*first))
    assert (derived_id(*first) == derived_id(*second)) == (first == second)


def test_where_a_part_ends_counts():
    assert derived_id("ab", "c") != derived_id("a", "bc")
    assert derived_id("a", "") != derived_id("a")


@given(st.integers(0, 4_102_444_800 * 10**6))
def test_times_keep_their_microseconds(microseconds: int):
    seconds = microseconds / 10**6
    assert to_seconds(to_timestamp(seconds)) == pytest.approx(seconds, abs=1e-6)
    assert to_timestamp(seconds).ToMicroseconds() == microseconds


@given(st.floats(0, 1e9))
def test_durations_keep_their_microseconds(seconds: float):
    assert duration_seconds(to_duration(seconds)) == pytest.approx(seconds, abs=1e-6)


def test_a_manual_clock_stands_still_until_it_is_moved():
    clock = ManualClock(1000.0)
    assert (clock.now(), clock.monotonic()) == (1000.0, 1000.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (1002.5, 1002.5)


def test_the_system_clock_goes_forward():
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.now() > 1_700_000_000
