"""The fast path is the reference, computed faster: at every split depth, for any shapes, alone or in company."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertModel

from shared.model import ranking_model
from shared.model.base import Base, load_base
from shared.model.heads import Heads
from shared.model.isolation import Reference
from shared.model.manifest import InputLayout, Metric, ModelManifest, Platt, Pooling
from shared.model.packed import PackedBert
from shared.model.placement import Placement
from shared.model.ranking_model import Group, Probabilities, RankingModel
from shared.model.tokens import TokenIds
from shared.model.zero_shot import zero_shot_model
from tests.shared.model.tiny_bert import write_tiny_bert

LAYOUT = InputLayout(max_user_tokens=48, max_candidate_tokens=16, candidate_offset=48)
DEPTHS = range(4)  # 0 to the tiny base's layers
ACTIONS = ("click", "like", "hide")


@dataclass(frozen=True)
class Made:
    """A model with random heads, and its reference."""

    model: RankingModel
    reference: Reference

    def fast(self, user: TokenIds, candidates: Sequence[TokenIds]) -> Probabilities:
        context = self.model.encode_contexts([user])[0] if user else None
        return self.model.score([Group(context, self.model.encode_items(candidates))])[0]


def heads_of(width: int, *, compares: bool) -> Heads:
    generator = torch.Generator().manual_seed(7)
    weight = torch.randn(len(ACTIONS), width, generator=generator) / width**0.5
    return Heads(torch.tensor([0.1, -0.2, 0.3]), weight, torch.tensor([1.0, 2.0, -1.0]) if compares else None)


def made(
    base: Base, packed: PackedBert, depth: int, pooling: Pooling = "mean", *, compares: bool = True, layout=LAYOUT
) -> Made:
    manifest = ModelManifest(
        name="news",
        version="v1",
        base_id=base.base_id,
        base_sha256=base.sha256,
        layout=replace(layout, split_depth=depth, pooling=pooling),
        actions=ACTIONS,
        calibration=(Platt(1.5, -0.5), Platt(0.5, 0.1), Platt()),
        calibrated=True,
        metrics=(Metric("auc", 0.8),),
    )
    heads = heads_of(base.width, compares=compares)
    if compares:
        heads = replace(heads, user_bias=torch.linspace(-1.0, 2.0, base.layers - depth))
    return Made(RankingModel(base, packed, manifest, heads, "key"), Reference(base.bert, manifest, heads))


texts = st.lists(st.integers(5, 40), min_size=1, max_size=16).map(tuple)


@settings(max_examples=60, deadline=None)
@given(
    depth=st.sampled_from(DEPTHS),
    pooling=st.sampled_from(["mean", "first", "last"]),
    compares=st.booleans(),
    user=st.lists(st.integers(5, 40), max_size=48).map(tuple),
    candidates=st.lists(texts, min_size=1, max_size=40),
    chunk=st.sampled_from([1, 20, 100, 800]),
)
def test_the_fast_path_equals_the_reference(
    tiny_base: Base, tiny_packed: PackedBert, *, depth, pooling, compares, user, candidates, chunk
) -> None:
    pooling = "mean" if depth == tiny_base.layers else pooling
    both = made(tiny_base, tiny_packed, depth, pooling, compares=compares)
    both.model._chunk_tokens = chunk  # candidates of one user in one chunk or in many
    np.testing.assert_allclose(both.fast(user, candidates), both.reference.score(user, candidates), atol=1e-5)


@pytest.mark.parametrize(("depth", "count"), [(0, 1), (4, 1), (4, 1000)])
def test_they_are_equal_for_real_weights_and_any_number_of_candidates(
    packaged_base: Base, depth: int, count: int
) -> None:
    both = made(packaged_base, PackedBert(packaged_base.bert, Placement()), depth, layout=InputLayout())
    random = np.random.default_rng(count)
    user = tuple(random.integers(1000, 30_000, 128).tolist())
    candidates = [tuple(random.integers(1000, 30_000, 1 + row % 6).tolist()) for row in range(count)]
    np.testing.assert_allclose(both.fast(user, candidates), both.reference.score(user, candidates), atol=1e-4)


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_candidate_scores_the_same_alone_in_company_and_beside_other_users(
    tiny_base: Base, tiny_packed: PackedBert, depth: int
) -> None:
    both = made(tiny_base, tiny_packed, depth)
    random = np.random.default_rng(depth)
    users = [tuple(random.integers(5, 40, size).tolist()) for size in (1, 17, 48)]
    candidates = [tuple(random.integers(5, 40, 1 + row % 16).tolist()) for row in range(60)]
    contexts = both.model.encode_contexts(users)
    states = both.model.encode_items(candidates)
    together = both.model.score([Group(contexts[0], states[:7]), Group(contexts[1], states), Group(None, states[:3])])
    swapped = both.model.score([Group(None, states[:3]), Group(contexts[1], states[::-1])])
    alone = np.concatenate([both.fast(users[1], [candidate]) for candidate in candidates])
    np.testing.assert_allclose(together[1], alone, atol=1e-5)
    np.testing.assert_allclose(swapped[1][::-1], alone, atol=1e-5)
    np.testing.assert_allclose(together[0], both.fast(users[0], candidates[:7]), atol=1e-5)
    np.testing.assert_allclose(together[2], both.fast((), candidates[:3]), atol=1e-5)


def test_no_groups_and_no_items_give_no_scores(tiny_base: Base, tiny_packed: PackedBert) -> None:
    for depth in DEPTHS:
        model = made(tiny_base, tiny_packed, depth).model
        assert model.score([]) == []
        assert model.encode_items([]) == model.encode_contexts([]) == []


@pytest.mark.parametrize("depth", DEPTHS)
def test_what_may_be_cached_owns_its_memory(tiny_base: Base, tiny_packed: PackedBert, depth: int) -> None:
    model = made(tiny_base, tiny_packed, depth).model
    states = model.encode_items([(5, 6, 7), (8, 9)])
    contexts = model.encode_contexts([(5, 6, 7), (8, 9)])
    parts = [part for context in contexts for layer in context.layers for part in (layer.keys, layer.values)]
    for tensor in (*states, *parts, *(context.vector for context in contexts)):
        assert tensor is not None
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
    assert contexts[0].nbytes == sum(
        part.nbytes for layer in contexts[0].layers for part in (layer.keys, layer.values)
    ) + (contexts[0].vector.nbytes if contexts[0].vector is not None else 0)


def test_bfloat16_keeps_the_order_of_real_candidates(packaged_base: Base) -> None:
    placements = [Placement("cpu", "float32"), Placement("cpu", "bfloat16")]
    random = np.random.default_rng(1)
    user = tuple(random.integers(1000, 30_000, 128).tolist())
    candidates = [tuple(random.integers(1000, 30_000, 25).tolist()) for _ in range(100)]
    full, half = (
        made(packaged_base, PackedBert(packaged_base.bert, placement), 0, layout=InputLayout()).fast(user, candidates)
        for placement in placements
    )
    for action in range(len(ACTIONS)):
        assert kendall_tau(full[:, action], half[:, action]) >= 0.9


def kendall_tau(one: np.ndarray, other: np.ndarray) -> float:
    agree = np.sign(one[:, None] - one) * np.sign(other[:, None] - other)
    return float(agree.sum() / (len(one) * (len(one) - 1)))


def test_a_model_of_bert_base_s_size_is_scored(tiny_base: Base) -> None:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=50, max_position_embeddings=192)  # 12 layers, 768 wide, 12 heads
    bert = BertModel(config, add_pooling_layer=False).eval()
    base = Base("bert-base-size", "0" * 64, bert, tiny_base.tokenizer)
    both = made(base, PackedBert(bert, Placement()), 8)
    user, candidates = (5, 6, 7, 8), [(9,), (10, 11, 12), (13, 14)]
    np.testing.assert_allclose(both.fast(user, candidates), both.reference.score(user, candidates), atol=1e-4)


def test_chinese_is_read_sign_by_sign_and_scored(tmp_path: Path) -> None:
    base = load_base(str(write_tiny_bert(tmp_path / "chinese", signs="新闻体育自行车比赛银行利率上调")))
    both = made(base, PackedBert(base.bert, Placement()), 1)
    tokeniser = both.model.tokeniser
    user = tokeniser.context_of(["自行车比赛 . 体育"])
    candidates = tokeniser.candidates(["银行利率上调 . 新闻", "自行车 race", "自行车比赛" * 9])
    unknown = base.tokenizer.unk_token_id
    assert [len(user), *map(len, candidates)] == [2 + 8, 9 + 1, 4 + 1, LAYOUT.max_candidate_tokens]
    assert unknown not in {*user, *(token for candidate in candidates for token in candidate)}
    scores = both.fast(user, candidates)
    np.testing.assert_allclose(scores, both.reference.score(user, candidates), atol=1e-5)
    assert len(set(scores[:, 0].tolist())) == len(candidates)


def test_models_share_what_they_have_in_common(tiny_base: Base, tiny_packed: PackedBert) -> None:
    changed = copy.deepcopy(tiny_base.bert)
    with torch.no_grad():
        changed.encoder.layer[2].output.dense.weight.add_(0.5)
    packed = PackedBert(changed, Placement(), like=(tiny_base.bert, tiny_packed))
    assert [one is other for one, other in zip(packed._layers, tiny_packed._layers, strict=True)] == [True, True, False]
    assert packed._embeddings is tiny_packed._embeddings
    both = made(tiny_base, packed, 1)
    reference = replace(both.reference, bert=changed)
    np.testing.assert_allclose(both.fast((5, 6), [(7, 8)]), reference.score((5, 6), [(7, 8)]), atol=1e-5)


def test_what_does_not_fit_together_is_refused(tiny_base: Base, tiny_packed: PackedBert) -> None:
    fitting = made(tiny_base, tiny_packed, 0)
    manifest, heads = fitting.model.manifest, heads_of(tiny_base.width, compares=True)
    wrong = [
        (replace(manifest, layout=replace(LAYOUT, split_depth=3, pooling="first")), heads, "pooling"),
        (replace(manifest, calibration=()), heads, "calibration"),
        (replace(manifest, calibration=(Platt(), Platt(-1.0), Platt())), heads, "slope"),
        (manifest, replace(heads, bias=torch.zeros(2)), "bias"),
        (manifest, replace(heads, weight=torch.zeros(3, 5)), "weight"),
        (manifest, replace(heads, similarity=torch.tensor([1.0, float("nan"), 0.0])), "finite"),
        (manifest, replace(heads, user_bias=torch.zeros(2)), "user_bias must have 3 numbers"),
        (
            manifest,
            replace(heads, user_bias=torch.tensor([0.0, float("inf"), 0.0])),
            "user_bias must be a row",
        ),
        (manifest, Heads(torch.zeros(3)), "read nothing"),
    ]
    for bad_manifest, bad_heads, named in wrong:
        with pytest.raises(ValueError, match=named):
            ranking_model.RankingModel(tiny_base, tiny_packed, bad_manifest, bad_heads, "key")


def test_vectors_of_models_that_read_items_differently_are_told_apart(tiny_base: Base, tiny_packed: PackedBert) -> None:
    plain = zero_shot_model(tiny_base, tiny_packed).manifest
    assert plain.embedding_version == f"tiny-{tiny_base.sha256[:8]}-mean-32-t1"
    others = [
        replace(plain, layout=replace(plain.layout, candidate_offset=48)),
        replace(plain, layout=replace(plain.layout, candidate_cls=False)),
        replace(plain, layout=replace(plain.layout, candidate_token_type=1)),
        replace(plain, layout=replace(plain.layout, max_candidate_tokens=16)),
        replace(plain, adapted=True, name="news", version="1"),
        replace(plain, adapted=True, name="video", version="1"),
        replace(plain, adapted=True, name="news", version="2"),
    ]
    assert len({each.embedding_version for each in (plain, *others)}) == 1 + len(others)


def test_what_is_not_finite_is_not_handed_out(tiny_base: Base) -> None:
    broken = copy.deepcopy(tiny_base.bert)
    with torch.no_grad():
        broken.encoder.layer[0].output.dense.bias.fill_(float("nan"))
    for depth in (1, 3):
        model = made(tiny_base, PackedBert(broken, Placement()), depth).model
        with pytest.raises(FloatingPointError):
            model.encode_items([(5, 6)])
        with pytest.raises(FloatingPointError):
            model.encode_contexts([(5, 6)])
