"""Baselines: each is what its name says, and none looks ahead."""

import numpy as np
import pytest

from services.trainer.baselines import (
    CosineScorer,
    RandomScorer,
    fit_popularity,
    fit_recent_popularity,
    positive_counts,
)
from services.trainer.corpus import Event, Past
from tests.trainer.measured_corpus import drawn_corpus, made_corpus, made_example, made_item


def test_random_scores_do_not_depend_on_the_batch_but_on_the_seed() -> None:
    examples = drawn_corpus().splits["test"]
    together, alone = RandomScorer(1).scores(examples)[5], RandomScorer(1).scores(examples[5:6])[0]
    np.testing.assert_array_equal(together, alone)
    assert (RandomScorer(2).scores(examples[5:6])[0] != alone).all()


def test_popularity_counts_each_user_of_an_item_once_and_only_positive_acts() -> None:
    acts = [
        ("a", 0, "click"),
        ("a", 0, "like"),
        ("b", 0, "click"),
        ("b", 1, "dislike"),
        ("c", 2, "view"),
        ("c", 1, "like"),
    ]
    events = [Event(user, item, action, float(time)) for time, (user, item, action) in enumerate(acts)]
    corpus = made_corpus([made_item(row) for row in range(4)], [made_example(0, [0, 1, 2, 3], [1, 0, 0, 0])], events)
    assert positive_counts(corpus).tolist() == [2, 1, 0, 0]
    (scores,) = fit_popularity(corpus).scores(corpus.splits["test"])
    np.testing.assert_allclose(scores, np.log1p([2, 1, 0, 0]))


@pytest.mark.parametrize("half_life", [3.0, 50.0, 1e-3])
@pytest.mark.parametrize("time", [None, 60.5, 75.0, 1e9, -1.0])
def test_recent_popularity_is_the_sum_of_what_is_left_of_earlier_acts(half_life: float, time: float | None) -> None:
    corpus = drawn_corpus()
    example = made_example(0, list(range(30)), [0] * 30, time=time)
    past = [
        event for event in corpus.events if event.action in ("click", "like") and (time is None or event.time < time)
    ]
    wanted = np.zeros(30)
    for event in past:
        wanted[event.item] += 2.0 ** (-(past[-1].time - event.time) / half_life)
    (scores,) = fit_recent_popularity(corpus, half_life).scores([example])
    np.testing.assert_allclose(scores, np.log1p(wanted), rtol=1e-5, atol=1e-12)


def test_without_events_all_are_equally_popular() -> None:
    corpus = made_corpus([made_item(0), made_item(1)], [made_example(0, [0, 1], [1, 0], time=5.0)])
    for scorer in (fit_popularity(corpus), fit_recent_popularity(corpus)):
        np.testing.assert_array_equal(scorer.scores(corpus.splits["test"])[0], [0, 0])


def test_cosine_is_to_what_was_liked_minus_what_was_disliked() -> None:
    vectors = np.eye(3, dtype=np.float32)
    history = [Past(0, "like", None), Past(1, "dislike", None), Past(2, "view", None)]
    example = made_example(0, [0, 1, 2], [0, 0, 0], history)
    assert CosineScorer(vectors).scores([example])[0].tolist() == [1, -1, 0]
    assert CosineScorer(vectors, dislike_weight=0.0).scores([example])[0].tolist() == [1, 0, 0]
    assert CosineScorer(vectors).scores([made_example(1, [0, 1], [0, 0])])[0].tolist() == [0, 0]
