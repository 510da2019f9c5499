"""Evaluation: figures as computed row by row, slices that add up, differences of pairs."""

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from services.trainer.bootstrap import Resampling
from services.trainer.corpus import Corpus, Event, Example, Past
from services.trainer.evaluation import (
    EvaluationOptions,
    SliceCounts,
    differences,
    evaluate,
    measure,
    spread_of,
)
from tests.trainer.measured_corpus import NAN, TableScorer, drawn_corpus, made_corpus, made_example, made_item

FEW = EvaluationOptions(resampling=Resampling(draws=50))


def table(seed: int = 0, *, probabilistic: bool = True) -> TableScorer:
    by_item = np.random.default_rng(seed).uniform(0.05, 0.95, 30).astype(np.float32)
    return TableScorer(by_item, f"table {seed}", probabilistic)


def flat(corpus: Corpus, scorer: TableScorer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, labels and users of all candidates."""
    examples = corpus.splits["test"]
    users = np.repeat([each.user for each in examples], [len(each.candidates) for each in examples])
    labels = np.concatenate([each.labels[:, 0] for each in examples])
    return np.concatenate(scorer.scores(examples)), labels, users


def value(evaluation: object, name: str, slice_: str = "") -> float:
    metric = evaluation.metric(name, slice_)  # type: ignore[attr-defined]
    assert metric is not None
    return float(metric.value)


def test_figures_over_all_candidates_are_those_of_scikit_learn() -> None:
    corpus, scorer = drawn_corpus(), table()
    evaluation = evaluate(scorer, corpus, "test", FEW)
    scores, labels, users = flat(corpus, scorer)
    assert value(evaluation, "pooled_auc") == pytest.approx(roc_auc_score(labels, scores))
    assert value(evaluation, "log_loss") == pytest.approx(log_loss(labels, scores.astype(float)))
    of_users = [
        roc_auc_score(labels[users == user], scores[users == user])
        for user in np.unique(users)
        if len(set(labels[users == user])) == 2
    ]
    assert value(evaluation, "uauc") == pytest.approx(np.mean(of_users))
    of_slates = [
        roc_auc_score(each.labels[:, 0], scorer.by_item[each.candidates])
        for each in corpus.splits["test"]
        if len(set(each.labels[:, 0])) == 2
    ]
    assert value(evaluation, "auc") == pytest.approx(np.mean(of_slates))


def test_every_figure_lies_in_its_interval_and_names_its_data() -> None:
    evaluation = evaluate(table(), drawn_corpus(), "test", FEW)
    for metric in evaluation.metrics:
        assert (metric.split, metric.data) == ("test", "0" * 32)
        if metric.low is not None and metric.name != "calibration_error":
            assert metric.low - 1e-9 <= metric.value <= metric.high + 1e-9


def test_the_interval_of_the_pooled_auc_is_that_of_exact_resampling() -> None:
    corpus, scorer = drawn_corpus(1, examples=300, users=60), table(1)
    metric = evaluate(scorer, corpus, "test", EvaluationOptions()).metric("pooled_auc")
    scores, labels, users = flat(corpus, scorer)
    rows = [np.flatnonzero(users == user) for user in np.unique(users)]
    draw = np.random.default_rng(5)
    exact = []
    for _ in range(400):
        some = np.concatenate([rows[user] for user in draw.integers(len(rows), size=len(rows))])
        exact.append(roc_auc_score(labels[some], scores[some]))
    np.testing.assert_allclose([metric.low, metric.high], np.percentile(exact, [2.5, 97.5]), atol=0.01)


def test_history_lengths_and_domains_divide_all_impressions() -> None:
    corpus = drawn_corpus()
    counts = {each.slice: each for each in evaluate(table(), corpus, "test", FEW).counts}
    whole = counts[""]
    for kind in ("history ", "domain "):
        parts = [each for name, each in counts.items() if name.startswith(kind)]
        assert len(parts) > 1
        for field in ("impressions", "ranked", "candidates", "positives"):
            assert sum(getattr(part, field) for part in parts) == getattr(whole, field)
    short = counts["history 0"].impressions + counts["history 1-4"].impressions
    assert counts["new users"].impressions == short


def test_slices_worked_out_by_hand() -> None:
    items = [made_item(row) for row in range(4)]
    long = [Past(0, "click", None)] * 5
    test = [
        made_example(0, [0, 1], [1, 0], user="a"),
        made_example(1, [2, 1, 0], [1, 0, NAN], long, user="a"),
        made_example(2, [0, 1], [0, 0], long, user="b"),
    ]
    evaluation = evaluate(
        TableScorer(np.array([1, 0, -1, 2], np.float32)),
        made_corpus(items, test, [Event("c", 0, "view", 1.0)]),
        "test",
        FEW,
    )
    counts = {each.slice: each for each in evaluation.counts}
    assert counts[""] == SliceCounts("", impressions=3, ranked=2, candidates=6, positives=2, users=2)
    assert counts["new items"] == SliceCounts("new items", impressions=1, ranked=1, candidates=2, positives=1, users=1)
    assert counts["history 5-19"].impressions == 2
    averaged = {each.name: each.count for each in evaluation.metrics if not each.slice}
    assert (averaged["auc"], averaged["ndcg@5"], averaged["recall@5"], averaged["diversity@5"]) == (2, 2, 2, 3)
    assert (averaged["uauc"], averaged["pooled_auc"]) == (2, 6)
    assert value(evaluation, "auc") == 0.5
    assert value(evaluation, "auc", "new users") == 1.0
    assert value(evaluation, "auc", "new items") == 0.0
    assert value(evaluation, "coverage@5") == 3 / 4
    assert "history 20+" not in counts
    assert evaluation.metric("log_loss") is None


def test_calibration_error_is_the_gap_of_a_constant_prediction() -> None:
    test = [made_example(number, [0, 1], [1, 0]) for number in range(10)]
    corpus = made_corpus([made_item(0), made_item(1)], test)
    evaluation = evaluate(TableScorer(np.full(2, 0.8, np.float32), probabilistic=True), corpus, "test", FEW)
    assert value(evaluation, "calibration_error") == pytest.approx(0.3)
    (only,) = evaluation.calibration
    assert (only.predicted, only.observed, only.count) == (pytest.approx(0.8), 0.5, 20)


def test_impressions_of_one_candidate_are_measured_by_user_and_together() -> None:
    test = [made_example(number, [number % 4], [float(number % 4 > 1)], user=f"u{number // 4}") for number in range(8)]
    corpus = made_corpus([made_item(row) for row in range(4)], test)
    evaluation = evaluate(TableScorer(np.arange(4, dtype=np.float32)), corpus, "test", FEW)
    assert (value(evaluation, "uauc"), value(evaluation, "pooled_auc")) == (1.0, 1.0)
    assert evaluation.metric("ndcg@10") is None
    assert evaluation.counts[0].ranked == 0


def test_a_difference_is_that_of_the_figures_and_a_scorer_does_not_differ_from_itself() -> None:
    corpus = drawn_corpus()
    one, other = (measure(table(seed), corpus, "test", FEW) for seed in (0, 1))
    values = [evaluate(table(seed), corpus, "test", FEW) for seed in (0, 1)]
    found = {(each.name, each.slice): each for each in differences(one, other, FEW.resampling)}
    for name in ("auc", "ndcg@10", "log_loss", "calibration_error", "pooled_auc"):
        difference = value(values[0], name) - value(values[1], name)
        assert found[name, ""].value == pytest.approx(difference)
        assert found[name, ""].low < found[name, ""].high
    for same in differences(one, one, FEW.resampling):
        assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_what_was_measured_on_different_splits_cannot_be_compared() -> None:
    corpus = drawn_corpus()
    split = Corpus(**{field: getattr(corpus, field) for field in corpus.__slots__} | {"fingerprint": "1" * 32})
    with pytest.raises(ValueError, match="same data"):
        differences(measure(table(), corpus, "test", FEW), measure(table(), split, "test", FEW), FEW.resampling)


def test_the_spread_over_seeds_is_that_of_the_figures() -> None:
    evaluations = [evaluate(table(seed), drawn_corpus(), "test", FEW) for seed in range(3)]
    spread = spread_of(evaluations, "auc")
    assert spread is not None
    assert spread.mean == pytest.approx(np.mean([value(each, "auc") for each in evaluations]))
    assert spread.seeds == 3
    assert spread_of(evaluations, "no such") is None


def test_an_unknown_split_and_scores_that_do_not_fit_are_refused() -> None:
    class Short:
        name, probabilistic = "short", False

        def scores(self, examples: Sequence[Example]) -> list[np.ndarray]:
            return [np.zeros(1, np.float32) for _ in examples]

    with pytest.raises(ValueError, match="it has test"):
        evaluate(table(), drawn_corpus(), "valid", FEW)
    with pytest.raises(ValueError, match="one score"):
        evaluate(Short(), drawn_corpus(), "test", FEW)
