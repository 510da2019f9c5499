"""Candidate isolation in its reference form: one plain BERT over one packed sequence with an explicit mask.

The user's tokens attend to each other; a candidate's tokens attend to themselves and, from layer `split_depth` up, to
the user's; never to another candidate. Every candidate's positions start at the same offset. So a candidate's result
cannot depend on its neighbours. This form is slow and obviously right: faster ones are tested against it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize
from transformers import BertModel

from shared.model.heads import Heads, probabilities
from shared.model.manifest import InputLayout, ModelManifest
from shared.model.tokens import TokenIds

_CANDIDATES_PER_PACK = 32
"""The mask grows with the square of the tokens."""

USER = 0
"""Segment of the user context; candidate i has segment i + 1."""


@dataclass(frozen=True, slots=True, eq=False)
class PackedInput:
    """One sequence: the user context, then all candidates. Each tensor is int64 [tokens]."""

    token_ids: Tensor
    positions: Tensor
    token_types: Tensor
    segments: Tensor
    candidates: int

    def to(self, device: torch.device) -> "PackedInput":
        """The same on another device."""
        return PackedInput(
            self.token_ids.to(device),
            self.positions.to(device),
            self.token_types.to(device),
            self.segments.to(device),
            self.candidates,
        )


def pack(user_ids: TokenIds, candidates_ids: Sequence[TokenIds], layout: InputLayout) -> PackedInput:
    """Lays the user context (may be empty) and the candidates one after another."""
    offset, kind = layout.candidate_offset, layout.candidate_token_type
    ids, positions = list(user_ids), list(range(len(user_ids)))
    types, segments = [0] * len(user_ids), [USER] * len(user_ids)
    for number, candidate in enumerate(candidates_ids, start=USER + 1):
        ids += candidate
        positions += range(offset, offset + len(candidate))
        types += [kind] * len(candidate)
        segments += [number] * len(candidate)
    return PackedInput(
        torch.tensor(ids, dtype=torch.long),
        torch.tensor(positions, dtype=torch.long),
        torch.tensor(types, dtype=torch.long),
        torch.tensor(segments, dtype=torch.long),
        len(candidates_ids),
    )


def isolation_mask(segments: Tensor, *, sees_user: bool) -> Tensor:
    """Bool [tokens, tokens]: may the row's token attend to the column's? `segments` is int64 [tokens]."""
    own = segments[:, None] == segments[None, :]
    return own | (segments == USER)[None, :] if sees_user else own


def encode(bert: BertModel, packed: PackedInput, split_depth: int, user_bias: Tensor | None = None) -> Tensor:
    """Last hidden states [tokens, width]. `packed` lies on the device of `bert`, which uses sdpa attention.

    `user_bias` [layers from split_depth up]: see Heads.
    """
    segments = packed.segments
    below, above = (isolation_mask(segments, sees_user=seen) for seen in (False, True))
    to_user = ((segments != USER)[:, None] & (segments == USER)[None, :]).float()
    hidden = bert.embeddings(
        input_ids=packed.token_ids[None],
        token_type_ids=packed.token_types[None],
        position_ids=packed.positions[None],
    )
    for depth, layer in enumerate(bert.encoder.layer):
        mask = torch.where(below if depth < split_depth else above, 0.0, float("-inf"))
        if user_bias is not None and depth >= split_depth:
            mask = mask - user_bias[depth - split_depth] * to_user
        output = layer(hidden, attention_mask=mask[None, None])
        # A tuple until transformers 4, a tensor since.
        hidden = output[0] if isinstance(output, tuple) else output
    states: Tensor = hidden[0]
    return states


def mean_by_segment(hidden: Tensor, packed: PackedInput) -> Tensor:
    """Mean of the hidden states of each segment: [1 + candidates, width], float32; zeros for an absent user."""
    totals = torch.zeros(packed.candidates + 1, hidden.shape[-1], device=hidden.device)
    totals.index_add_(0, packed.segments, hidden.float())
    counts = torch.bincount(packed.segments, minlength=packed.candidates + 1)
    return totals / counts.clamp(min=1)[:, None]


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A model in its reference form: `bert` with any adapter merged, in float32, using sdpa attention."""

    bert: BertModel
    manifest: ModelManifest
    heads: Heads

    @torch.inference_mode()
    def score(self, user_ids: TokenIds, candidates_ids: Sequence[TokenIds]) -> NDArray[np.float32]:
        """Probabilities [candidates, actions]; the user context may be empty."""
        parts = [
            self._pack_scored(
                pack(user_ids, candidates_ids[start : start + _CANDIDATES_PER_PACK], self.manifest.layout)
            )
            for start in range(0, len(candidates_ids), _CANDIDATES_PER_PACK)
        ]
        return torch.cat(parts).numpy() if parts else np.empty((0, len(self.manifest.actions)), dtype=np.float32)

    def _pack_scored(self, packed: PackedInput) -> Tensor:
        layout = self.manifest.layout
        hidden = encode(self.bert, packed, layout.split_depth, self.heads.user_bias)
        means = mean_by_segment(hidden, packed)
        vectors = normalize(means, dim=-1)
        pooled = means[1:]
        if layout.split_depth == len(self.bert.encoder.layer):
            pooled = vectors[1:]  # all that is kept of an item is its direction
        elif layout.pooling != "mean":
            places = [torch.where(packed.segments == number + 1)[0] for number in range(packed.candidates)]
            pooled = hidden[torch.stack([place[0 if layout.pooling == "first" else -1] for place in places])]
        cosines = normalize(pooled, dim=-1) @ vectors[0]
        return probabilities(self.heads.logits(pooled, cosines), self.manifest.calibration)
