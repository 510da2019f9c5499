"""Training learns, stops when it should, and ends the same however often it was killed."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from services.trainer.checkpoints import CheckpointError
from services.trainer.corpus import TRAIN, VALID, Corpus
from services.trainer.fitting import Around, DivergedError, Fitted, NothingToLearnError, fit, learning_share
from services.trainer.prediction import measured
from services.trainer.recipe import RecipeError
from services.trainer.tracking import Observers, Point, Stepped
from shared.model.base import Base
from tests.trainer.small_corpus import LAYOUT, RECIPE, small_corpus

QUICK = replace(RECIPE, most_steps=4, evaluate_every=2)


class Watching(Observers):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Stepped] = []
        self.points: list[Point] = []
        self.closed = 0

    def stepped(self, done: Stepped) -> None:
        self.steps.append(done)

    def measured(self, point: Point) -> None:
        self.points.append(point)

    def close(self) -> None:
        self.closed += 1


def same(one: Fitted, other: Fitted) -> bool:
    theirs = other.model.trained()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.model.trained().items())


@pytest.mark.parametrize(
    "changes",
    [
        {"layout": replace(LAYOUT, split_depth=0)},
        {"layout": replace(LAYOUT, split_depth=1, pooling="first")},
        {"layout": replace(LAYOUT, split_depth=3), "loss": "in_batch_softmax", "epochs": 12.0},
        {"loss": "slate_softmax", "precision": "bfloat16"},
        {"layout": replace(LAYOUT, split_depth=0), "user_bias_start": 2.0},
        {"method": "adalora", "epochs": 8.0, "learning_rate": 1e-2},
    ],
    ids=lambda changes: "-".join(map(str, changes)),
)
def test_the_loss_falls_and_auc_rises_above_nine_tenths(tiny_base: Base, tmp_path: Path, changes: dict) -> None:
    watching = Watching()
    corpus = small_corpus(train=96)
    fitted = fit(corpus, tiny_base, replace(RECIPE, **changes), tmp_path, Around(observer=watching))
    losses = [done.loss for done in watching.steps]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert fitted.best_metric is not None
    assert fitted.best_metric > 0.9
    assert watching.closed == 1
    assert tuple(watching.points) == fitted.history


def test_the_result_is_the_best_model_and_predicts_what_was_measured(tiny_base: Base, tmp_path: Path) -> None:
    corpus = small_corpus()
    fitted = fit(corpus, tiny_base, QUICK, tmp_path)
    best = max(fitted.history, key=lambda point: point.metric or 0.0)
    assert (fitted.best_step, fitted.best_metric) == (best.step, best.metric)
    logits = fitted.predict(corpus.splits[VALID])
    assert [len(part) for part in logits] == [len(one.candidates) for one in corpus.splits[VALID]]
    assert measured("auc", logits, corpus.splits[VALID]) == fitted.best_metric


def test_training_stops_when_validation_gets_no_better(tiny_base: Base, tmp_path: Path) -> None:
    recipe = replace(RECIPE, learning_rate=1e-12, heads_learning_rate=1e-12, evaluate_every=2, patience=3)
    fitted = fit(small_corpus(), tiny_base, recipe, tmp_path)
    assert [point.step for point in fitted.history] == [2, 4, 6, 8]
    assert fitted.best_step == 2


def test_without_validation_the_last_model_is_taken(tiny_base: Base, tmp_path: Path) -> None:
    corpus = replace(small_corpus(), splits={TRAIN: small_corpus().splits[TRAIN]})
    fitted = fit(corpus, tiny_base, replace(QUICK, patience=1), tmp_path)
    assert fitted.best_metric is None
    assert fitted.best_step == 4


def test_the_first_probabilities_are_the_rates_seen(tiny_base: Base, tmp_path: Path) -> None:
    corpus = small_corpus()
    recipe = replace(QUICK, most_steps=1, learning_rate=1e-12, heads_learning_rate=1e-12)
    examples = corpus.splits[TRAIN]
    logits = np.concatenate(fit(corpus, tiny_base, recipe, tmp_path).predict(examples))
    labels = np.concatenate([one.labels for one in examples])
    for action in range(2):
        known = np.isfinite(labels[:, action])
        mean = (1 / (1 + np.exp(-logits[known, action]))).mean()
        assert mean == pytest.approx(labels[known, action].mean(), abs=0.02)


def test_the_same_seed_gives_the_same_model_and_another_another(tiny_base: Base, tmp_path: Path) -> None:
    one, other = (fit(small_corpus(), tiny_base, QUICK, tmp_path / name) for name in ("one", "other"))
    third = fit(small_corpus(), tiny_base, replace(QUICK, seed=1), tmp_path / "third")
    assert same(one, other)
    assert not same(one, third)


def test_the_generator_of_the_caller_is_left_alone(tiny_base: Base, tmp_path: Path) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    fit(small_corpus(), tiny_base, QUICK, tmp_path)
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("loss", ["bce", "slate_softmax"])
def test_accumulated_parts_give_the_same_as_one_batch(tiny_base: Base, tmp_path: Path, loss: str) -> None:
    recipe = replace(QUICK, lora_dropout=0.0, loss=loss)
    whole, parts = (
        fit(small_corpus(), tiny_base, replace(recipe, accumulation=many), tmp_path / str(many)) for many in (1, 4)
    )
    for name, tensor in whole.model.trained().items():
        torch.testing.assert_close(parts.model.trained()[name], tensor, atol=2e-4, rtol=1e-3, msg=name)


def test_biases_do_not_decay(tiny_base: Base, tmp_path: Path) -> None:
    recipe = replace(QUICK, weight_decay=100.0, heads_learning_rate=1e-3, learning_rate=1e-3, state_weight=False)
    heads = fit(small_corpus(), tiny_base, recipe, tmp_path).heads
    assert heads.similarity is not None
    assert (heads.similarity - 10).abs().max() < 0.05


def test_the_learning_rate_warms_up_and_decays() -> None:
    shares = [learning_share(step, steps=10, warmup_share=0.2) for step in range(10)]
    assert shares[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert np.diff(shares[2:]) == pytest.approx([-0.125] * 7)
    assert [learning_share(step, steps=2, warmup_share=0.0) for step in range(2)] == [1.0, 0.5]


def test_a_training_killed_twice_ends_bit_for_bit_like_one_that_was_not(tiny_base: Base, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.trainer.training_run", "killed", tiny_base.bert.name_or_path, str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    for method in ("lora", "adalora"):
        whole, killed = (
            torch.load(tmp_path / f"{method}-{name}.pt", weights_only=True) for name in ("whole", "killed")
        )
        assert (whole["first"], killed["first"]) == (1, 21)
        assert killed["curve"] == whole["curve"]
        assert whole["trained"].keys() == killed["trained"].keys()
        assert all(torch.equal(tensor, killed["trained"][name]) for name, tensor in whole["trained"].items())


def test_a_training_that_diverges_says_so(tiny_base: Base, tmp_path: Path) -> None:
    recipe = replace(QUICK, learning_rate=1e30, clip_norm=1e30)
    with pytest.raises(DivergedError, match="lower the learning rates"):
        fit(small_corpus(), tiny_base, recipe, tmp_path)


def test_a_finished_training_is_not_trained_again(tiny_base: Base, tmp_path: Path) -> None:
    first = fit(small_corpus(), tiny_base, QUICK, tmp_path)
    watching = Watching()
    again = fit(small_corpus(), tiny_base, QUICK, tmp_path, Around(observer=watching))
    assert not watching.steps
    assert same(first, again)
    assert again.history == first.history


def test_another_recipe_does_not_go_on_from_these_checkpoints(tiny_base: Base, tmp_path: Path) -> None:
    fit(small_corpus(), tiny_base, QUICK, tmp_path)
    with pytest.raises(CheckpointError):
        fit(small_corpus(), tiny_base, replace(QUICK, rank=2), tmp_path)


def test_nothing_to_train_on_and_a_recipe_that_cannot_be_followed_are_refused(tiny_base: Base, tmp_path: Path) -> None:
    empty: Corpus = replace(small_corpus(), splits={TRAIN: ()})
    with pytest.raises(NothingToLearnError, match="no examples"):
        fit(empty, tiny_base, QUICK, tmp_path)
    with pytest.raises(RecipeError, match="prefix"):
        fit(small_corpus(), tiny_base, replace(QUICK, method="prefix"), tmp_path)
    assert not list(tmp_path.iterdir())
