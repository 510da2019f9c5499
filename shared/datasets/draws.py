"""Random draws that come out the same on every machine and Python version. The documentation of `random`
promises that for `random()` alone, so everything else here is made from it with +, -, * and /, which IEEE
754 fixes to the last bit; no logarithms, whose last digit differs between C libraries."""

import hashlib
import random
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import accumulate
from operator import add
from typing import TypeVar

T = TypeVar("T")

SQRT_3 = 1.7320508075688772


def total(values: Iterable[float]) -> float:
    """Added from left to right. Not sum(): since Python 3.12 that compensates, so its last bit changed."""
    return reduce(add, values, 0.0)


class Draws:
    """One independent stream per (seed, name), so that adding a user does not change another."""

    def __init__(self, seed: int, *name: object) -> None:
        digest = hashlib.blake2b(repr((seed, *name)).encode(), digest_size=8).digest()
        self.uniform = random.Random(int.from_bytes(digest, "big")).random

    def low(self) -> float:
        """In [0, 1), small values more likely: a uniform squared (by *, as pow() may round otherwise)."""
        uniform = self.uniform()
        return uniform * uniform

    def below(self, count: int) -> int:
        """A whole number in [0, count)."""
        return int(self.uniform() * count)

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def weighted(self, options: Sequence[T], weights: Sequence[float]) -> T:
        """One of `options`, in proportion to `weights`, which need not sum to one."""
        totals = list(accumulate(weights))
        return options[min(bisect_right(totals, self.uniform() * totals[-1]), len(options) - 1)]

    def distinct(self, count: int, options: Sequence[T]) -> list[T]:
        """`count` different options, in random order."""
        left = list(options)
        return [left.pop(self.below(len(left))) for _ in range(min(count, len(left)))]

    def bell(self) -> float:
        """Mean 0, variance 1, within ±3.5: a sum of four uniforms in place of a Gaussian."""
        return (self.uniform() + self.uniform() + self.uniform() + self.uniform() - 2.0) * SQRT_3
