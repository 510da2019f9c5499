"""Two versions side by side: every figure that either has, the difference, and which of both is better.

Whoever has both manifests has no paired difference, so the interval is that of independent figures. On the same
examples that is wider than the truth: what it calls better is.
"""

import math
from dataclasses import dataclass

from shared.model.manifest import Metric, ModelManifest

_LOWER_IS_BETTER = ("loss", "error", "latency")
"""Words in a metric's name."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of both; None where it was not measured."""

    name: str
    split: str
    slice: str
    first: Metric | None
    second: Metric | None

    @property
    def same_data(self) -> bool:
        """Whether both are known to have been measured on the same data, so that they can be compared."""
        return self.first is not None and self.second is not None and self.first.data == self.second.data != ""

    @property
    def difference(self) -> Metric | None:
        """Second minus first; with an interval where both have one."""
        first, second = self.first, self.second
        if first is None or second is None or not self.same_data:
            return None
        value = second.value - first.value
        if first.low is None or first.high is None or second.low is None or second.high is None:
            return Metric(self.name, value)
        below = math.hypot(second.value - second.low, first.high - first.value)
        above = math.hypot(second.high - second.value, first.value - first.low)
        return Metric(self.name, value, value - below, value + above)

    @property
    def better(self) -> Metric | None:
        """The better one of both, where that is clear: the interval of the difference leaves out 0."""
        difference = self.difference
        if difference is None or difference.low is None or difference.high is None:
            return None
        if difference.low <= 0 <= difference.high:
            return None
        lower = any(word in self.name.rpartition("/")[2] for word in _LOWER_IS_BETTER)
        return self.second if (difference.value > 0) is not lower else self.first


def compare(first: ModelManifest, second: ModelManifest) -> tuple[Row, ...]:
    """Rows in the order of the first one's figures, whole splits before their slices; then what only the second has."""
    figures = [{(each.name, each.split, each.slice): each for each in one.metrics} for one in (first, second)]
    keys = sorted(dict.fromkeys((*figures[0], *figures[1])), key=lambda key: key[2] != "")
    return tuple(Row(*key, figures[0].get(key), figures[1].get(key)) for key in keys)
