"""The training form is the function that is served: equal to the reference, at every depth, for ragged slates."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.batches import CorpusTokens, make_batch
from services.trainer.corpus import Example, Past
from services.trainer.recipe import TrainRecipe
from services.trainer.training_model import TrainingModel
from shared.model.base import Base
from shared.model.isolation import Reference
from shared.model.manifest import InputLayout, ModelManifest, Platt
from shared.model.tokens import Tokeniser

LAYOUT = InputLayout(max_user_tokens=48, max_candidate_tokens=16, candidate_offset=48)
ITEMS = 30


def made_model(base: Base, depth: int, pooling: str = "mean", **changes: object) -> TrainingModel:
    """With random heads and an adapter that still changes nothing."""
    layout = replace(LAYOUT, split_depth=depth, pooling=pooling)
    torch.manual_seed(0)
    model = TrainingModel(base, TrainRecipe(layout=layout, **changes), actions=2)
    with torch.no_grad():
        assert model.weight is not None
        model.weight.normal_(std=0.2)
        model.bias.normal_()
        model.similarity.copy_(torch.tensor([2.0, -1.0]))
    return model.eval()


def made_tokens(base: Base, layout: InputLayout = LAYOUT, seed: int = 0) -> CorpusTokens:
    """Items of 1 to 15 random tokens."""
    random, tokeniser = np.random.default_rng(seed), Tokeniser(base.tokenizer, layout)
    plain = [tuple(random.integers(5, 40, 1 + row % 15).tolist()) for row in range(ITEMS)]
    return CorpusTokens(tuple(tokeniser.candidate(ids) for ids in plain), tuple(plain), tokeniser)


def example(history: list[int], candidates: list[int]) -> Example:
    past = tuple(Past(item, "click", None) for item in history)
    return Example("", "", None, past, np.asarray(candidates, np.int32), np.zeros((len(candidates), 2), np.float32))


def logits(model: TrainingModel, examples: list[Example], tokens: CorpusTokens) -> np.ndarray:
    with torch.no_grad():
        return model(make_batch(examples, tokens)).shown.numpy()


def reference_scores(model: TrainingModel, base: Base, examples: list[Example], tokens: CorpusTokens) -> np.ndarray:
    layout = model.recipe.layout
    manifest = ModelManifest("m", "v", base.base_id, base.sha256, layout, ("a", "b"), (Platt(), Platt()), False)
    reference = Reference(base.bert, manifest, model.heads())
    parts = [
        reference.score(tokens.context(one.history), [tokens.candidates[item] for item in one.candidates])
        for one in examples
    ]
    return np.concatenate(parts)


slates = st.lists(
    st.builds(
        example,
        st.lists(st.integers(0, ITEMS - 1), max_size=5),
        st.lists(st.integers(0, ITEMS - 1), min_size=1, max_size=20),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=40, deadline=None)
@given(depth=st.integers(0, 3), pooling=st.sampled_from(["mean", "first", "last"]), examples=slates)
def test_the_training_form_equals_the_reference(tiny_base: Base, depth, pooling, examples) -> None:
    model = made_model(tiny_base, depth, "mean" if depth == 3 else pooling)
    tokens = made_tokens(tiny_base)
    found = torch.sigmoid(torch.from_numpy(logits(model, examples, tokens))).numpy()
    np.testing.assert_allclose(found, reference_scores(model, tiny_base, examples, tokens), atol=1e-5)


@pytest.mark.parametrize("depth", range(4))
def test_a_candidate_s_logit_does_not_depend_on_its_neighbours(tiny_base: Base, depth: int) -> None:
    model, tokens = made_model(tiny_base, depth), made_tokens(tiny_base)
    alone = logits(model, [example([1, 2], [7])], tokens)
    company = [example([], [3]), example([1, 2], [9, 7, 7, *range(20)]), example([4], [7, 8])]
    found = logits(model, company, tokens)
    for row in (2, 3, 1 + 3 + 7):
        np.testing.assert_allclose(found[row], alone[0], atol=1e-5)
    other_user = found[1 + 23]
    assert np.abs(other_user - alone[0]).max() > 1e-3


@pytest.mark.parametrize("depth", range(4))
def test_everything_trained_gets_a_gradient_and_the_base_none(tiny_base: Base, depth: int) -> None:
    model, tokens = made_model(tiny_base, depth).train(), made_tokens(tiny_base)
    batch = make_batch([example([1, 2], [7, 8]), example([], [9])], tokens)
    model(batch).shown.square().sum().backward()
    trained = {name for name, one in model.named_parameters() if one.grad is not None}
    assert trained == model.trained().keys()
    assert not any("base_layer" in name or "embeddings" in name or "LayerNorm" in name for name in trained)


def test_gradients_equal_those_of_slates_one_at_a_time(tiny_base: Base) -> None:
    tokens = made_tokens(tiny_base)
    examples = [example([1, 2], [7, 8, 9]), example([1, 2], [7]), example([], [8, 3])]
    together, apart = made_model(tiny_base, 1), made_model(tiny_base, 1)
    together(make_batch(examples, tokens)).shown.square().sum().backward()
    for one in examples:
        apart(make_batch([one], tokens)).shown.square().sum().backward()
    for (name, mine), theirs in zip(together.named_parameters(), apart.parameters(), strict=True):
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-4, rtol=1e-3, msg=name)


def test_a_large_user_bias_makes_the_start_that_of_two_towers(tiny_base: Base) -> None:
    tokens = made_tokens(tiny_base)
    examples = [example([1, 2], [7, 8, 9]), example([5], [1, 20])]
    towers = logits(made_model(tiny_base, 3, state_weight=True), examples, tokens)
    deep = {bias: made_model(tiny_base, 1, user_bias_start=bias, state_weight=True) for bias in (0.5, 50.0)}
    with torch.no_grad():
        for model in deep.values():
            model.weight.zero_()
    towers_model = made_model(tiny_base, 3)
    with torch.no_grad():
        towers_model.weight.zero_()
    towers = logits(towers_model, examples, tokens)
    np.testing.assert_allclose(logits(deep[50.0], examples, tokens), towers, atol=1e-5)
    assert np.abs(logits(deep[0.5], examples, tokens) - towers).max() > 1e-3


def test_every_layer_learns_its_own_user_bias(tiny_base: Base) -> None:
    model, tokens = made_model(tiny_base, 1, user_bias_start=1.0), made_tokens(tiny_base)
    model(make_batch([example([1, 2], [7, 8, 9])], tokens)).shown.square().sum().backward()
    assert model.user_bias is not None
    assert model.user_bias.shape == (2,)
    assert (model.user_bias.grad.abs() > 0).all()


def test_pairs_hold_what_is_shown_and_everything_else(tiny_base: Base) -> None:
    model, tokens = made_model(tiny_base, 3), made_tokens(tiny_base)
    batch = make_batch([example([1, 2], [7, 8]), example([], [9])], tokens)
    with torch.no_grad():
        found = model(batch)
    assert found.pairs.shape == (2, 3)
    torch.testing.assert_close(found.pairs[batch.context_of, batch.item_of], found.shown[:, 0])
    alone = logits(model, [example([1, 2], [9])], tokens)
    assert found.pairs[0, 2].item() == pytest.approx(alone[0, 0], abs=1e-5)


def test_in_bfloat16_logits_are_near_those_of_float32_and_still_float32(tiny_base: Base) -> None:
    model, tokens = made_model(tiny_base, 1), made_tokens(tiny_base)
    batch = make_batch([example([1, 2], [7, 8, 9]), example([5], [1, 20])], tokens)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = model(batch).shown
    assert half.dtype is torch.float32
    np.testing.assert_allclose(
        half.numpy(), logits(model, [example([1, 2], [7, 8, 9]), example([5], [1, 20])], tokens), atol=0.1
    )


def test_weights_of_another_recipe_are_not_restored(tiny_base: Base) -> None:
    with pytest.raises(ValueError, match="another recipe"):
        made_model(tiny_base, 1).restore(made_model(tiny_base, 1, rank=4).trained())
