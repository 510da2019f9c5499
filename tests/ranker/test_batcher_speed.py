"""What the batcher believes of the device's speed, and for how long."""

import pytest

from services.ranker.speed import Speed


def test_nothing_is_believed_before_a_batch_was_measured() -> None:
    speed = Speed()
    assert (speed.expected_s(100), speed.least_s(100, now=0.0)) == (0.0, 0.0)


def test_the_least_time_is_that_of_twice_the_speed() -> None:
    speed = Speed()
    speed.learn(fill=1.0, tokens=100, started=10.0, finished=12.0)
    assert speed.expected_s(25) == pytest.approx(0.5)
    assert speed.least_s(25, now=12.0) == pytest.approx(0.25)


def test_a_small_batch_tells_nothing_of_a_full_one() -> None:
    speed = Speed()
    speed.learn(fill=0.49, tokens=49, started=0.0, finished=10.0)
    assert speed.expected_s(100) == 0.0


def test_a_batch_that_took_no_measurable_time_tells_nothing() -> None:
    speed = Speed()
    speed.learn(fill=1.0, tokens=100, started=1.0, finished=1.0)
    assert speed.expected_s(100) == 0.0


def test_one_slow_batch_does_not_make_a_fast_device_slow() -> None:
    speed = Speed()
    speed.learn(fill=1.0, tokens=100, started=0.0, finished=1.0)
    speed.learn(fill=1.0, tokens=100, started=1.0, finished=101.0)
    assert speed.expected_s(100) == pytest.approx(1 / 0.802)


def test_an_old_belief_drops_no_work_so_that_a_wrong_one_is_corrected() -> None:
    speed = Speed()
    speed.learn(fill=1.0, tokens=1, started=0.0, finished=60.0)
    assert speed.least_s(100, now=61.0) == pytest.approx(3000)
    assert speed.least_s(100, now=61.1) == 0.0
