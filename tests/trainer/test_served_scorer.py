"""What is measured is what is served: scores equal those of the reference and of the model in training."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pytest

from services.trainer.baselines import item_vectors
from services.trainer.corpus import VALID, Corpus, Example, Past
from services.trainer.fitting import Fitted
from services.trainer.served_scorer import ServedScorer
from services.trainer.training import Target, train
from shared.model.base import Base
from shared.model.isolation import Reference
from shared.model.packed import PackedBert
from shared.model.ranking_model import RankingModel
from shared.model.text import NEGATIVE_ACTIONS, HistoryText, ItemText, text_of_history, text_of_item
from shared.model.versions import load_version
from shared.model.zero_shot import zero_shot_heads, zero_shot_model
from tests.trainer.small_corpus import LAYOUT, RECIPE, small_corpus, training_scores


def with_dislikes(corpus: Corpus) -> Corpus:
    """The same; every third entry of a history was disliked."""

    def changed(example: Example) -> Example:
        past = [replace(each, action="dislike") if row % 3 == 2 else each for row, each in enumerate(example.history)]
        return replace(example, history=tuple(past))

    return replace(corpus, splits={name: tuple(map(changed, each)) for name, each in corpus.splits.items()})


CORPUS = with_dislikes(small_corpus())


@dataclass(frozen=True)
class Made:
    fitted: Fitted
    model: RankingModel


@pytest.fixture(scope="module", params=[0, 1, 3])
def made(request: pytest.FixtureRequest, tiny_base: Base, tiny_packed: PackedBert, tmp_path_factory) -> Made:
    folder = tmp_path_factory.mktemp("registry")
    recipe = replace(RECIPE, layout=replace(LAYOUT, split_depth=request.param), most_steps=8)
    trained = train(CORPUS, tiny_base, recipe, Target(folder, "news", "v1", folder / "work"))
    return Made(trained.fitted, load_version(trained.folder, tiny_base, tiny_packed))


@pytest.fixture(scope="module")
def tiny_model(tiny_base: Base, tiny_packed: PackedBert) -> RankingModel:
    return zero_shot_model(tiny_base, tiny_packed)


def flat(scores: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(scores)


def test_a_trained_version_scores_as_it_did_in_training(made: Made) -> None:
    examples = CORPUS.splits[VALID]
    scorer = ServedScorer(CORPUS, made.model)
    wanted = training_scores(made.fitted, made.model.manifest.calibration, examples)[:, 0]
    assert scorer.name == "news/v1"
    np.testing.assert_allclose(flat(scorer.scores(examples)), wanted, atol=1e-4)
    assert np.ptp(wanted) > 0.01


def test_the_zero_shot_model_scores_as_its_reference_without_what_was_refused(
    tiny_base: Base, tiny_model: RankingModel
) -> None:
    examples = CORPUS.splits[VALID]
    reference = Reference(tiny_base.bert, tiny_model.manifest, zero_shot_heads())
    read = tiny_model.tokeniser
    for example, scores in zip(examples, ServedScorer(CORPUS, tiny_model).scores(examples), strict=True):
        past = [CORPUS.items[each.item] for each in example.history if each.action not in NEGATIVE_ACTIONS]
        shown = [CORPUS.items[row] for row in example.candidates]
        user = read.context_of([text_of_history(HistoryText(each.title, each.category)) for each in past])
        texts = [text_of_item(ItemText(each.title, each.category, each.publisher)) for each in shown]
        wanted = reference.score(user, read.candidates(texts))[:, 0]
        np.testing.assert_allclose(scores, wanted, atol=1e-5)


def test_the_action_is_that_of_the_corpus_or_else_the_models_first(made: Made) -> None:
    examples = CORPUS.splits[VALID]
    clicks, likes, shares = (
        flat(ServedScorer(replace(CORPUS, actions=(action,)), made.model).scores(examples))
        for action in ("click", "like", "share")
    )
    wanted = training_scores(made.fitted, made.model.manifest.calibration, examples)
    np.testing.assert_allclose(likes, wanted[:, 1], atol=1e-4)
    np.testing.assert_array_equal(shares, clicks)
    assert not np.allclose(likes, clicks, atol=1e-3)


def test_a_small_memory_changes_no_score_and_holds(made: Made) -> None:
    examples = CORPUS.splits[VALID]
    whole = ServedScorer(CORPUS, made.model)
    most = 3 * max(state.nbytes for state in whole.states(range(len(CORPUS.items))))
    small = ServedScorer(CORPUS, made.model, most_state_bytes=most)
    np.testing.assert_allclose(flat(small.scores(examples)), flat(whole.scores(examples)), atol=1e-6)
    assert 0 < sum(state.nbytes for state in small._kept.values()) == small._kept_bytes <= most


@contextmanager
def encoded_items(model: RankingModel) -> Iterator[list[int]]:
    """How many items each call encodes."""
    counts: list[int] = []
    real = model.encode_items

    def counting(texts):
        counts.append(len(texts))
        return real(texts)

    model.encode_items = counting  # type: ignore[method-assign]
    try:
        yield counts
    finally:
        del model.encode_items


def test_an_item_is_encoded_once_while_memory_lasts(tiny_model: RankingModel) -> None:
    scorer = ServedScorer(CORPUS, tiny_model)
    examples = CORPUS.splits[VALID]
    with encoded_items(tiny_model) as counts:
        scorer.scores(examples)
        scorer.scores(examples)
    assert sum(counts) == len({item for example in examples for item in example.candidates.tolist()})


def test_states_come_in_the_order_asked_for_each_as_often_as_asked(tiny_model: RankingModel) -> None:
    scorer = ServedScorer(CORPUS, tiny_model, most_state_bytes=1)
    wanted = item_vectors(CORPUS.items, tiny_model)
    found = tiny_model.vectors(scorer.states([5, 2, 5, 39]))
    np.testing.assert_allclose(found, wanted[[5, 2, 5, 39]], atol=1e-6)
    np.testing.assert_allclose(scorer.vectors(), wanted, atol=1e-6)


def test_users_without_a_past_and_no_examples_are_scored(made: Made) -> None:
    scorer = ServedScorer(CORPUS, made.model)
    example = CORPUS.splits[VALID][0]
    nothing = (replace(example, history=()), replace(example, history=(Past(0, "dislike", None),)))
    first, second = scorer.scores(nothing)
    np.testing.assert_array_equal(first, second)
    assert np.isfinite(first).all()
    assert scorer.scores(()) == []
