"""Category affinity as a baseline is the signal that a fusion reads."""

from dataclasses import replace

import numpy as np

from services.trainer.category_affinity import CategoryAffinity
from services.trainer.corpus import Past
from services.trainer.shipped_fusion import asks_of
from shared.model.blend import CATEGORY, features_of
from tests.trainer.crowd_corpus import UNSURE
from tests.trainer.measured_corpus import made_corpus, made_example, made_item

ITEMS = [replace(made_item(row), category=category) for row, category in enumerate(("a", "b", "a", "", "c"))]


def test_it_scores_as_the_fusion_reads_it() -> None:
    history = (Past(0, "click", 3.0), Past(1, "hide", 2.0), Past(1, "click", 1.0))
    example = replace(made_example(0, [2, 1, 4], [1, 0, 0]), history=history)
    corpus = made_corpus(ITEMS, [example], [])
    (scores,) = CategoryAffinity(corpus).scores([example])
    (ask,) = asks_of(corpus, UNSURE, [example], None)
    np.testing.assert_allclose(scores, features_of((CATEGORY,), None, ask).values[:, 0], rtol=1e-6)
    assert scores[0] > scores[1] == scores[2]


def test_an_item_of_no_category_scores_like_one_never_liked() -> None:
    example = replace(made_example(0, [3, 4], [1, 0]), history=(Past(0, "like", 1.0),))
    (scores,) = CategoryAffinity(made_corpus(ITEMS, [example], [])).scores([example])
    assert np.isfinite(scores).all()
    assert scores[0] == scores[1]
