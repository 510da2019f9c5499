"""The zero-shot model: how alike the user's recent items and a candidate are, by an untrained sentence encoder.

It is the late split taken to its end (split_depth = all layers): candidates never see the user, so an item's vector
holds for all users. Candidates are texts of their own, `[CLS] text [SEP]` at positions from 0, since that is what the
encoder was trained on: on MovieLens, positions from 128 without [CLS] lowered AUC from 0.735 to 0.642.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from shared.model.base import Base
from shared.model.encoder import TextEncoder, Vectors
from shared.model.isolation import encode, mean_by_segment, pack
from shared.model.manifest import InputLayout, ModelManifest, ScoreScale
from shared.model.placement import Placement
from shared.model.text import HistoryText, ItemText, text_of_history, text_of_item
from shared.model.tokens import TokenIds, Tokeniser

NEGATIVE_ACTIONS = frozenset({"dislike", "hide"})
"""Left out of the user context: likeness to what the user refused must not raise a score."""
PRIOR = ScoreScale(scale=10.0, midpoint=0.4)
"""A prior, not a fit: cosines of 0.1 to 0.6, usual for this base, spread over 0.05 to 0.88."""
_CANDIDATES_PER_PACK = 32

Probabilities = NDArray[np.float32]


def zero_shot_manifest(base: Base) -> ModelManifest:
    """The manifest of the zero-shot model of a base."""
    layout = InputLayout(candidate_offset=0, candidate_cls=True, candidate_token_type=0, split_depth=base.layers)
    return ModelManifest(
        name="zero-shot",
        version=f"{base.base_id}-zero-shot-cosine-{base.sha256[:8]}",
        base_id=base.base_id,
        base_sha256=base.sha256,
        layout=layout,
        actions=("click",),
        head="cosine",
        calibrated=False,
        score=PRIOR,
    )


class ZeroShotModel:
    """Tokenises, embeds and scores. Two threads may use it, if only one tokenises and only one embeds."""

    def __init__(self, base: Base, placement: Placement) -> None:
        self.manifest = zero_shot_manifest(base)
        self.manifest.layout.check(base.positions, base.layers)
        self.width = base.width
        self._bert = base.bert
        self._placement = placement
        self._tokeniser = Tokeniser(base.tokenizer, self.manifest.layout)
        self._encoder = TextEncoder(base.bert, placement)

    def context_ids(self, history: Sequence[HistoryText]) -> TokenIds:
        """Token ids of the user context, history newest first; empty for a user without history."""
        return self._tokeniser.context(
            [text_of_history(entry) for entry in history if entry.action not in NEGATIVE_ACTIONS]
        )

    def candidate_ids(self, items: Sequence[ItemText]) -> list[TokenIds]:
        """Token ids of each item."""
        return self._tokeniser.candidates([text_of_item(item) for item in items])

    def vectors(self, texts: Sequence[TokenIds]) -> Vectors:
        """Unit vectors [texts, width] of user contexts and items alike."""
        return self._encoder.encode(texts)

    def probabilities(self, user: Vectors | None, items: Vectors) -> Probabilities:
        """[items, 1] from unit vectors [width] and [items, width].

        Without a user vector (no history) every cosine counts as 0: one constant for all, below that of any item
        that resembles anything. The order is then left to other signals.
        """
        cosines = np.zeros(len(items), dtype=np.float32) if user is None else items @ user
        logits = self.manifest.score.scale * (cosines - self.manifest.score.midpoint)
        probabilities: Probabilities = (1.0 / (1.0 + np.exp(-logits, dtype=np.float32)))[:, None].astype(np.float32)
        return probabilities

    def reference(self, context: TokenIds, candidates: Sequence[TokenIds]) -> Probabilities:
        """[candidates, 1] by the packed form, a few candidates at a time: the mask grows with the square of tokens."""
        layout, parts = self.manifest.layout, []
        for start in range(0, len(candidates), _CANDIDATES_PER_PACK):
            packed = pack(context, candidates[start : start + _CANDIDATES_PER_PACK], layout).to(self._bert.device)
            with self._placement.computing():
                pooled = mean_by_segment(encode(self._bert, packed, layout.split_depth), packed)
            unit = torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()
            parts.append(self.probabilities(unit[0], unit[1:]))
        return np.concatenate(parts) if parts else np.empty((0, 1), dtype=np.float32)
