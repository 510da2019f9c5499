"""The model that the benchmark scores with: real or random base weights, a random head, any split depth.

What is timed does not depend on the head's values.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from shared.model.base import Base
from shared.model.heads import Heads
from shared.model.item_key import lower_key
from shared.model.manifest import InputLayout, ModelManifest, Platt
from shared.model.packed import PackedBert
from shared.model.ranking_model import Group, ItemState, Probabilities, RankingModel, UserContext

LAYOUT = InputLayout(candidate_cls=True, candidate_token_type=0, pooling="first")
"""A candidate is read at its [CLS], as a cross-encoder reads a pair."""


def make_model(base: Base, packed: PackedBert, split_depth: int) -> RankingModel:
    """A model with one action."""
    manifest = ModelManifest(
        name=f"split-{split_depth}",
        version="benchmark",
        base_id=base.base_id,
        base_sha256=base.sha256,
        layout=replace(LAYOUT, split_depth=split_depth),
        actions=("click",),
        calibration=(Platt(),),
        calibrated=False,
    )
    weight = torch.randn(1, base.width, generator=torch.Generator().manual_seed(0)) * 0.02
    item_key = lower_key(base, base.bert, manifest, packed.placement)
    return RankingModel(base, packed, manifest, Heads(torch.zeros(1), weight), item_key)


def read_user(model: RankingModel, user: str) -> UserContext:
    """From text to context."""
    return model.encode_contexts([model.tokeniser.context_of([user])])[0]


def read_items(model: RankingModel, candidates: Sequence[str]) -> list[ItemState]:
    """From texts to states."""
    return model.encode_items(model.tokeniser.candidates(candidates))


def score(model: RankingModel, context: UserContext, items: Sequence[ItemState]) -> Probabilities:
    """[candidates, 1]."""
    return model.score([Group(context, items)])[0]
