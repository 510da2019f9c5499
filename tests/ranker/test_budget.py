"""The choice of a batch's size from measurements of a device."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ranker.budget import Measured, bulk_budget, choose_budget, probe, sizes_to_try
from services.ranker.work import DeviceMemoryError
from shared.clock import ManualClock

SIZES = sizes_to_try(256, 65536)


class Device:
    """Takes `seconds(tokens)` for a batch; the first run of each size takes `first` times as long."""

    def __init__(self, seconds: Callable[[int], float], memory: int = 10**9, first: float = 100.0) -> None:
        self.clock = ManualClock(0.0)
        self.runs: list[int] = []
        self._seconds = seconds
        self._memory = memory
        self._first = first

    def run(self, tokens: int) -> None:
        if tokens > self._memory:
            raise DeviceMemoryError
        self.clock.advance(self._seconds(tokens) * (1.0 if tokens in self.runs else self._first))
        self.runs.append(tokens)


@pytest.mark.parametrize(
    ("least", "most", "sizes"),
    [
        (256, 2048, (256, 512, 1024, 2048)),
        (256, 2047, (256, 512, 1024)),
        (300, 300, (300,)),
        (100, 450, (100, 200, 400)),
    ],
)
def test_sizes_double_up_to_the_most(least: int, most: int, sizes: tuple[int, ...]) -> None:
    assert sizes_to_try(least, most) == sizes


@pytest.mark.parametrize(("least", "most"), [(0, 10), (11, 10)])
def test_sizes_that_make_no_sense_are_refused(least: int, most: int) -> None:
    with pytest.raises(ValueError):
        sizes_to_try(least, most)


def test_the_smallest_batch_with_nearly_the_best_throughput_is_chosen() -> None:
    throughput = {256: 50.0, 512: 94.9, 1024: 95.0, 2048: 99.0, 4096: 100.0, 8192: 97.0}
    assert choose_budget([Measured(tokens, tokens / speed) for tokens, speed in throughput.items()]) == 1024


@given(st.dictionaries(st.integers(1, 100_000), st.floats(0.0, 100.0), min_size=1))
def test_no_smaller_batch_is_nearly_as_fast_as_the_best(seconds: dict[int, float]) -> None:
    measured = [Measured(tokens, took) for tokens, took in seconds.items()]
    best = max(each.tokens_per_s for each in measured)
    budget = choose_budget(measured)
    assert budget in seconds
    assert all(each.tokens_per_s < 0.95 * best for each in measured if each.tokens < budget)


def test_nothing_can_be_chosen_from_nothing() -> None:
    with pytest.raises(ValueError):
        choose_budget([])


@pytest.mark.parametrize(("tokens", "bulk"), [(16384, 4096), (512, 128), (256, 64), (128, 64)])
def test_a_bulk_batch_is_a_quarter_but_not_tiny(tokens: int, bulk: int) -> None:
    assert bulk_budget(tokens) == bulk


def test_the_probe_finds_the_knee_of_a_device_with_overhead_and_goes_little_beyond() -> None:
    device = Device(lambda tokens: 0.001 + tokens * 1e-6)  # 95 % of full speed at 19,000 tokens
    chosen = probe(device.run, device.clock.monotonic, SIZES)
    assert chosen == 16384  # the best measured, 65536, is not full speed either


def test_the_probe_stops_where_throughput_stops_growing() -> None:
    device = Device(lambda tokens: max(tokens, 512) * 1e-5)
    assert probe(device.run, device.clock.monotonic, SIZES) == 512
    assert max(device.runs) == 2048


def test_one_dip_does_not_stop_the_probe() -> None:
    device = Device(lambda tokens: 0.02 if tokens == 512 else 0.001 + tokens * 1e-6)
    assert probe(device.run, device.clock.monotonic, SIZES) == 16384


def test_the_probe_chooses_among_the_sizes_that_fit_the_memory() -> None:
    device = Device(lambda tokens: 1.0, memory=5000)
    assert probe(device.run, device.clock.monotonic, SIZES) == 4096


def test_a_device_without_memory_for_the_smallest_size_is_an_error() -> None:
    device = Device(lambda tokens: 1.0, memory=255)
    with pytest.raises(DeviceMemoryError):
        probe(device.run, device.clock.monotonic, SIZES)


@given(st.sets(st.integers(1, 5), max_size=4))
def test_slow_runs_of_a_size_do_not_count_while_one_is_undisturbed(slow: set[int]) -> None:
    device = Device(lambda tokens: tokens * 1e-3)

    def run(tokens: int) -> None:
        device.run(tokens)
        if tokens == 256 and device.runs.count(tokens) - 1 in slow:
            device.clock.advance(10.0)

    assert probe(run, device.clock.monotonic, (256, 512, 1024)) == 256
