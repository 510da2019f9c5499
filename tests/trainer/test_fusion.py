"""Fusion: as scikit-learn predicts, plain numbers through JSON, blind to neighbours, the better kind chosen."""

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from services.trainer.baselines import DAY_S, fit_popularity
from services.trainer.corpus import Example, Past
from services.trainer.fusion import (
    LOGISTIC,
    TREES,
    exported,
    features_of,
    fit_fused,
    fit_fusion,
)
from services.trainer.item_knn import fit_item_knn
from shared.datasets import Item
from shared.model.fusion import Features, Fusion
from shared.model.records import decoded, encoded, parsed
from tests.trainer.measured_corpus import drawn_corpus, made_corpus, made_example

NAMES = ("one", "two", "three")
ROWS = 3000


def drawn(seed: int, *, linear: bool) -> tuple[Features, np.ndarray, np.ndarray]:
    """Features, labels and users. Unless linear, the sign of the third decides what the first means."""
    draw = np.random.default_rng(seed)
    values = draw.normal([0.0, 5.0, 0.0], [1.0, 20.0, 1.0], (ROWS, 3))
    effect = values[:, 0] if linear else values[:, 0] * np.sign(values[:, 2])
    labels = (draw.random(ROWS) < 1 / (1 + np.exp(-2 * effect + 1))).astype(float)
    return Features(NAMES, values), labels, draw.integers(0, 40, ROWS)


def test_trees_predict_what_scikit_learn_predicts_unknown_values_included() -> None:
    features, labels, _ = drawn(0, linear=False)
    values = features.values.copy()
    values[np.random.default_rng(1).random(values.shape) < 0.2] = np.nan
    values[labels > 0, 1] = np.nan  # a split between known and unknown has an infinite threshold
    fitted = HistGradientBoostingClassifier(max_iter=30, early_stopping=False).fit(values, labels)
    fusion = exported(fitted, NAMES, {})
    fresh = np.random.default_rng(2).normal(0, 3, (500, 3))
    fresh[::3, 1] = np.nan
    for rows in (values, fresh):
        np.testing.assert_allclose(
            fusion.scores(Features(NAMES, rows)), fitted.predict_proba(rows)[:, 1], atol=1e-6, rtol=0
        )
    read_back = decoded(Fusion, parsed(encoded(fusion)))
    np.testing.assert_array_equal(read_back.scores(Features(NAMES, fresh)), fusion.scores(Features(NAMES, fresh)))


def test_a_linear_effect_is_fitted_as_scikit_learn_fits_it() -> None:
    features, labels, users = drawn(0, linear=True)
    fusion = fit_fusion(features, labels, users)
    assert not fusion.trees
    standard = (features.values - features.values.mean(axis=0)) / features.values.std(axis=0)
    fitted = LogisticRegression(max_iter=1000).fit(standard, labels)
    np.testing.assert_allclose(fusion.scores(features), fitted.predict_proba(standard)[:, 1], atol=1e-6)
    assert decoded(Fusion, parsed(encoded(fusion))) == fusion


def test_an_effect_that_depends_on_another_feature_takes_trees() -> None:
    features, labels, users = drawn(0, linear=False)
    fusion = fit_fusion(features, labels, users)
    assert fusion.trees
    assert fusion.log_losses[TREES] < fusion.log_losses[LOGISTIC]
    fresh, truth, _ = drawn(7, linear=False)
    assert roc_auc_score(truth, fusion.scores(fresh)) > 0.8


def test_probabilities_are_calibrated_on_new_data() -> None:
    features, labels, users = drawn(0, linear=True)
    fresh, truth, _ = drawn(9, linear=True)
    predicted = fit_fusion(features, labels, users).scores(fresh)
    for low, high in ((0.0, 0.3), (0.3, 0.7), (0.7, 1.0)):
        inside = (predicted >= low) & (predicted < high)
        assert predicted[inside].mean() == pytest.approx(truth[inside].mean(), abs=0.06)


def test_rows_without_label_change_nothing_and_what_is_not_known_counts_as_the_mean() -> None:
    features, labels, users = drawn(0, linear=True)
    more = Features(NAMES, np.concatenate([features.values, np.full((5, 3), 99.0)]))
    fusion = fit_fusion(features, labels, users)
    again = fit_fusion(more, np.append(labels, [np.nan] * 5), np.append(users, [0] * 5))
    assert again == fusion
    unknown, mean = np.full((1, 3), np.nan), np.array([fusion.means])
    assert fusion.scores(Features(NAMES, unknown)) == pytest.approx(fusion.scores(Features(NAMES, mean)))


def test_a_single_user_and_a_constant_feature_are_no_obstacle_one_label_is() -> None:
    features, labels, users = drawn(0, linear=True)
    constant = Features(NAMES, np.column_stack([features.values[:, :2], np.ones(ROWS)]))
    assert np.isfinite(fit_fusion(constant, labels, np.zeros(ROWS)).scores(constant)).all()
    with pytest.raises(ValueError, match="positives and negatives"):
        fit_fusion(features, np.ones(ROWS), users)


def test_features_are_scores_logits_age_and_length_of_history() -> None:
    class Sure:
        name, probabilistic = "sure", True

        def scores(self, examples: Sequence[Example]) -> list[np.ndarray]:
            return [np.array([0.5, 1.0], np.float32) for _ in examples]

    items = [Item("a", "a", published_at=DAY_S), Item("b", "b")]
    example = made_example(0, [0, 1], [1, 0], [Past(0, "like", None)] * 3, time=4 * DAY_S)
    found = features_of(made_corpus(items, [example]), [example], [Sure()])
    assert found.names == ("sure", "log age", "log history")
    assert found.values[0].tolist() == pytest.approx([0.0, np.log(4), np.log(4)])
    assert found.values[1, 0] == pytest.approx(np.log((1 - 1e-6) / 1e-6))
    assert np.isnan(found.values[1, 1])


def test_a_candidates_score_does_not_depend_on_its_neighbours() -> None:
    corpus = drawn_corpus(examples=400)
    fused = fit_fused(corpus, "test", (fit_popularity(corpus), fit_item_knn(corpus)))
    example = max(corpus.splits["test"], key=lambda each: len(each.candidates))
    (whole,) = fused.scores([example])
    for place, item in enumerate(example.candidates.tolist()):
        alone = made_example(0, [item], [0], example.history, example.user, example.time)
        assert fused.scores([alone])[0][0] == pytest.approx(whole[place], abs=1e-6)
