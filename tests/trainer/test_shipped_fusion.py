"""The fusion of a version: shipped where it helps, fitted on what was known before."""

from dataclasses import replace

import numpy as np
import pytest

from services.trainer.baselines import POSITIVE_ACTS
from services.trainer.corpus import TEST, VALID, Event
from services.trainer.fusion import ALONE
from services.trainer.item_knn import KnnOptions, fit_item_knn
from services.trainer.shipped_fusion import asks_of, crowd_of, fit_shipped_fusion
from shared.model.blend import ITEM_KNN, LOG_AGE, LOG_HISTORY, MODEL, POPULARITY, RETRIEVAL, features_of
from shared.model.crowd import LIKING
from tests.trainer.crowd_corpus import NOW, UNSURE, crowd_corpus, drawn_vectors


def test_what_popularity_adds_is_shipped_and_nothing_is_where_nothing_helps() -> None:
    helped = fit_shipped_fusion(crowd_corpus(), UNSURE)
    assert helped is not None
    assert POPULARITY in helped.fusion.names
    assert MODEL not in helped.fusion.names  # it says the same of everything
    assert min(helped.fusion.log_losses.values()) < helped.fusion.log_losses[ALONE]
    assert fit_shipped_fusion(crowd_corpus(chosen="whatever"), UNSURE) is None


def test_without_validation_or_with_one_label_or_one_user_nothing_is_shipped() -> None:
    corpus = crowd_corpus()
    one_label = tuple(replace(each, labels=np.ones_like(each.labels)) for each in corpus.splits[VALID])
    one_user = tuple(replace(each, user="u0") for each in corpus.splits[VALID])
    for splits in ({}, {VALID: ()}, {VALID: one_label}, {VALID: one_user}):
        assert fit_shipped_fusion(replace(corpus, splits=splits), UNSURE) is None


def test_what_validation_chose_is_no_part_of_the_fit_but_of_what_is_shipped() -> None:
    corpus = crowd_corpus()
    shipped = fit_shipped_fusion(corpus, UNSURE)
    assert shipped is not None
    assert shipped.crowd is not None
    without_acts = fit_shipped_fusion(replace(corpus, events=()), UNSURE)
    assert without_acts is None or not {POPULARITY, ITEM_KNN} & set(without_acts.fusion.names)
    earlier = crowd_of(corpus)
    chosen = [
        Event(each.user, int(item), "click", NOW)
        for each in corpus.splits[VALID]
        for item in each.candidates[each.labels[:, 0] == 1]
    ]
    both = crowd_of(replace(corpus, events=(*corpus.events, *chosen)))
    assert shipped.crowd.item_ids == both.item_ids
    np.testing.assert_array_equal(shipped.crowd.popularity, both.popularity)
    assert earlier.popularity.tolist() != both.popularity.tolist()


@pytest.mark.parametrize("first_test", [NOW - 1.0, None])
def test_what_may_have_happened_after_the_first_test_is_not_counted(first_test: float | None) -> None:
    corpus = crowd_corpus()
    tests = (replace(corpus.splits[TEST][0], time=first_test), *corpus.splits[TEST][1:])
    shipped = fit_shipped_fusion(replace(corpus, splits={**corpus.splits, TEST: tests}), UNSURE)
    assert shipped is not None
    assert shipped.crowd is not None
    np.testing.assert_array_equal(shipped.crowd.popularity, crowd_of(corpus).popularity)


def test_signals_that_say_nothing_are_left_out() -> None:
    corpus = crowd_corpus()
    undated = tuple(replace(item, published_at=None) for item in corpus.items)
    dated, without = (fit_shipped_fusion(each, UNSURE) for each in (corpus, replace(corpus, items=undated)))
    assert dated is not None
    assert without is not None
    assert set(dated.fusion.names) - set(without.fusion.names) == {LOG_AGE}
    assert {LOG_HISTORY, ITEM_KNN} < set(without.fusion.names)


def test_tables_hold_the_scores_of_item_knn_and_only_items_that_somebody_liked() -> None:
    corpus = crowd_corpus()
    knn = fit_item_knn(corpus, KnnOptions(neighbours=100))
    crowd = crowd_of(corpus)
    assert set(crowd.item_ids) == {f"i{event.item}" for event in corpus.events}
    examples = corpus.splits[VALID]
    asks = asks_of(corpus, UNSURE, examples, None)
    assert any(each.any() for each in knn.scores(examples))
    for ask, wanted in zip(asks, knn.scores(examples), strict=True):
        np.testing.assert_allclose(features_of((ITEM_KNN,), crowd, ask).values[:, 0], wanted, atol=1e-5)


def test_acts_that_speak_for_an_item_are_those_that_are_counted_and_a_dwell() -> None:
    assert POSITIVE_ACTS | {"", "dwell"} == LIKING


def test_a_signal_of_retrieval_is_read_where_vectors_are_given() -> None:
    shipped = fit_shipped_fusion(crowd_corpus(), UNSURE, drawn_vectors())
    assert shipped is not None
    assert RETRIEVAL in shipped.fusion.names
