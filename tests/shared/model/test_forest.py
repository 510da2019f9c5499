"""Trees that are looked up add up to what walking them gives."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.model.forest import LEAF, MOST_LEAVES, Forest, Tree

FEATURES = 3
VALUES = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0])
"""Few, so that values meet thresholds."""
LEAVES = st.floats(-10, 10).map(lambda value: (value,))
BRANCHES = st.recursive(
    LEAVES,
    lambda below: st.tuples(st.integers(0, FEATURES - 1), VALUES, st.booleans(), below, below),
    max_leaves=MOST_LEAVES,
)
ROWS = st.lists(st.lists(VALUES | st.just(math.nan), min_size=FEATURES, max_size=FEATURES), min_size=1, max_size=20)


def tree_of(branch) -> Tree:
    """The nodes of nested (feature, threshold, unknown left, left, right) and (value,)."""
    nodes: list[list] = []

    def add(part) -> int:
        number = len(nodes)
        nodes.append([LEAF, 0.0, 0, 0, False, part[0]])
        if len(part) > 1:
            feature, threshold, unknown_left, left, right = part
            nodes[number] = [feature, threshold, add(left), add(right), unknown_left, 0.0]
        return number

    add(branch)
    feature, threshold, left, right, unknown_left, value = (tuple(column) for column in zip(*nodes, strict=True))
    return Tree(feature, threshold, left, right, unknown_left, value)


def walked(branch, row) -> float:
    while len(branch) > 1:
        feature, threshold, unknown_left, left, right = branch
        goes_left = unknown_left if math.isnan(row[feature]) else row[feature] <= threshold
        branch = left if goes_left else right
    return branch[0]


@settings(deadline=None)
@given(st.lists(BRANCHES, max_size=4), ROWS)
def test_sums_are_those_of_walking_each_tree(branches, rows) -> None:
    found = Forest([tree_of(branch) for branch in branches], FEATURES).sums(np.array(rows))
    np.testing.assert_allclose(found, [sum(walked(branch, row) for branch in branches) for row in rows], atol=1e-9)


def chain(leaves: int):
    """A tree that is a list of its leaves: 0 where the first feature is up to 0, 1 up to 1, and so on."""
    branch = (float(leaves - 1),)
    for number in range(leaves - 2, -1, -1):
        branch = (0, float(number), True, (float(number),), branch)
    return branch


def test_the_largest_tree_and_more_rows_than_fit_at_once_are_right() -> None:
    values = np.random.default_rng(0).uniform(-1, MOST_LEAVES, (25_000, FEATURES))
    found = Forest([tree_of(chain(MOST_LEAVES))], FEATURES).sums(values)
    np.testing.assert_array_equal(found, np.clip(np.ceil(values[:, 0]), 0, MOST_LEAVES - 1))


WHOLE = tree_of((0, 0.5, True, (1.0,), (2, 0.5, True, (2.0,), (3.0,))))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"left": (0, 0, 3, 0, 0)}, "hang together"),  # a loop
        ({"right": (2, 0, 3, 0, 0)}, "hang together"),  # two ways to a leaf
        ({"right": (1, 0, 4, 0, 0)}, "hang together"),
        ({"right": (5, 0, 4, 0, 0)}, "hang together"),  # out of bounds
        ({"left": (-1, 0, 3, 0, 0)}, "hang together"),
        ({"feature": (LEAF,) * 5}, "hang together"),  # nodes that nothing leads to
        ({"feature": (3, LEAF, 2, LEAF, LEAF)}, "feature"),
        ({"feature": (-2, LEAF, 2, LEAF, LEAF)}, "feature"),
        ({"threshold": (0.5,)}, "equally many"),
        (dict.fromkeys(Tree.__slots__, ()), "hang together"),
    ],
)
def test_what_is_no_tree_is_refused(changes: dict, why: str) -> None:
    Forest([WHOLE], FEATURES)
    with pytest.raises(ValueError, match=why):
        Forest([Tree(**{name: getattr(WHOLE, name) for name in Tree.__slots__} | changes)], FEATURES)


def test_a_tree_with_too_many_leaves_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 32 leaves"):
        Forest([tree_of(chain(MOST_LEAVES + 1))], FEATURES)
