"""The zero-shot model: how alike the user's recent items and a candidate are, by an untrained sentence encoder.

It is the late split taken to its end (split_depth = all layers): candidates never see the user, so an item's vector
holds for all users. Candidates are texts of their own, `[CLS] text [SEP]` at positions from 0, since that is what the
encoder was trained on: on MovieLens, positions from 128 without [CLS] lowered AUC from 0.735 to 0.642.
"""

import re

import torch

from shared.model.base import Base
from shared.model.heads import Heads
from shared.model.item_key import lower_key
from shared.model.manifest import InputLayout, ModelManifest, Platt
from shared.model.packed import PackedBert
from shared.model.ranking_model import RankingModel

ZERO_SHOT = "zero-shot"
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")
PRIOR = Platt(slope=10.0, intercept=-4.0)
"""A prior, not a fit: cosines of 0.1 to 0.6, usual for this base, spread over 0.05 to 0.88.

Without history every cosine counts as 0: one constant for all, below that of any item that resembles anything. The
order is then left to other signals.
"""


def zero_shot_manifest(base: Base) -> ModelManifest:
    """The manifest of the zero-shot model of a base."""
    layout = InputLayout(candidate_offset=0, candidate_cls=True, candidate_token_type=0, split_depth=base.layers)
    return ModelManifest(
        name=ZERO_SHOT,
        version=f"{_NOT_IN_A_NAME.sub('-', base.base_id)}-zero-shot-cosine-{base.sha256[:8]}",
        base_id=base.base_id,
        base_sha256=base.sha256,
        layout=layout,
        actions=("click",),
        calibration=(PRIOR,),
        calibrated=False,
    )


def zero_shot_heads() -> Heads:
    """The cosine itself."""
    return Heads(bias=torch.zeros(1), similarity=torch.ones(1))


def zero_shot_model(base: Base, bert: PackedBert) -> RankingModel:
    """The model; `bert` holds the weights of `base`."""
    manifest = zero_shot_manifest(base)
    item_key = lower_key(base, base.bert, manifest, bert.placement)
    return RankingModel(base, bert, manifest, zero_shot_heads(), item_key)
