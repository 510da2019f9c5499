"""How many tokens a batch should have on this device: the smallest batch that uses it nearly fully.

Larger batches would only make everybody wait longer. Throughput grows with the batch until the device is busy, then
stays flat; a short measurement at start finds the knee. Whatever else runs beside can only slow a run down, so the
fastest of several tells most.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from services.ranker.work import LEAST_BUDGET, DeviceMemoryError

_NEARLY_FULL = 0.95
_REPEATS = 5
_GROWTH = 1.02
_MOST_FLAT = 2
_BULK_SHARE = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """A batch of so many tokens took so many seconds."""

    tokens: int
    seconds: float

    @property
    def tokens_per_s(self) -> float:
        """The throughput; infinite when the clock saw no time pass."""
        return self.tokens / self.seconds if self.seconds else math.inf


def sizes_to_try(least: int, most: int) -> tuple[int, ...]:
    """Batch sizes in tokens: `least`, doubled while not over `most`.

    Raises:
        ValueError: unless 1 <= least <= most.
    """
    if not 1 <= least <= most:
        raise ValueError("sizes must be at least 1, and the least not over the most")
    return tuple(least << power for power in range((most // least).bit_length()))


def choose_budget(measured: Sequence[Measured]) -> int:
    """Tokens of the smallest batch that reaches 95 % of the best throughput measured.

    Raises:
        ValueError: when nothing was measured.
    """
    enough = _NEARLY_FULL * max(each.tokens_per_s for each in measured)
    return min(each.tokens for each in measured if each.tokens_per_s >= enough)


def bulk_budget(tokens: int) -> int:
    """Tokens of a bulk batch: a quarter of the budget, so that an interactive call does not wait long for one."""
    return max(tokens // _BULK_SHARE, LEAST_BUDGET)


def probe(run: Callable[[int], None], spent_s: Callable[[], float], sizes: Iterable[int]) -> int:
    """Measures batches of growing size and chooses the budget, in tokens.

    `run` computes one batch of about so many tokens and returns when the device is done; `spent_s` reads a clock. Each
    size is run once to warm up, then the fastest of several counts. Growing ends at a size for which there is no
    memory, or when two sizes in succession were hardly faster than the best before.

    Raises:
        DeviceMemoryError: when there is no memory even for the first size.
        ValueError: when there are no sizes.
    """
    measured: list[Measured] = []
    best, flat = 0.0, 0
    for tokens in sizes:
        try:
            measured.append(_measure(run, spent_s, tokens))
        except DeviceMemoryError:
            if not measured:
                raise
            break
        speed = measured[-1].tokens_per_s
        flat = 0 if speed > best * _GROWTH else flat + 1
        best = max(best, speed)
        if flat == _MOST_FLAT:
            break
    return choose_budget(measured)


def _measure(run: Callable[[int], None], spent_s: Callable[[], float], tokens: int) -> Measured:
    run(tokens)
    seconds = []
    for _ in range(_REPEATS):
        started = spent_s()
        run(tokens)
        seconds.append(spent_s() - started)
    return Measured(tokens, min(seconds))
