"""Blends of few examples: what is fitted must not be trusted on what it was fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from services.trainer.corpus import TEST, TRAIN, Corpus, Example, Past
from services.trainer.opinions import Opinion
from services.trainer.stacking import StackingOptions, fit_stacked, told_by
from shared.datasets import Item

ITEMS = 300


@dataclass(frozen=True, eq=False)
class Known:
    """A signal: a number for each item."""

    values: np.ndarray
    name: str
    probabilistic: bool = False

    def scores(self, examples: Sequence[Example]) -> list[np.ndarray]:
        return [self.values[example.candidates].astype(np.float32) for example in examples]


def example(number: int, user: str, item: int, liked: bool, history: tuple[Past, ...] = ()) -> Example:
    label = np.array([[liked]], np.float32)
    return Example(str(number), user, float(number), history, np.array([item], np.int32), label)


def corpus_of(truth: np.ndarray, seed: int = 0, rows: int = 300) -> Corpus:
    """Thirty users; an item is liked with probability sigmoid(2 x truth)."""
    random = np.random.default_rng(seed)
    examples = []
    for number in range(2 * rows):
        item = int(random.integers(ITEMS))
        liked = bool(random.random() < 1 / (1 + np.exp(-2 * truth[item])))
        examples.append(example(number, f"u{random.integers(30)}", item, liked))
    items = tuple(Item(str(row), "title") for row in range(ITEMS))
    splits = {TRAIN: tuple(examples[:rows]), TEST: tuple(examples[rows:])}
    return Corpus("made", items, ("like",), splits, (), "0" * 32, {})


def auc(scores: Sequence[np.ndarray], corpus: Corpus) -> float:
    labels = np.concatenate([each.labels[:, 0] for each in corpus.splits[TEST]])
    return float(roc_auc_score(labels, np.concatenate(scores)))


TRUTH = np.random.default_rng(1).normal(size=ITEMS)


def remembered(opinions: Sequence[Opinion]) -> tuple[Known]:
    """Knows every row that it was fitted on by heart, and nothing else."""
    values = np.zeros(ITEMS)
    for each in opinions:
        values[each.item] = 1.0 if each.liked else -1.0
    return (Known(np.where(np.arange(ITEMS) % 2, values, -values), "by heart"),)


def test_a_signal_that_only_remembers_gets_no_weight() -> None:
    corpus = corpus_of(TRUTH)
    plain = fit_stacked(corpus, [Known(TRUTH, "truth")], lambda _: ())
    stacked = fit_stacked(corpus, [Known(TRUTH, "truth")], remembered)
    assert auc(stacked.scores(corpus.splits[TEST]), corpus) > auc(plain.scores(corpus.splits[TEST]), corpus) - 0.01
    assert auc(plain.scores(corpus.splits[TEST]), corpus) > 0.8


def test_a_signal_that_holds_for_others_is_used() -> None:
    corpus = corpus_of(TRUTH)
    noise = Known(np.random.default_rng(2).normal(size=ITEMS), "noise")
    stacked = fit_stacked(corpus, [noise], lambda _: (Known(TRUTH, "truth"),))
    assert stacked.fusion.names == ("noise", "truth")
    assert auc(stacked.scores(corpus.splits[TEST]), corpus) > 0.8


def test_the_weights_are_those_of_penalised_logistic_regression() -> None:
    corpus = corpus_of(TRUTH)
    signals = [Known(TRUTH, "truth"), Known(np.arange(ITEMS) / 100, "number")]
    fusion = fit_stacked(corpus, signals, lambda _: (), StackingOptions(penalty=5.0)).fusion
    rows = np.array([each.candidates[0] for each in corpus.splits[TRAIN]])
    values = np.stack([TRUTH[rows], (np.arange(ITEMS) / 100)[rows]], axis=1).astype(np.float32)
    standard = (values - values.mean(0)) / values.std(0)
    labels = np.array([each.labels[0, 0] for each in corpus.splits[TRAIN]])
    wanted = LogisticRegression(C=1 / 5.0, tol=1e-8).fit(standard, labels)
    np.testing.assert_allclose(fusion.weights, wanted.coef_[0], atol=1e-3)
    assert fusion.bias == pytest.approx(wanted.intercept_[0], abs=1e-3)


def test_a_signal_that_can_only_speak_for_a_candidate_never_speaks_against_it() -> None:
    corpus = corpus_of(TRUTH)
    against = [Known(-TRUTH, "quality"), Known(TRUTH**2, "other")]
    free = fit_stacked(corpus, against, lambda _: ()).fusion
    bound = fit_stacked(corpus, against, lambda _: (), StackingOptions(never_negative=("quality",))).fusion
    assert free.weights[0] < -0.5
    assert bound.weights[0] == 0.0


def test_histories_tell_more_examples_each_item_of_a_user_once_with_its_longest_history() -> None:
    past = tuple(Past(item, action, 50.0 - item) for item, action in enumerate(["like", "view", *["dislike"] * 5]))
    short = example(0, "u", 100, True, past[2:])
    whole = example(1, "u", 2, False, past)
    told = list(told_by([short, whole]))
    assert told[:2] == [short, whole]
    extra = {int(each.candidates[0]): each for each in told[2:]}
    assert extra.keys() == {0, 3}  # 1 is no opinion, 2 a row already, 4 and older have too little before them
    assert extra[0].history == past[1:]
    assert (extra[0].labels[0, 0], extra[3].labels[0, 0], extra[3].time) == (1.0, 0.0, 47.0)


def test_with_one_label_there_is_nothing_to_fit() -> None:
    corpus = corpus_of(TRUTH)
    likes = tuple(each for each in corpus.splits[TRAIN] if each.labels[0, 0] == 1)
    with pytest.raises(ValueError, match="positives and negatives"):
        fit_stacked(replace(corpus, splits={TRAIN: likes}), [Known(TRUTH, "truth")], lambda _: ())
