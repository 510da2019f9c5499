"""The attention tower: it learns a taste from vectors, and what it scores is each candidate for itself."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.trainer.attention_tower import (
    AttentionTower,
    AttentionTowerOptions,
    _Learning,
    fit_attention_tower,
    principal,
)
from services.trainer.corpus import TRAIN, VALID, Corpus, Example, Past
from services.trainer.evaluation import evaluate
from shared.datasets import Item
from tests.trainer.measured_corpus import made_corpus, made_example, made_item

OPTIONS = AttentionTowerOptions(
    history=6, width=8, steps=100, batch=64, extra_negatives=32, learning_rate=0.05, evaluate_every=20
)
TOPICS, ITEMS = 4, 48


def topic_vectors(seed: int = 0) -> NDArray[np.float32]:
    """Items of a topic lie near one another, topics in turn."""
    draw = np.random.default_rng(seed)
    centres = np.linalg.qr(draw.normal(size=(16, TOPICS)))[0].T
    vectors = centres[np.arange(ITEMS) % TOPICS] + 0.1 * draw.normal(size=(ITEMS, 16))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def opposite_taste(number: int, draw: np.random.Generator) -> Example:
    """Who liked a topic likes the next one, not the same: no cosine knows that."""
    topic = int(draw.integers(TOPICS))
    rows = draw.integers(0, ITEMS // TOPICS, 7) * TOPICS
    history = [Past(int(row) + topic, "like", None) for row in rows[: 1 + number % 6]]
    wanted = int(rows[6]) + (topic + 1) % TOPICS
    others = [row for row in draw.permutation(ITEMS).tolist() if row % TOPICS != (topic + 1) % TOPICS][:5]
    return made_example(number, [wanted, *others], [1, 0, 0, 0, 0, 0], history)


def corpus_of(train: Sequence[Example], valid: Sequence[Example] = (), test: Sequence[Example] = ()) -> Corpus:
    corpus = made_corpus([made_item(row) for row in range(ITEMS)], test)
    splits = {TRAIN: tuple(train), VALID: tuple(valid), "test": tuple(test)}
    return Corpus(corpus.name, corpus.items, corpus.actions, splits, (), corpus.fingerprint, {})


def drawn_examples(seed: int, count: int) -> list[Example]:
    draw = np.random.default_rng(seed)
    return [opposite_taste(number, draw) for number in range(count)]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    examples = drawn_examples(0, 400)
    return corpus_of(examples[:250], examples[250:320], examples[320:])


@pytest.fixture(scope="module")
def tower(corpus: Corpus) -> AttentionTower:
    return fit_attention_tower(corpus, topic_vectors(), OPTIONS)


def test_it_learns_what_the_vectors_alone_do_not_say(corpus: Corpus, tower: AttentionTower) -> None:
    begun = _Learning(corpus, principal(topic_vectors(), 8, 0.25), OPTIONS).tower()
    before, after = (evaluate(each, corpus, "test").metric("auc") for each in (begun, tower))
    assert before is not None
    assert after is not None
    assert before.value < 0.6
    assert after.value > 0.95


def test_the_same_seed_gives_the_same_scores_and_another_seed_others(corpus: Corpus, tower: AttentionTower) -> None:
    test = corpus.splits["test"]
    torch.manual_seed(99)  # what others drew before must not matter
    again = fit_attention_tower(corpus, topic_vectors(), OPTIONS).scores(test)
    for one, other in zip(tower.scores(test), again, strict=True):
        np.testing.assert_array_equal(one, other)
    other_seed = replace(OPTIONS, seed=1)
    different = fit_attention_tower(corpus, topic_vectors(), other_seed).scores(test)
    assert any((one != other).any() for one, other in zip(tower.scores(test), different, strict=True))


@given(st.permutations(range(6)), st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_a_candidate_scores_the_same_whatever_stands_beside_it(
    tower: AttentionTower, order: list[int], kept: int
) -> None:
    (example,) = drawn_examples(7, 1)
    (whole,) = tower.scores([example])
    some = made_example(0, example.candidates[order[:kept]].tolist(), [0] * kept, example.history)
    np.testing.assert_allclose(tower.scores([some])[0], whole[order[:kept]], rtol=1e-5, atol=1e-6)


def test_scores_are_those_that_were_learnt(corpus: Corpus) -> None:
    learning = _Learning(corpus, principal(topic_vectors(), 8, 0.25), OPTIONS)
    for _ in range(5):
        learning.step()
    history = [Past(3, "like", None), Past(5, "dislike", None), Past(8, "view", None)]
    example = made_example(0, list(range(12)), [0] * 12, history)
    keys = torch.from_numpy(learning.tower().keys)
    kinds = torch.tensor([[0, 1, 2, -1, -1, -1]])  # three entries of six
    wanted = learning._weights(keys[:12], keys[torch.tensor([[3, 5, 8, 0, 0, 0]])], kinds)[0].detach().numpy()
    np.testing.assert_allclose(learning.tower().scores([example])[0], wanted, rtol=1e-4, atol=1e-5)


def test_what_was_disliked_speaks_against_its_like_before_anything_is_learnt(corpus: Corpus) -> None:
    begun = _Learning(corpus, principal(topic_vectors(), 8, 0.25), OPTIONS).tower()
    candidates = list(range(TOPICS))
    liked, disliked = (
        begun.scores([made_example(0, candidates, [0] * TOPICS, [Past(8, action, None)])])[0]
        for action in ("like", "dislike")
    )
    assert liked.argmax() == 0
    assert disliked.argmin() == 0
    assert disliked[0] < 0 < liked[0]


def test_that_dislikes_speak_against_is_learnt_from_behaviour() -> None:
    draw = np.random.default_rng(5)
    examples = []
    for number in range(300):
        liked, refused = draw.permutation(TOPICS)[:2].tolist()
        rows = draw.integers(0, ITEMS // TOPICS, 4) * TOPICS
        history = [Past(int(rows[0]) + liked, "like", None), Past(int(rows[1]) + refused, "dislike", None)]
        slate = [int(rows[2]) + liked, int(rows[3]) + refused]
        examples.append(made_example(number, slate, [1, 0], history))
    tower = fit_attention_tower(corpus_of(examples), topic_vectors(), OPTIONS)
    neutral = made_example(0, [0], [0], [Past(1, "like", None)])
    refusing = made_example(0, [0], [0], [Past(1, "like", None), Past(4, "hide", None)])
    assert tower.scores([refusing])[0][0] < tower.scores([neutral])[0][0]


def test_for_a_new_user_all_items_are_alike(tower: AttentionTower) -> None:
    assert tower.scores([made_example(0, [3, 1, 2], [0, 0, 0])])[0].tolist() == [0, 0, 0]


def test_only_the_newest_entries_are_read(tower: AttentionTower) -> None:
    newest = [Past(row, "like", None) for row in range(6)]
    short, long = (made_example(0, [20, 21], [0, 0], history) for history in (newest, [*newest, Past(7, "like", None)]))
    np.testing.assert_array_equal(tower.scores([short])[0], tower.scores([long])[0])


def test_what_the_user_knows_is_never_a_negative() -> None:
    """With nothing but known items to compare with, there is nothing to learn from, and nothing breaks."""
    items = tuple(Item(f"i{row}", "title") for row in range(2))
    history = (Past(1, "like", None),)
    examples = tuple(made_example(number, [0, 1], [1, 0], history) for number in range(4))
    corpus = Corpus("two", items, ("click",), {TRAIN: examples}, (), "0" * 32, {})
    options = AttentionTowerOptions(history=2, width=2, steps=3, batch=4, extra_negatives=4, weight_decay=0.0)
    vectors = np.eye(2, dtype=np.float32)
    fitted = fit_attention_tower(corpus, vectors, options)
    begun = _Learning(corpus, principal(vectors, 2, options.evening), options).tower()
    np.testing.assert_array_equal(fitted.scores(examples)[0], begun.scores(examples)[0])


def test_the_best_on_validation_is_kept() -> None:
    """Validation that says the opposite of train is served best by what was learnt least."""
    train = drawn_examples(0, 200)
    valid = [
        made_example(
            number,
            each.candidates.tolist(),
            [0, *(row % TOPICS == each.history[0].item % TOPICS for row in each.candidates[1:].tolist())],
            each.history,
        )
        for number, each in enumerate(drawn_examples(1, 60))
    ]
    kept, last = (fit_attention_tower(corpus_of(train, part), topic_vectors(), OPTIONS) for part in (valid, ()))
    judged = corpus_of((), (), valid)
    reached, at_the_end = (evaluate(each, judged, "test").metric("ndcg@10") for each in (kept, last))
    assert reached is not None
    assert at_the_end is not None
    assert reached.value > at_the_end.value


def test_where_slates_have_one_candidate_the_best_step_is_told_by_all_of_them_together(corpus: Corpus) -> None:
    single = [
        made_example(number, [item], [label], each.history)
        for number, each in enumerate(drawn_examples(1, 60))
        for item, label in zip(each.candidates[:2].tolist(), (1, 0), strict=True)
    ]
    options = replace(OPTIONS, evaluate_every=1)
    fitted = fit_attention_tower(corpus_of(corpus.splits[TRAIN], single), topic_vectors(), options)
    reached = evaluate(fitted, corpus, "test").metric("auc")
    assert reached is not None
    assert reached.value > 0.9


def test_validation_with_one_label_chooses_no_step(corpus: Corpus) -> None:
    liked = [made_example(0, [3], [1], [Past(2, "like", None)])]
    kept, last = (
        fit_attention_tower(corpus_of(corpus.splits[TRAIN], part), topic_vectors(), OPTIONS) for part in (liked, ())
    )
    np.testing.assert_array_equal(kept.queries, last.queries)


def test_without_a_positive_after_a_history_there_is_nothing_to_learn_from() -> None:
    with pytest.raises(ValueError, match="no positive with a history"):
        fit_attention_tower(corpus_of([made_example(0, [0, 1], [1, 0])]), topic_vectors(), OPTIONS)


@pytest.mark.parametrize("wrong", [{"history": 0}, {"steps": 0}, {"correction": 1.5}, {"weight_decay": -0.1}])
def test_options_out_of_their_range_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AttentionTowerOptions(**wrong)  # type: ignore[arg-type]


def test_main_directions_keep_the_geometry_of_the_vectors() -> None:
    vectors = topic_vectors()
    centred = vectors - vectors.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    turned = principal(vectors, 16, 0.0)
    np.testing.assert_allclose(turned @ turned.T, centred @ centred.T, atol=1e-4)
    assert principal(vectors, 3, 0.25).shape == (ITEMS, 3)
