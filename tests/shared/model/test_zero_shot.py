"""The zero-shot model: packed equals separate, scores are sane, vectors are unit and row by row."""

import numpy as np
import pytest

from shared.model.encoder import length_batches
from shared.model.placement import Placement, place
from shared.model.text import HistoryText, ItemText
from shared.model.tokens import TokenIds
from shared.model.zero_shot import ZeroShotModel

CYCLING = [HistoryText("Tour stage won in the mountains", "cycling"), HistoryText("The best road bikes", "cycling")]
ITEMS = [
    ItemText("Gravel bikes tested on muddy trails", "cycling", "Velo"),
    ItemText("Central bank raises interest rates", "finance", "Ledger"),
    ItemText("A " * 200),
    ItemText("Cake"),
]


def separately(model: ZeroShotModel, context: TokenIds, candidates: list[TokenIds]) -> np.ndarray:
    user = model.vectors([context])[0] if context else None
    return model.probabilities(user, model.vectors(candidates))


@pytest.mark.parametrize("which", ["tiny_model", "packaged_model"])
def test_the_packed_reference_equals_each_text_by_itself(which: str, request: pytest.FixtureRequest) -> None:
    model: ZeroShotModel = request.getfixturevalue(which)
    context, candidates = model.context_ids(CYCLING), model.candidate_ids(ITEMS)
    np.testing.assert_allclose(model.reference(context, candidates), separately(model, context, candidates), atol=1e-5)


def test_a_list_longer_than_one_pack_scores_the_same(tiny_model: ZeroShotModel) -> None:
    context = tiny_model.context_ids(CYCLING)
    candidates = tiny_model.candidate_ids([ItemText(f"race {row}", "sport") for row in range(75)])
    np.testing.assert_allclose(
        tiny_model.reference(context, candidates), separately(tiny_model, context, candidates), atol=1e-5
    )


def test_without_history_all_candidates_get_the_same_finite_probability(tiny_model: ZeroShotModel) -> None:
    candidates = tiny_model.candidate_ids(ITEMS)
    alone = separately(tiny_model, (), candidates)
    assert np.isfinite(alone).all()
    assert len(set(alone.ravel().tolist())) == 1
    np.testing.assert_allclose(tiny_model.reference((), candidates), alone, atol=1e-6)


def test_a_cyclist_is_shown_cycling_before_finance(packaged_model: ZeroShotModel) -> None:
    bikes, bank, *_ = separately(
        packaged_model, packaged_model.context_ids(CYCLING), packaged_model.candidate_ids(ITEMS)
    )
    assert bikes[0] > 0.3
    assert bank[0] < 0.1


def test_the_version_says_what_the_model_is(packaged_model: ZeroShotModel) -> None:
    manifest = packaged_model.manifest
    assert manifest.version == "all-MiniLM-L6-v2-zero-shot-cosine-53aa5117"
    assert (manifest.actions, manifest.calibrated, manifest.layout.split_depth) == (("click",), False, 6)
    assert manifest.embedding_version.startswith("all-MiniLM-L6-v2-53aa5117")


def test_vectors_have_length_one_and_do_not_depend_on_their_batch(tiny_model: ZeroShotModel) -> None:
    texts = tiny_model.candidate_ids([ItemText("race " * (1 + row % 17), "sport") for row in range(70)])
    together = tiny_model.vectors(texts)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
    for row in (0, 16, 69):
        np.testing.assert_allclose(tiny_model.vectors([texts[row]])[0], together[row], atol=1e-5)


def test_no_texts_give_no_vectors(tiny_model: ZeroShotModel) -> None:
    assert tiny_model.vectors([]).shape == (0, tiny_model.width)


def test_bfloat16_stays_close_to_float32(packaged_model: ZeroShotModel, packaged_base) -> None:
    reduced = ZeroShotModel(packaged_base, Placement("cpu", "bfloat16"))
    texts = packaged_model.candidate_ids(ITEMS)
    assert (reduced.vectors(texts) * packaged_model.vectors(texts)).sum(axis=1).min() > 0.999


def test_batches_hold_every_row_once_and_little_padding() -> None:
    lengths = [3, 128, 31, 9, 32, 8, 4, 7]
    batches = list(length_batches(lengths, 3))
    assert sorted(row for batch in batches for row in batch) == list(range(8))
    assert batches[0] == [1]
    for batch in batches:
        assert len(batch) <= 3
        assert 2 * min(lengths[row] for row in batch) >= max(lengths[row] for row in batch)


def test_cuda_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert place("auto", "float32") == Placement("cpu", "float32")
    with pytest.raises(ValueError, match="no CUDA device"):
        place("cuda", "float32")
