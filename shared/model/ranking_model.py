"""A ranking model as it serves: user contexts and items are encoded once each, scoring joins them.

What is known of an item without any user (`ItemState`) holds for all users, what is known of a user without any
candidate (`UserContext`) for all candidates; both are values that a caller may cache. With split depth 0 an item's
state is its token ids, with all layers its vector, in between its hidden states below the layer that meets the user.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from shared.model.attention import KeyValues, UserRuns
from shared.model.base import Base
from shared.model.heads import Heads, probabilities
from shared.model.manifest import InputLayout, ModelManifest
from shared.model.packed import PackedBert
from shared.model.packing import Packing, chunks, pack_segments
from shared.model.tokens import TokenIds, Tokeniser

Probabilities = NDArray[np.float32]
Logits = NDArray[np.float32]
Vectors = NDArray[np.float32]
ItemState = Tensor
"""int32 [tokens] token ids, or hidden states [tokens, width], or a unit vector [width], by split depth."""

_CHUNK_TOKENS = {"cpu": 800, "cuda": 65_536}
"""Tokens that go through the layers together: on a CPU what its cache holds, on a GPU what fills it."""


@dataclass(frozen=True, slots=True, eq=False)
class UserContext:
    """What candidates read of a user: keys and values of the layers from the split depth up, and a unit vector."""

    layers: tuple[KeyValues, ...]
    vector: Tensor | None
    """[width], float32; None where the heads do not compare."""

    @property
    def nbytes(self) -> int:
        """Memory held."""
        tensors = [part for layer in self.layers for part in (layer.keys, layer.values)]
        return sum(tensor.nbytes for tensor in (*tensors, self.vector) if tensor is not None)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """The candidates of one user; `context` is None for a user without history."""

    context: UserContext | None
    items: Sequence[ItemState]


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    """Candidates of some groups that go through the layers together, ordered by group."""

    rows: list[int]
    packing: Packing
    groups: list[Group]
    segments: list[int]
    """Candidates of each group in this chunk."""

    def runs(self, layer: int, bias: float, *, by_segment: bool) -> UserRuns:
        """What each group's tokens (or segments) read of their user in a layer above the split."""
        counts = self.segments
        if not by_segment:
            ends = np.cumsum(self.segments)
            counts = [
                sum(self.packing.lengths[end - many : end]) for end, many in zip(ends, self.segments, strict=True)
            ]
        contexts = tuple(group.context.layers[layer] if group.context else None for group in self.groups)
        return UserRuns(tuple(counts), contexts, bias)


class RankingModel:
    """Encodes and scores; one thread at a time may compute on the device. Immutable.

    A two-tower model's vectors and heads lie in main memory, so its products disturb nobody: any thread may score.
    """

    def __init__(self, base: Base, bert: PackedBert, manifest: ModelManifest, heads: Heads, item_key: str) -> None:
        """`bert` holds the weights of `base` with the adapter merged.

        `item_key` names everything that an item's state depends on: models where it is equal may share states.

        Raises:
            ValueError: when the manifest does not fit the base, or the heads the manifest.
        """
        manifest.layout.check(base.positions, base.layers)
        heads.check(len(manifest.actions), base.width)
        if len(manifest.calibration) != len(manifest.actions):
            raise ValueError("there must be one calibration for each action")
        if not all(platt.slope > 0 for platt in manifest.calibration):
            raise ValueError("the slope of every calibration must be above 0, or it would turn the order round")
        if manifest.layout.split_depth == bert.depth and manifest.layout.pooling != "mean":
            raise ValueError("a model whose candidates never meet the user compares means; its pooling must be mean")
        self.base = base
        self.manifest = manifest
        self.bert = bert
        self.item_key = item_key
        self.tokeniser = Tokeniser(base.tokenizer, manifest.layout)
        self._layout: InputLayout = manifest.layout
        self._heads = heads.to(torch.device("cpu") if self.two_tower else bert.device)
        above = bert.depth - manifest.layout.split_depth
        self._user_bias = (0.0,) * above if heads.user_bias is None else tuple(heads.user_bias.tolist())
        if len(self._user_bias) != above:
            raise ValueError(f"the heads' user_bias must have {above} numbers, has {len(self._user_bias)}")
        self._chunk_tokens = _CHUNK_TOKENS[bert.device.type]

    @property
    def two_tower(self) -> bool:
        """Whether candidates never meet the user in a layer: an item's state is its vector, a score a product."""
        return self._layout.split_depth == self.bert.depth

    @property
    def caches_items(self) -> bool:
        """Whether encoding an item saves anything: without split layers its state is its token ids."""
        return self._layout.split_depth > 0

    @torch.inference_mode()
    def encode_items(self, texts: Sequence[TokenIds]) -> list[ItemState]:
        """The state of each item, in order; each owns its memory. No text may be empty.

        Raises:
            FloatingPointError: when the model makes of an item what is not finite; nothing of it may be kept.
        """
        if not self.caches_items:
            return [torch.tensor(text, dtype=torch.int32) for text in texts]
        states: list[ItemState | None] = [None] * len(texts)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for run in chunks([len(texts[row]) for row in order], self._chunk_tokens):
            rows = [order[each] for each in run]
            packing = pack_segments([len(texts[row]) for row in rows], self.bert.device)
            hidden = self._embedded([texts[row] for row in rows], packing)
            for depth in range(self._layout.split_depth):
                hidden, _ = self.bert.through(depth, hidden, packing)
            _require_finite(hidden)
            parts = _vectors(hidden, packing).cpu() if self.two_tower else torch.split(hidden, [*packing.lengths])
            for row, part in zip(rows, parts, strict=True):
                states[row] = part.clone()  # a view would keep the whole chunk alive
        return [state for state in states if state is not None]

    @torch.inference_mode()
    def encode_contexts(self, texts: Sequence[TokenIds]) -> list[UserContext]:
        """The context of each user, in order; each owns its memory. No text may be empty.

        Raises:
            FloatingPointError: as encode_items.
        """
        found: list[UserContext] = []
        for rows in chunks([len(text) for text in texts], self._chunk_tokens):
            found += self._contexts([texts[row] for row in rows])
        return found

    @torch.inference_mode()
    def score(self, groups: Sequence[Group]) -> list[Probabilities]:
        """Probabilities [items, actions] of each group; a candidate's do not depend on any other."""
        return [probabilities(part, self.manifest.calibration).cpu().numpy() for part in self._logits(groups)]

    @torch.inference_mode()
    def logits(self, groups: Sequence[Group]) -> list[Logits]:
        """The same before calibration: what a calibration is fitted on."""
        return [part.cpu().numpy() for part in self._logits(groups)]

    def vectors(self, states: Sequence[ItemState]) -> Vectors:
        """Unit vectors [items, width] of a two-tower model's states."""
        return torch.stack(list(states)).numpy()

    def _contexts(self, texts: Sequence[TokenIds]) -> list[UserContext]:
        packing = pack_segments([len(text) for text in texts], self.bert.device)
        hidden = self.bert.embed(_ids(texts, self.bert.device), packing.place_of, 0)
        layers: list[KeyValues] = []
        compares = self._heads.similarity is not None
        for depth in range(self.bert.depth):
            if depth == self.bert.depth - 1 and not compares:
                layers.append(self.bert.keys_values(depth, hidden))  # nobody reads what the last layer leaves
            else:
                hidden, made = self.bert.through(depth, hidden, packing)
                if depth >= self._layout.split_depth:
                    layers.append(made)
        _require_finite(hidden)
        vectors = list(_vectors(hidden, packing).to(self._heads.bias.device)) if compares else [None] * len(texts)
        keys = [torch.split(layer.keys, [*packing.lengths]) for layer in layers]
        values = [torch.split(layer.values, [*packing.lengths]) for layer in layers]
        return [
            UserContext(
                tuple(KeyValues(k[row].clone(), v[row].clone()) for k, v in zip(keys, values, strict=True)),
                None if vector is None else vector.clone(),
            )
            for row, vector in enumerate(vectors)
        ]

    def _logits(self, groups: Sequence[Group]) -> list[Tensor]:
        if self.two_tower:
            return [self._score_vectors(group) for group in groups]
        return list(torch.split(self._score_states(groups), [len(group.items) for group in groups]))

    def _score_vectors(self, group: Group) -> Tensor:
        """Logits [items, actions]."""
        vectors = torch.stack(list(group.items))
        user = None if group.context is None else group.context.vector
        return self._heads.logits(vectors, None if user is None else vectors @ user)

    def _score_states(self, groups: Sequence[Group]) -> Tensor:
        """Logits [all items, actions], group by group."""
        states = [state for group in groups for state in group.items]
        of = [number for number, group in enumerate(groups) for _ in group.items]
        order = sorted(range(len(states)), key=lambda row: (of[row], len(states[row])))
        logits = torch.empty(len(states), len(self.manifest.actions), device=self.bert.device)
        for run in chunks([len(states[row]) for row in order], self._chunk_tokens):
            rows = [order[each] for each in run]
            counts = Counter(of[row] for row in rows)  # in the order of the rows, which is that of the groups
            chunk = _Chunk(
                rows,
                pack_segments([len(states[row]) for row in rows], self.bert.device),
                [groups[number] for number in counts],
                [*counts.values()],
            )
            logits[rows] = self._through_upper(chunk, [states[row] for row in rows])
        return logits

    def _through_upper(self, chunk: _Chunk, states: Sequence[ItemState]) -> Tensor:
        """Logits [candidates, actions] of a chunk."""
        packing, split, top = chunk.packing, self._layout.split_depth, self.bert.depth - 1
        hidden = torch.cat(list(states)) if split else self._embedded(states, packing)
        one = None
        if self._layout.pooling != "mean":
            one = packing.firsts if self._layout.pooling == "first" else packing.lasts
        for depth in range(split, self.bert.depth):
            pruned = one if depth == top else None
            runs = chunk.runs(depth - split, self._user_bias[depth - split], by_segment=pruned is not None)
            hidden, _ = self.bert.through(depth, hidden, packing, runs, pruned)
        pooled = hidden.float() if one is not None else _means(hidden, packing)
        return self._heads.logits(pooled, self._cosines(pooled, chunk))

    def _cosines(self, pooled: Tensor, chunk: _Chunk) -> Tensor | None:
        """[candidates]; 0 for users without context."""
        if self._heads.similarity is None:
            return None
        nothing = pooled.new_zeros(pooled.shape[1])
        users = [group.context.vector if group.context else None for group in chunk.groups]
        each = torch.stack([nothing if user is None else user for user in users])
        counts = torch.tensor(chunk.segments, device=pooled.device)
        return (normalize(pooled, dim=-1) * each.repeat_interleave(counts, dim=0)).sum(dim=-1)

    def _embedded(self, texts: Sequence[TokenIds] | Sequence[Tensor], packing: Packing) -> Tensor:
        positions = packing.place_of + self._layout.candidate_offset
        return self.bert.embed(_ids(texts, self.bert.device), positions, self._layout.candidate_token_type)


def _require_finite(hidden: Tensor) -> None:
    """Waits for the device: what it was given is done when this returns."""
    if not hidden.isfinite().all():
        raise FloatingPointError("hidden states are not finite")


def _ids(texts: Sequence[TokenIds] | Sequence[Tensor], device: torch.device) -> Tensor:
    """int64 [tokens] of all texts, one after another."""
    flat = np.concatenate([np.asarray(text, dtype=np.int64) for text in texts])
    return torch.from_numpy(flat).to(device, non_blocking=True)


def _means(hidden: Tensor, packing: Packing) -> Tensor:
    """[segments, width], float32."""
    totals = torch.zeros(len(packing.lengths), hidden.shape[-1], device=hidden.device)
    totals.index_add_(0, packing.segment_of, hidden.float())
    return totals / packing.bounds.diff()[:, None]


def _vectors(hidden: Tensor, packing: Packing) -> Tensor:
    """Unit vectors [segments, width], float32: the normalised means, as Sentence-BERT pools (Reimers, 2019)."""
    return normalize(_means(hidden, packing), dim=-1)
