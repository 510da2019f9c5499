"""Regression trees as plain numbers, and many of them added up at once without walking any.

The leaves of a tree are the bits of a number, the leftmost lowest. Where a row goes right at a node it can reach none
of the leaves on that node's left: their bits are cleared, and the lowest bit that stays is the row's leaf. What one
feature's value clears is looked up for all trees together (QuickScorer: Lucchese et al., SIGIR 2015).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_Bits = NDArray[np.uint32]

LEAF = -1
MOST_LEAVES = 32
"""As many as a number has bits."""
_ALL = np.uint32(0xFFFFFFFF)
_DE_BRUIJN = np.uint32(0x077CB531)
"""Times a power of 2, its upper five bits are different for every power (Leiserson, Prokop, Randall, 1998)."""
_UPPER = np.uint32(27)
_ROWS_AT_ONCE = 10_000
"""Bounds the memory: 4 bytes for each row and tree."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A regression tree; all fields [nodes], the root first."""

    feature: tuple[int, ...]
    """Which is compared; -1 at a leaf."""
    threshold: tuple[float, ...]
    """Values up to it go left."""
    left: tuple[int, ...]
    right: tuple[int, ...]
    unknown_left: tuple[bool, ...]
    """Whether a value that is not known goes left."""
    value: tuple[float, ...]
    """At a leaf: what the tree adds."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """A node as its feature sees it: which bits of which tree stay where a row goes right."""

    tree: int
    threshold: float
    stays: np.uint32
    unknown_left: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Steps:
    """What one feature's values leave: `bits` [thresholds + 2, trees], by how many thresholds a value exceeds; the last
    row is for values that are not known."""

    thresholds: Floats
    """Rising."""
    bits: _Bits


class Forest:
    """Trees, ready to be added up. Immutable."""

    def __init__(self, trees: Sequence[Tree], features: int) -> None:
        """Raises ValueError where one is no tree of at most MOST_LEAVES leaves over so many features."""
        cuts: list[list[_Cut]] = [[] for _ in range(features)]
        self._values = np.zeros((len(trees), MOST_LEAVES))
        for number, tree in enumerate(trees):
            order, cleared = _laid_out(tree, features)
            self._values[number, _places(len(order))] = [tree.value[node] for node in order]
            for node, bits in cleared.items():
                stays = np.uint32(int(_ALL) & ~bits)
                cuts[tree.feature[node]].append(_Cut(number, tree.threshold[node], stays, tree.unknown_left[node]))
        self._steps = [_steps(each, len(trees)) for each in cuts]
        self._first_values = np.arange(len(trees)) * MOST_LEAVES

    def sums(self, features: Floats) -> Floats:
        """[rows] from [rows, features]; not a number = not known."""
        sums = np.zeros(len(features))
        if len(self._values):
            for start in range(0, len(features), _ROWS_AT_ONCE):
                rows = slice(start, start + _ROWS_AT_ONCE)
                sums[rows] = self._some(features[rows])
        return sums

    def _some(self, features: Floats) -> Floats:
        stays = np.full((len(features), len(self._values)), _ALL)
        for column, steps in enumerate(self._steps):
            values = features[:, column]
            exceeded = np.searchsorted(steps.thresholds, values)
            exceeded[np.isnan(values)] = len(steps.thresholds) + 1
            stays &= steps.bits[exceeded]
        lowest = stays & (~stays + np.uint32(1))
        places = (lowest * _DE_BRUIJN) >> _UPPER
        sums: Floats = self._values.ravel()[places + self._first_values].sum(axis=1)
        return sums


def _laid_out(tree: Tree, features: int) -> tuple[list[int], dict[int, int]]:
    """The leaves from left to right, and for each inner node the bits of the leaves on its left."""
    columns = (tree.threshold, tree.left, tree.right, tree.unknown_left, tree.value)
    if any(len(column) != len(tree.feature) for column in columns) or len(tree.feature) >= 2 * MOST_LEAVES:
        raise ValueError(f"a tree must have equally many of everything, and at most {MOST_LEAVES} leaves")
    leaves: list[int] = []
    cleared: dict[int, int] = {}
    seen: set[int] = set()

    def visit(node: int) -> None:
        if not 0 <= node < len(tree.feature) or node in seen:
            raise ValueError("the nodes of a tree must hang together as a tree")
        seen.add(node)
        if tree.feature[node] == LEAF:
            leaves.append(node)
            return
        if not 0 <= tree.feature[node] < features:
            raise ValueError("a tree compares a feature that there is not")
        first = len(leaves)
        visit(tree.left[node])
        cleared[node] = (1 << len(leaves)) - (1 << first)
        visit(tree.right[node])

    visit(0)
    if len(seen) < len(tree.feature):
        raise ValueError("the nodes of a tree must hang together as a tree")
    return leaves, cleared


def _places(leaves: int) -> NDArray[np.uint32]:
    """Where the values of the leaves lie, by what `_some` makes of their bits."""
    return (np.uint32(1) << np.arange(leaves, dtype=np.uint32)) * _DE_BRUIJN >> _UPPER


def _steps(cuts: Sequence[_Cut], trees: int) -> _Steps:
    thresholds = np.unique([cut.threshold for cut in cuts])
    bits = np.full((len(thresholds) + 2, trees), _ALL)
    for cut, at in zip(cuts, np.searchsorted(thresholds, [cut.threshold for cut in cuts]), strict=True):
        bits[at + 1, cut.tree] &= cut.stays
        if not cut.unknown_left:
            bits[-1, cut.tree] &= cut.stays
    bits[:-1] = np.bitwise_and.accumulate(bits[:-1], axis=0)
    return _Steps(thresholds, bits)
