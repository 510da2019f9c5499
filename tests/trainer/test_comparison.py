"""Which of two versions is better is said only where their intervals leave no doubt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.comparison import Row, compare
from shared.model.manifest import Metric
from shared.model.storage import LocalStorage
from tests.trainer.promoted import add_version


def row(first: Metric | None, second: Metric | None, name: str = "auc") -> Row:
    return Row(name, "test", "", first, second)


def metric(value: float, width: float | None = 0.01, data: str = "d1") -> Metric:
    low, high = (None, None) if width is None else (value - width, value + width)
    return Metric("auc", value, low, high, "test", "", 100, data)


def test_the_difference_is_second_minus_first_with_the_interval_of_independent_figures() -> None:
    difference = row(metric(0.60, 0.03), metric(0.70, 0.04)).difference
    assert difference is not None
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.10, 0.05, 0.15))


@pytest.mark.parametrize(("second", "clear"), [(0.72, True), (0.58, True), (0.61, False), (0.60, False)])
def test_better_is_what_is_clear(second: float, clear: bool) -> None:
    one, other = metric(0.60), metric(second)
    for name, winner in (("auc", max), ("log_loss", min), ("popularity/calibration_error", min)):
        better = winner((one, other), key=lambda each: each.value) if clear else None
        assert row(one, other, name).better is better


def test_what_was_measured_on_other_data_or_not_at_all_is_not_compared() -> None:
    for first, second in (
        (metric(0.6), metric(0.7, data="d2")),
        (metric(0.6), None),
        (None, metric(0.7)),
        (metric(0.6, data=""), metric(0.7, data="")),
    ):
        assert row(first, second).difference is None
        assert row(first, second).better is None


def test_without_intervals_nothing_is_clear() -> None:
    found = row(metric(0.6, None), metric(0.9))
    assert found.difference == Metric("auc", pytest.approx(0.3))
    assert found.better is None


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.001, 0.2))
def test_the_order_of_both_does_not_matter(one: float, other: float, width: float) -> None:
    first, second = metric(one, width), metric(other, width)
    assert row(first, second).better is row(second, first).better


def test_every_figure_of_either_has_a_row_and_slices_come_last(tmp_path) -> None:
    def figure(name: str, part: str = "") -> Metric:
        return Metric(name, 0.5, split="test", slice=part)

    storage = LocalStorage(tmp_path)
    one = add_version(storage, "v1", (figure("auc", "new users"), figure("auc"))).manifest()
    other = add_version(storage, "v2", (figure("mrr"), figure("auc"))).manifest()
    rows = compare(one, other)
    assert [(each.name, each.slice) for each in rows] == [("auc", ""), ("mrr", ""), ("auc", "new users")]
    assert [(each.first is None, each.second is None) for each in rows] == [
        (False, False),
        (True, False),
        (False, True),
    ]
