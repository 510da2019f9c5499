"""Item-kNN equals its definition, written out with dictionaries."""

import math

import numpy as np
import pytest

from services.trainer.corpus import Corpus, Event, Past
from services.trainer.item_knn import KnnOptions, fit_item_knn
from tests.trainer.measured_corpus import drawn_corpus, made_corpus, made_example, made_item

POSITIVE = ("click", "like")


def by_dictionaries(corpus: Corpus, options: KnnOptions) -> list[list[float]]:
    users: dict[int, set[str]] = {row: set() for row in range(len(corpus.items))}
    for event in corpus.events:
        if event.action in POSITIVE:
            users[event.item].add(event.user)

    def likeness(one: int, other: int) -> float:
        both = len(users[one] & users[other])
        if one == other or not both:
            return 0.0
        return both / (math.sqrt(len(users[one]) * len(users[other])) + options.shrinkage)

    found = []
    for example in corpus.splits["test"]:
        weights: dict[int, float] = {}
        for past in example.history:
            if past.action in POSITIVE:
                weights.setdefault(past.item, 1.0)
            elif past.action == "dislike":
                weights.setdefault(past.item, -options.dislike_weight)
        found.append([sum(w * likeness(i, c) for i, w in weights.items()) for c in example.candidates.tolist()])
    return found


@pytest.mark.parametrize("options", [KnnOptions(), KnnOptions(shrinkage=0.0, dislike_weight=0.5)])
def test_scores_are_those_of_the_definition(options: KnnOptions) -> None:
    drawn = drawn_corpus(3)
    mixed = [Past(3, "dislike", None), Past(3, "like", None), Past(4, "view", None), Past(5, "like", None)]
    corpus = made_corpus(
        drawn.items, [*drawn.splits["test"], made_example(99, list(range(30)), [0] * 30, mixed)], drawn.events
    )
    found = fit_item_knn(corpus, options).scores(corpus.splits["test"])
    wanted = by_dictionaries(corpus, options)
    assert any(any(each) for each in wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_scores_do_not_depend_on_the_batch() -> None:
    corpus = drawn_corpus(4, examples=700)
    knn = fit_item_knn(corpus)
    examples = corpus.splits["test"]
    np.testing.assert_array_equal(knn.scores(examples)[650], knn.scores(examples[650:651])[0])


def liked(user: str, *items: int) -> list[Event]:
    return [Event(user, item, "like", float(time)) for time, item in enumerate(items)]


def test_only_the_nearest_neighbours_are_kept() -> None:
    events = [*liked("a", 0, 1), *liked("b", 0, 1), *liked("c", 0, 2)]
    example = made_example(0, [1, 2], [0, 0], [Past(0, "like", None)])
    corpus = made_corpus([made_item(row) for row in range(3)], [example], events)
    near, far = fit_item_knn(corpus, KnnOptions(neighbours=1)).scores([example])[0]
    assert near > 0
    assert far == 0
    assert (fit_item_knn(corpus, KnnOptions(neighbours=2)).scores([example])[0] > 0).all()


def test_of_a_user_only_the_latest_acts_count() -> None:
    example = made_example(0, [0, 2], [0, 0], [Past(1, "like", None)])
    corpus = made_corpus([made_item(row) for row in range(3)], [example], liked("a", 0, 1, 2))
    assert fit_item_knn(corpus, KnnOptions(acts_per_user=2)).scores([example])[0][0] == 0
    assert (fit_item_knn(corpus).scores([example])[0] > 0).all()


def test_without_events_every_score_is_zero() -> None:
    example = made_example(0, [0, 1], [0, 1], [Past(1, "like", None)])
    assert fit_item_knn(made_corpus([made_item(0), made_item(1)], [example])).scores([example])[0].tolist() == [0, 0]
