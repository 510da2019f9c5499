"""The zero-shot model: it equals its reference, scores are sane, vectors are unit and row by row."""

import numpy as np
import pytest

from shared.model.base import Base
from shared.model.isolation import Reference
from shared.model.packed import PackedBert
from shared.model.placement import Placement
from shared.model.ranking_model import Group, Probabilities, RankingModel
from shared.model.text import ItemText, text_of_item
from shared.model.zero_shot import zero_shot_heads, zero_shot_model

CYCLING = ["Tour stage won in the mountains . cycling", "The best road bikes . cycling"]
ITEMS = [
    text_of_item(item)
    for item in (
        ItemText("Gravel bikes tested on muddy trails", "cycling", "Velo"),
        ItemText("Central bank raises interest rates", "finance", "Ledger"),
        ItemText("A " * 200),
        ItemText("Cake"),
    )
]


def scored(model: RankingModel, history: list[str], items: list[str]) -> Probabilities:
    context = model.tokeniser.context_of(history)
    states = model.encode_items(model.tokeniser.candidates(items))
    return model.score([Group(model.encode_contexts([context])[0] if context else None, states)])[0]


@pytest.mark.parametrize("history", [CYCLING, []])
@pytest.mark.parametrize("which", ["tiny_model", "packaged_model"])
def test_it_equals_the_reference_with_a_mask(which: str, history: list[str], request: pytest.FixtureRequest) -> None:
    model: RankingModel = request.getfixturevalue(which)
    reference = Reference(model.base.bert, model.manifest, zero_shot_heads())
    context, candidates = model.tokeniser.context_of(history), model.tokeniser.candidates(ITEMS)
    np.testing.assert_allclose(scored(model, history, ITEMS), reference.score(context, candidates), atol=1e-5)


def test_without_history_all_candidates_get_the_same_finite_probability(tiny_model: RankingModel) -> None:
    alone = scored(tiny_model, [], ITEMS)
    assert np.isfinite(alone).all()
    assert len(set(alone.ravel().tolist())) == 1


def test_a_cyclist_is_shown_cycling_before_finance(packaged_model: RankingModel) -> None:
    bikes, bank, *_ = scored(packaged_model, CYCLING, ITEMS)
    assert bikes[0] > 0.3
    assert bank[0] < 0.1


def test_the_version_says_what_the_model_is(packaged_model: RankingModel) -> None:
    manifest = packaged_model.manifest
    assert manifest.version == "all-MiniLM-L6-v2-zero-shot-cosine-53aa5117"
    assert (manifest.actions, manifest.calibrated, manifest.layout.split_depth) == (("click",), False, 6)
    assert manifest.embedding_version == "all-MiniLM-L6-v2-53aa5117-mean-32-t1"


def test_vectors_have_length_one_and_do_not_depend_on_their_batch(tiny_model: RankingModel) -> None:
    texts = tiny_model.tokeniser.candidates(["race " * (1 + row % 17) + "sport" for row in range(70)])
    together = tiny_model.vectors(tiny_model.encode_items(texts))
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
    for row in (0, 16, 69):
        alone = tiny_model.vectors(tiny_model.encode_items([texts[row]]))
        np.testing.assert_allclose(alone[0], together[row], atol=1e-5)


def test_bfloat16_stays_close_to_float32(packaged_model: RankingModel, packaged_base: Base) -> None:
    reduced = zero_shot_model(packaged_base, PackedBert(packaged_base.bert, Placement("cpu", "bfloat16")))
    texts = packaged_model.tokeniser.candidates(ITEMS)
    one, other = (model.vectors(model.encode_items(texts)) for model in (reduced, packaged_model))
    assert (one * other).sum(axis=1).min() > 0.999
