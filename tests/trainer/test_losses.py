"""Losses against hand-worked numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from services.trainer.batches import Batch, make_batch, tokenise
from services.trainer.corpus import TRAIN, Example
from services.trainer.losses import cross_entropy_sums, log_frequencies, objective_of, softmax_losses
from services.trainer.recipe import LossName
from services.trainer.training_model import Logits, TrainingModel
from shared.model.base import Base
from tests.trainer.small_corpus import LAYOUT, RECIPE, small_corpus

NAN = float("nan")


def test_cross_entropy_leaves_out_what_is_not_known() -> None:
    logits = torch.tensor([[0.0, 2.0], [1.0, 50.0], [-1.0, 0.0]], requires_grad=True)
    labels = torch.tensor([[1.0, 0.0], [0.0, NAN], [NAN, 1.0]])
    sums = cross_entropy_sums(logits, labels, torch.ones(3))
    wanted = [math.log(2) + math.log1p(math.e), math.log1p(math.exp(2)) + math.log(2)]
    assert sums.tolist() == pytest.approx(wanted)
    sums.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[1, 1] == logits.grad[2, 0] == 0


def test_acts_count_by_their_weight_and_what_was_not_done_once() -> None:
    sums = cross_entropy_sums(torch.zeros(2, 1), torch.tensor([[1.0], [0.0]]), torch.tensor([4.0, 7.0]))
    assert sums.item() == pytest.approx(5 * math.log(2))


def test_softmax_with_log_q_equals_the_hand_worked_example() -> None:
    # Odds 2, 1 and 1 drawn with chances 1/2, 1/4 and 1/4: corrected 4, 4, 4; with one rival masked the share is 1/2.
    corrected = torch.log(torch.tensor([2.0, 1.0, 1.0])) - torch.log(torch.tensor([0.5, 0.25, 0.25]))
    rivals = torch.tensor([[False, True, True], [False, True, False], [False, False, False]])
    found = softmax_losses(corrected[:1].expand(3), corrected.expand(3, -1), rivals)
    assert found.tolist() == pytest.approx([math.log(3), math.log(2), 0.0])


def test_a_positive_without_rivals_has_a_finite_gradient() -> None:
    acted = torch.zeros(1, requires_grad=True)
    softmax_losses(acted, torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool)).sum().backward()
    assert acted.grad is not None
    assert acted.grad.item() == 0


def test_frequencies_are_shares_of_candidates_with_one_added() -> None:
    example = small_corpus(train=1).splits[TRAIN][0]
    example = replace(example, candidates=np.asarray([0, 0, 2, 0], np.int32))
    np.testing.assert_allclose(np.exp(log_frequencies([example], 3)), [4 / 7, 1 / 7, 2 / 7], rtol=1e-6)


def two_slates(base: Base) -> tuple[list[Example], Batch]:
    """Users 0 and 1; items 0, 1, 2 and 2, 3; each user clicked the first."""
    corpus = small_corpus(train=2)
    first, second = corpus.splits[TRAIN]
    examples = [
        replace(first, candidates=np.asarray([0, 1, 2], np.int32), labels=np.asarray([[1, NAN], [0, 1], [NAN, 0]])),
        replace(second, candidates=np.asarray([2, 3], np.int32), labels=np.asarray([[1, NAN], [0, NAN]])),
    ]
    return examples, make_batch(examples, tokenise(corpus, base.tokenizer, LAYOUT))


def test_slate_softmax_compares_within_a_slate_and_keeps_cross_entropy_for_other_actions(tiny_base: Base) -> None:
    examples, batch = two_slates(tiny_base)
    objective = objective_of(replace(RECIPE, loss="slate_softmax"), examples, items=4)
    assert objective.log_q is not None
    shown = torch.tensor([[1.0, 0.0], [3.0, 0.0], [9.0, 0.0], [0.5, 0.0], [0.0, 0.0]])
    z = shown[:, 0] - objective.log_q[batch.item_rows][batch.item_of]
    wanted = (math.log1p(math.exp(z[1] - z[0])) + math.log1p(math.exp(z[4] - z[3]))) / 2 + math.log(2)
    found = objective(Logits(shown), batch, objective.counts(examples))
    assert found.item() == pytest.approx(wanted, rel=1e-5)


def test_in_batch_softmax_compares_with_every_item_that_the_user_did_not_choose(tiny_base: Base) -> None:
    examples, batch = two_slates(tiny_base)
    examples = [replace(one, labels=np.where([[True, False]], one.labels, NAN)) for one in examples]
    objective = objective_of(replace(RECIPE, loss="in_batch_softmax", log_q=False), examples, items=4)
    pairs = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [0.0, 0.0, 0.0, 0.0]])
    shown = torch.zeros(5, 2)
    shown[:, 0] = pairs[batch.context_of, batch.item_of]
    first = math.log(sum(math.exp(one - 1) for one in (1, 2, 3, 4)))
    second = math.log(sum(math.exp(one - 7) for one in (5, 6, 7, 8)))
    batch = replace(batch, labels=torch.from_numpy(np.concatenate([one.labels for one in examples])).float())
    found = objective(Logits(shown, pairs), batch, objective.counts(examples))
    assert found.item() == pytest.approx((first + second) / 2, rel=1e-5)


def test_weights_follow_positions_and_are_clipped(tiny_base: Base) -> None:
    examples, batch = two_slates(tiny_base)
    recipe = replace(RECIPE, propensities=(1.0, 0.5, 0.01), least_propensity=0.25, action_weights=(1.0, 0.0))
    objective = objective_of(recipe, examples, items=4)
    labels = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0])[:, None].expand(-1, 2)
    batch = replace(batch, labels=labels, positions=torch.tensor([0, 1, 2, 3, 90]))
    found = objective(Logits(torch.zeros(5, 2)), batch, torch.ones(2))
    assert found.item() == pytest.approx((1 + 1 + 2 + 4 + 4) * math.log(2))


@pytest.mark.parametrize("loss", ["slate_softmax", "in_batch_softmax"])
def test_softmax_losses_weigh_what_was_chosen_by_its_place(tiny_base: Base, loss: LossName) -> None:
    """User 0 chose at the first place, user 1 at the third, which half as many look at: it counts twice."""
    examples, batch = two_slates(tiny_base)
    recipe = replace(RECIPE, loss=loss, log_q=False, propensities=(1.0, 1.0, 0.5), action_weights=(1.0, 0.0))
    objective = objective_of(recipe, examples, items=4)
    batch = replace(batch, positions=torch.tensor([1, 2, 3, 3, 1]))
    logits = Logits(torch.zeros(5, 2), torch.zeros(3, 4))
    rivals = (1, 1) if loss == "slate_softmax" else (3, 3)
    wanted = (math.log(1 + rivals[0]) + 2 * math.log(1 + rivals[1])) / 2
    assert objective(logits, batch, objective.counts(examples)).item() == pytest.approx(wanted)


def test_parts_of_a_step_of_in_batch_softmax_know_the_items_of_their_part_alone(tiny_base: Base) -> None:
    corpus = small_corpus(train=6)
    examples = list(corpus.splits[TRAIN])
    tokens = tokenise(corpus, tiny_base.tokenizer, LAYOUT)
    recipe = replace(RECIPE, loss="in_batch_softmax", log_q=False, action_weights=(1.0, 0.0))
    objective = objective_of(recipe, examples, len(corpus.items))
    found = []
    for parts in ([examples], [examples[:2], examples[2:]]):
        batches = [make_batch(part, tokens) for part in parts]
        # All scores the same: a positive's loss is the logarithm of how many it is compared with.
        alike = [
            Logits(torch.zeros(len(b.labels), 2), torch.zeros(len(examples) + 1, len(b.item_rows))) for b in batches
        ]
        counts = objective.counts(examples)
        found.append(sum(objective(one, batch, counts).item() for one, batch in zip(alike, batches, strict=True)))
    whole, apart = found
    assert apart < whole


@pytest.mark.parametrize("loss", ["bce", "slate_softmax"])
def test_parts_of_a_step_add_up(tiny_base: Base, loss: str) -> None:
    corpus = small_corpus(train=6)
    examples = list(corpus.splits[TRAIN])
    tokens = tokenise(corpus, tiny_base.tokenizer, LAYOUT)
    recipe = replace(RECIPE, loss=loss)
    model = TrainingModel(tiny_base, recipe, actions=2).eval()
    objective = objective_of(recipe, examples, len(corpus.items))
    counts = objective.counts(examples)
    with torch.no_grad():
        parts = [make_batch(examples[start : start + 2], tokens) for start in (0, 2, 4)]
        apart = sum(objective(model(part), part, counts) for part in parts)
        whole = make_batch(examples, tokens)
        together = objective(model(whole), whole, counts)
    torch.testing.assert_close(apart, together)
