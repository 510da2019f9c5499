"""Figures of slates: as scikit-learn computes them, as worked out by hand, and fair to ties."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, ndcg_score, roc_auc_score

from services.trainer.ranking_metrics import (
    category_diversities,
    diversities,
    equal_mass_bins,
    log_losses,
    novelties,
    placements,
    slate_figures,
    slates_of,
    top_rows,
)

NAN = float("nan")
slate = st.integers(1, 9).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from([-1.5, 0.0, 0.25, 3.0]) | st.floats(-5, 5), min_size=n, max_size=n),
        st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n),
    )
)


def both_labels(labels: list[float]) -> bool:
    return 0.0 in labels and 1.0 in labels


@given(st.lists(slate, min_size=1, max_size=6))
def test_auc_and_ndcg_of_each_slate_are_those_of_scikit_learn_ties_included(drawn: list) -> None:
    figures = slate_figures(slates_of(*([np.array(part[side]) for part in drawn] for side in (0, 1))))
    for number, (scores, labels) in enumerate(drawn):
        if both_labels(labels):
            assert figures.auc[number] == pytest.approx(roc_auc_score(labels, scores))
            for k, ndcg in zip((5, 10), figures.ndcg, strict=True):
                assert ndcg[number] == pytest.approx(ndcg_score([labels], [scores], k=k))
        else:
            assert math.isnan(figures.auc[number])
            assert math.isnan(figures.ndcg[0][number])


@given(slate.filter(lambda each: len(each[0]) <= 6 and both_labels(each[1])))
def test_reciprocal_rank_and_recall_are_the_mean_over_all_orders_of_tied_candidates(drawn: tuple) -> None:
    scores, labels = np.array(drawn[0]), np.array(drawn[1])
    figures = slate_figures(slates_of([scores], [labels]), recall_at=(2,))
    orders = [order for order in itertools.permutations(range(len(scores))) if (np.diff(scores[[*order]]) <= 0).all()]
    ranked = [labels[[*order]] for order in orders]
    assert figures.mrr[0] == pytest.approx(np.mean([1 / (1 + each.argmax()) for each in ranked]))
    assert figures.recall[0][0] == pytest.approx(np.mean([each[:2].sum() / labels.sum() for each in ranked]))


def test_a_slate_worked_out_by_hand() -> None:
    # Best first: negative, positive, negative, positive, negative.
    figures = slate_figures(slates_of([np.array([5.0, 4, 3, 2, 1])], [np.array([0.0, 1, 0, 1, 0])]), (3,), (2, 4))
    assert figures.auc[0] == pytest.approx(3 / 6)
    assert figures.mrr[0] == pytest.approx(1 / 2)
    assert figures.ndcg[0][0] == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))
    assert [recall[0] for recall in figures.recall] == [0.5, 1.0]


def test_constant_scores_look_like_a_random_order() -> None:
    labels = np.array([1.0, 1.0] + [0.0] * 18)
    figures = slate_figures(slates_of([np.zeros(20)], [labels]))
    discounts = 1 / np.log2(np.arange(10) + 2)
    assert figures.auc[0] == 0.5
    assert figures.ndcg[1][0] == pytest.approx(2 * discounts.sum() / 20 / discounts[:2].sum())
    assert figures.recall[0][0] == pytest.approx(0.5)


def test_candidates_without_a_label_are_as_if_they_were_not_there() -> None:
    with_gaps = slates_of(
        [np.array([9.0, 3, 2, 1]), np.array([1.0, 2])], [np.array([NAN, 0, 1, 0]), np.array([NAN, 1])]
    )
    figures = slate_figures(with_gaps)
    assert figures.auc[0] == 0.5
    assert figures.mrr[0] == 0.5
    assert math.isnan(figures.auc[1])


def test_scores_that_are_not_numbers_or_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        slates_of([np.array([1.0, NAN])], [np.array([1.0, 0.0])])
    with pytest.raises(ValueError, match="one score"):
        slates_of([np.array([1.0])], [np.array([1.0, 0.0])])


@given(slate.filter(lambda each: both_labels(each[1])))
def test_the_mean_placement_of_the_positives_and_of_the_negatives_is_the_auc(drawn: tuple) -> None:
    scores, labels = np.array(drawn[0]), np.array(drawn[1])
    found = placements(scores, labels > 0)
    wanted = pytest.approx(roc_auc_score(labels, scores))
    assert found[labels > 0].mean() == wanted
    assert found[labels == 0].mean() == wanted


@given(st.lists(st.tuples(st.floats(0.001, 0.999), st.booleans()), min_size=1, max_size=40))
def test_log_loss_is_that_of_scikit_learn(rows: list) -> None:
    predicted, positive = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    assert log_losses(predicted, positive).mean() == pytest.approx(log_loss(positive, predicted, labels=[0, 1]))


def test_bins_hold_like_many_and_equal_probabilities_stay_together() -> None:
    drawn = np.random.default_rng(0).random(1500)
    assert set(np.bincount(equal_mass_bins(drawn, 15)).tolist()) == {100}
    assert len(set(equal_mass_bins(np.repeat(0.3, 50), 15).tolist())) == 1


def test_the_list_shown_is_the_best_candidates_and_ties_do_not_follow_the_order_given() -> None:
    slates = slates_of([np.array([1.0, 3, 2]), np.zeros(50)], [np.full(3, NAN), np.full(50, NAN)])
    rows = top_rows(slates, 5)
    assert rows[0].tolist() == [1, 2, 0, -1, -1]
    assert len(set(rows[1].tolist())) == 5
    assert rows[1].tolist() != [3, 4, 5, 6, 7]


def test_novelty_is_the_mean_surprise_in_bits() -> None:
    # 3 + 1 + 0 acts, one more each: shares 4/7, 2/7, 1/7.
    found = novelties(np.array([[0, 2], [1, -1]]), np.array([3, 1, 0]))
    assert found.tolist() == pytest.approx([(math.log2(7 / 4) + math.log2(7)) / 2, math.log2(7 / 2)])


def test_diversity_is_one_minus_the_mean_cosine_of_pairs() -> None:
    shown = np.array([[0, 1, 2], [0, 1, -1], [0, -1, -1]])
    vectors = np.array([[1.0, 0], [1, 0], [0, 1]])
    assert diversities(shown, vectors)[:2].tolist() == pytest.approx([2 / 3, 0])
    assert category_diversities(shown, np.array([7, 7, 8]))[:2].tolist() == pytest.approx([2 / 3, 0])
    assert math.isnan(diversities(shown, vectors)[2])
    assert math.isnan(category_diversities(shown, np.array([7, 7, 8]))[2])


def test_slates_of_any_length_are_measured_as_if_alone() -> None:
    draw = np.random.default_rng(1)
    lengths = [1, 700, 2, 3, 50, 2, 1200]
    scores = [draw.integers(0, 5, n).astype(float) for n in lengths]
    labels = [(draw.random(n) < 0.3).astype(float) for n in lengths]
    together = slate_figures(slates_of(scores, labels))
    for number in range(len(lengths)):
        alone = slate_figures(slates_of([scores[number]], [labels[number]]))
        np.testing.assert_allclose(together.mrr[number], alone.mrr[0])
        np.testing.assert_allclose(together.ndcg[1][number], alone.ndcg[1][0])
