"""A fusion is the sum it says it is, and what is read of a file is whole or refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from shared.model.forest import Tree
from shared.model.fusion import Features, fusion_bytes, logits_of, read_fusion
from tests.shared.model.made_blend import STUMP, made_fusion

NAMES = ("one", "two")
FUSION = made_fusion(NAMES, (STUMP, STUMP))


def test_a_logit_is_the_weighted_sum_plus_the_trees_and_the_unknown_counts_as_the_mean() -> None:
    features = Features(NAMES, np.array([[2.5, 4.5], [2.5, np.nan]]))
    wanted = [-0.25 + 1 + 2 + 2 * 0.75, -0.25 + 1 - 2 * 0.5]
    np.testing.assert_allclose(FUSION.logits(features), wanted)
    np.testing.assert_allclose(FUSION.scores(features), 1 / (1 + np.exp(-np.array(wanted))))


def test_a_fusion_is_read_as_it_was_written() -> None:
    assert read_fusion(fusion_bytes(FUSION)) == FUSION


def test_features_of_another_order_are_refused() -> None:
    with pytest.raises(ValueError, match="fitted on one, two"):
        FUSION.scores(Features(("two", "one"), np.zeros((1, 2))))


def test_logits_have_an_end_and_what_is_not_known_stays_so() -> None:
    found = logits_of(np.array([0.5, 0.0, 1.0, np.nan]))
    assert found[:3].tolist() == pytest.approx([0.0, -13.8155, 13.8155], abs=1e-3)
    assert np.isnan(found[3])


LOOP = Tree((0, 0, -1), (0.5,) * 3, (1, 0, 0), (2, 2, 0), (True,) * 3, (0.0,) * 3)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"means": (1.0,)}, "a mean, a scale and a weight"),
        ({"scales": (1.0, 0.0)}, "above 0"),
        ({"names": ("one", "one")}, "different names"),
        ({"names": (), "means": (), "scales": (), "weights": (), "trees": ()}, "one at least"),
        ({"trees": (LOOP,)}, "hang together"),
    ],
)
def test_numbers_that_do_not_fit_together_are_neither_written_nor_read(changes: dict, why: str) -> None:
    broken = replace(FUSION, **changes)
    with pytest.raises(ValueError, match=why):
        fusion_bytes(broken)
    content = json.loads(fusion_bytes(FUSION))
    content["fusion"] |= json.loads(json.dumps({name: getattr(broken, name) for name in changes if name != "trees"}))
    if "trees" in changes:
        trees = [{name: getattr(tree, name) for name in Tree.__slots__} for tree in broken.trees]
        content["fusion"]["trees"] = trees
    with pytest.raises(ValueError, match=why):
        read_fusion(json.dumps(content).encode())


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b'"format": 1', b'"format": 2', "format"),
        (b'"bias": -0.25', b'"bias": NaN', "JSON"),
        (b'"bias": -0.25', b'"bias": 1e999', "finite"),
        (b'"bias": -0.25', b'"bias": "none"', "finite"),
        (b'"bias"', b'"offset"', "missing"),
        (b"{", b"", "JSON"),
    ],
)
def test_a_damaged_file_is_refused(old: bytes, new: bytes, why: str) -> None:
    content = fusion_bytes(FUSION)
    assert old in content
    with pytest.raises(ValueError, match=why):
        read_fusion(content.replace(old, new, 1))
