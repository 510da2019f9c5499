"""Small fusions and tables for tests of what serves them."""

import numpy as np

from shared.model.blend import SIGNALS, Act, Ask, Blend
from shared.model.crowd import Crowd
from shared.model.forest import LEAF, Tree
from shared.model.fusion import Fusion

STUMP = Tree((1, LEAF, LEAF), (0.5, 0.0, 0.0), (1, 0, 0), (2, 0, 0), (True, False, False), (0.0, -0.5, 0.75))


def made_fusion(names: tuple[str, ...] = SIGNALS, trees: tuple[Tree, ...] = (), **weights: float) -> Fusion:
    """Weight 1 of every signal where `weights`, by place, say nothing else; means 0.5, scales 2."""
    each = tuple(weights.get(f"w{place}", 1.0) for place in range(len(names)))
    return Fusion(names, (0.5,) * len(names), (2.0,) * len(names), each, -0.25, trees, {"logistic": 0.5})


def made_crowd(*item_ids: str) -> Crowd:
    """Item `n` is liked by n + 1 and near to the one after it, by (n + 1) / 10, and to the first, by 0.05."""
    ids = item_ids or ("a", "b", "c")
    count = len(ids)
    neighbours = [each for row in range(count) for each in ((row + 1) % count, 0)]
    likeness = [each for row in range(count) for each in ((row + 1) / 10, 0.05)]
    return Crowd(
        ids,
        np.arange(1, count + 1, dtype=np.float32),
        np.arange(count + 1, dtype=np.int64) * 2,
        np.array(neighbours, np.int32),
        np.array(likeness, np.float32),
    )


def made_blend(names: tuple[str, ...] = SIGNALS, trees: tuple[Tree, ...] = (STUMP,)) -> Blend:
    return Blend(made_fusion(names, trees), made_crowd())


def made_ask(candidates: tuple[str, ...] = ("a", "b", "x"), history: tuple[Act, ...] = (), **known) -> Ask:
    """Candidates of probability 0.5 of which nothing else is known."""
    unknown = np.full(len(candidates), np.nan)
    given = {
        "categories": ("",) * len(candidates),
        "probabilities": np.full(len(candidates), 0.5),
        "published_at": unknown,
        "retrieval": unknown,
    }
    return Ask(history, candidates, **{**given, "now": 1e9, **known})
