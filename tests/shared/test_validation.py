"""Checks accept exactly what they promise, and tell every violation at once."""

import math
import unicodedata

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given
from hypothesis import strategies as st

from shared.errors import Reason, ServiceError, Violation
from shared.validation import MAX_TIMESTAMP_S, MIN_TIMESTAMP_S, Checks

INT32, INT64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
NANOS = st.one_of(INT32, st.sampled_from([-1, 0, 1, 999_999_999, 1_000_000_000]))


def violated(checks: Checks) -> list[str]:
    try:
        checks.done()
    except ServiceError as error:
        return [violation.field for violation in error.violations]
    return []


def accepted(checks: Checks) -> bool:
    return not violated(checks)


@given(st.text(max_size=8), st.integers(0, 4), st.integers(0, 8))
@example("\x00", 0, 8)
@example("\x7f", 0, 8)
@example("\x85", 0, 8)
@example("\t\n\r", 0, 8)
@example("👩‍🔬", 3, 3)
def test_a_text_is_accepted_by_its_length_in_characters_and_without_control_characters(value, least, most):
    checks = Checks()
    checks.text("field", value, most, least=least)
    control = any(unicodedata.category(character) == "Cc" for character in value if character not in "\t\n\r")
    assert accepted(checks) == (least <= len(value) <= most and not control)


@given(st.floats(), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
@example(math.nan, 0.0, 1.0)
@example(math.inf, 0.0, math.inf)
def test_a_number_is_accepted_if_it_is_finite_and_in_range(value, least, most):
    checks = Checks()
    checks.number("field", value, least, most)
    assert accepted(checks) == (math.isfinite(value) and least <= value <= most)


@given(INT64, st.integers(-10, 10), st.integers(-10, 10))
def test_whole_numbers_are_accepted_like_others(value, least, most):
    checks = Checks()
    checks.number("field", value, least, most)
    assert accepted(checks) == (least <= value <= most)


@given(st.lists(st.none(), max_size=5), st.integers(0, 3), st.integers(0, 5))
def test_a_list_is_accepted_by_its_number_of_entries(values, least, most):
    checks = Checks()
    checks.size("field", values, most, least=least)
    assert accepted(checks) == (least <= len(values) <= most)


@given(st.one_of(INT64, st.integers(-2, 2), st.integers(MAX_TIMESTAMP_S - 1, MAX_TIMESTAMP_S + 1)), NANOS)
@example(MAX_TIMESTAMP_S, 999_999_999)
def test_a_time_is_accepted_if_it_is_well_formed_and_from_1970_to_9999(seconds, nanos):
    checks = Checks()
    checks.timestamp("field", Timestamp(seconds=seconds, nanos=nanos))
    assert accepted(checks) == (0 <= seconds <= MAX_TIMESTAMP_S and 0 <= nanos < 1_000_000_000)


@pytest.mark.parametrize(
    ("seconds", "is_accepted"), [(MIN_TIMESTAMP_S, True), (-1, True), (MIN_TIMESTAMP_S - 1, False)]
)
def test_a_time_may_reach_back_to_the_year_1_where_that_is_asked_for(seconds, is_accepted):
    checks = Checks()
    checks.timestamp("field", Timestamp(seconds=seconds), earliest_s=MIN_TIMESTAMP_S)
    assert accepted(checks) is is_accepted


@given(st.integers(0, 200), st.integers(0, 999_999_999), st.integers(0, 400))
@example(100, 1, 200)
@example(100, 500_000_000, 201)
def test_a_time_is_accepted_up_to_the_latest_one(seconds, nanos, latest_halves):
    checks = Checks()
    checks.timestamp("field", Timestamp(seconds=seconds, nanos=nanos), latest=latest_halves / 2)
    assert accepted(checks) == (seconds * 10**9 + nanos <= latest_halves * 500_000_000)


@given(st.one_of(INT64, st.integers(-2, 2), st.integers(315_575_999_998, 315_576_000_001)), NANOS)
def test_a_duration_is_accepted_if_it_is_well_formed_over_0_and_below_10000_years(seconds, nanos):
    checks = Checks()
    checks.positive_duration("field", Duration(seconds=seconds, nanos=nanos))
    in_range = 0 <= seconds < 315_576_000_000 and 0 <= nanos < 1_000_000_000
    assert accepted(checks) == (in_range and (seconds, nanos) != (0, 0))


@pytest.mark.parametrize(
    ("user_id", "visitor_id", "fields"),
    [
        ("ada", "", []),
        ("", "cookie", []),
        ("ada", "cookie", []),
        ("a" * 256, "", []),
        ("", "", ["user_id"]),
        ("a" * 257, "c" * 257, ["user_id", "visitor_id"]),
    ],
)
def test_a_user_is_named_by_one_of_two_ids(user_id: str, visitor_id: str, fields: list[str]):
    checks = Checks()
    checks.user(user_id, visitor_id)
    assert violated(checks) == fields


def test_all_violations_are_told_in_the_order_they_were_found():
    checks = Checks()
    checks.number("page_size", 0, 1, 50)
    checks.text("surface", "x" * 65, 64, least=1)
    checks.fail("filter", "must name a category")
    with pytest.raises(ServiceError) as caught:
        checks.done()
    assert list(caught.value.violations) == [
        Violation("page_size", "must be 1 to 50, is 0"),
        Violation("surface", "must have 1 to 64 characters, has 65"),
        Violation("filter", "must name a category"),
    ]
    assert caught.value.reason == Reason.INVALID_FIELD
    assert caught.value.message == "page_size: must be 1 to 50, is 0 (and 2 more)"


def test_at_most_twenty_violations_are_told():
    checks = Checks()
    for number in range(30):
        checks.fail(f"events[{number}]", "no")
    assert violated(checks) == [f"events[{number}]" for number in range(20)]
