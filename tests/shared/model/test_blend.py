"""What a fusion reads of a call is what it says it reads, of each candidate alone, known or not."""

from dataclasses import replace

import numpy as np
import pytest

from shared.model.blend import (
    CATEGORY,
    ITEM_KNN,
    LOG_AGE,
    LOG_HISTORY,
    MODEL,
    MOST_HISTORY,
    POPULARITY,
    RETRIEVAL,
    SIGNALS,
    Act,
    Blend,
    category_affinity,
    features_of,
)
from shared.model.forest import LEAF, Tree
from shared.model.fusion import Features
from tests.shared.model.made_blend import STUMP, made_ask, made_blend, made_crowd, made_fusion

DAY = 86_400.0
CROWD = made_crowd()
HISTORY = (
    Act("b", "like", "Gadgets"),
    Act("c", "dislike", "Pets"),
    Act("c", "like", "Pets"),
    Act("b", "hide", "Gadgets"),
    Act("seen", "view", "Travel"),
)
ASK = made_ask(
    history=HISTORY,
    categories=("Gadgets", "Pets", ""),
    probabilities=np.array([0.5, 0.9, np.nan]),
    published_at=np.array([1e9 - 3 * DAY, np.nan, 1e9 + DAY]),
    retrieval=np.array([0.4, np.nan, 1.0]),
)


def column(name: str, ask=ASK) -> list[float]:
    return features_of((name,), CROWD, ask).values[:, 0].tolist()


def test_each_signal_is_what_its_name_says() -> None:
    assert column(MODEL) == pytest.approx([0.0, np.log(9), np.nan], nan_ok=True)
    assert column(POPULARITY) == [1.0, 2.0, 0.0]
    assert column(ITEM_KNN) == pytest.approx([0.05, 0.0, 0.0])  # of b alone: c is disliked now, seen only viewed
    assert column(LOG_AGE) == pytest.approx([np.log(4), np.nan, 0.0], nan_ok=True)
    assert column(LOG_HISTORY) == pytest.approx([np.log(4)] * 3)
    assert column(RETRIEVAL) == pytest.approx([0.4, np.nan, 1.0], nan_ok=True)
    # Of b alone, again: one act of two, the other being of no category.
    assert column(CATEGORY) == pytest.approx([np.log(0.52), np.log(0.02), np.nan], nan_ok=True)
    assert features_of((RETRIEVAL, MODEL), None, ASK).names == (RETRIEVAL, MODEL)


def test_of_a_long_history_only_the_newest_items_are_read() -> None:
    long = [*(Act(f"item-{number // 2}", "click") for number in range(2 * MOST_HISTORY)), Act("b", "like")]
    ask = replace(ASK, history=long)
    assert column(LOG_HISTORY, ask)[0] == pytest.approx(np.log1p(MOST_HISTORY))
    assert column(ITEM_KNN, ask) == [0.0, 0.0, 0.0]
    assert column(ITEM_KNN, replace(ask, history=long[2:]))[0] > 0


def test_category_affinity_counts_newer_acts_more_and_a_few_acts_little() -> None:
    liked = [Act("1", "click", "a"), Act("2", "click", ""), Act("3", "click", "b"), Act("4", "click", "a")]
    of_a, of_b, of_c = np.exp(category_affinity(liked, ("a", "b", "c"))) - 0.02
    assert of_a == pytest.approx((1 + 0.81) / 3.71)
    assert of_b == pytest.approx(0.9 / 3.71)
    assert of_c == pytest.approx(0)
    twice = [*liked, *liked]
    assert category_affinity(twice, ("a",))[0] > category_affinity(liked, ("a",))[0]


def test_an_act_without_a_name_and_a_dwell_speak_for_an_item() -> None:
    wanted = column(ITEM_KNN, replace(ASK, history=[Act("b", "click")]))
    for action in ("", "dwell", "purchase"):
        assert column(ITEM_KNN, replace(ASK, history=[Act("b", action)])) == wanted


def test_a_probability_is_the_fusions_of_these_signals() -> None:
    blend = made_blend()
    wanted = blend.fusion.scores(Features(SIGNALS, features_of(SIGNALS, CROWD, ASK).values))
    np.testing.assert_allclose(blend.probabilities(ASK), wanted)


def test_a_candidates_probability_does_not_depend_on_the_others() -> None:
    blend = made_blend()
    whole = blend.probabilities(ASK)
    for place in range(3):
        one = slice(place, place + 1)
        alone = replace(
            ASK,
            candidates=ASK.candidates[one],
            categories=ASK.categories[one],
            probabilities=ASK.probabilities[one],
            published_at=ASK.published_at[one],
            retrieval=ASK.retrieval[one],
        )
        assert blend.probabilities(alone)[0] == pytest.approx(whole[place], abs=1e-12)


def test_a_caller_who_sends_nothing_more_gets_a_number() -> None:
    found = made_blend().probabilities(made_ask(now=np.nan))
    assert np.isfinite(found).all()


HUGE = Tree((LEAF,), (0.0,), (0,), (0,), (False,), (1.7e308,))
"""Two of them are more than a number can be."""


@pytest.mark.parametrize(
    ("fusion", "crowd", "why"),
    [
        (made_fusion((MODEL, "karma")), CROWD, "signals that this program does not know"),
        (made_fusion((MODEL, POPULARITY)), None, "tables"),
        (made_fusion((MODEL, ITEM_KNN)), None, "tables"),
        (replace(made_fusion((MODEL,), (HUGE, HUGE)), means=(1e308,), weights=(1e308,)), None, "finite"),
    ],
)
def test_a_fusion_that_cannot_be_served_is_refused(fusion, crowd, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Blend(fusion, crowd)


def test_a_fusion_that_reads_no_tables_needs_none() -> None:
    names = (MODEL, LOG_AGE)
    assert np.isfinite(Blend(made_fusion(names, (STUMP,)), None).probabilities(ASK)[:2]).all()
