"""The function that the ranker serves, in a form that gradients flow through, for many slates at once.

It is shared/model/isolation.py computed like shared/model/ranking_model.py: user contexts and items go through the
layers packed, each once per batch; from the split on, every candidate's tokens attend to their own and to their
user's. One softmax runs over both parts, on a grid of slates by candidates, the only thing that is padded.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import BertModel

from services.trainer.adapters import adapted
from services.trainer.batches import Batch, Grid, Texts
from services.trainer.recipe import TrainRecipe
from shared.model.base import Base
from shared.model.heads import Heads
from shared.model.packing import Packing


@dataclass(frozen=True, slots=True, eq=False)
class Logits:
    """`shown` [candidates, actions]; `pairs` [contexts + 1, items]: the first action's logit of every user with every
    item of the batch, the last row without a user; None where candidates meet the user."""

    shown: Tensor
    pairs: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """Keys and values of the user contexts of a layer: [rows, heads, longest, head width], one row of the grid each."""

    keys: Tensor
    values: Tensor
    hidden: Tensor
    """Bool [rows, 1, 1, longest]: what is padding, or belongs to a user without context."""


class TrainingModel(nn.Module):
    """A base with an adapter and heads; what is trained are the parameters that require a gradient."""

    def __init__(self, base: Base, recipe: TrainRecipe, actions: int, steps: int = 1) -> None:
        """The adapter is drawn from torch's generator; `steps` is the length of the training (for AdaLoRA).

        At the start all logits are `similarity_start` times the cosine.
        """
        super().__init__()
        self.recipe = recipe
        self.adapter = adapted(base, recipe, steps)
        for name, module in self._bert.named_modules():
            if isinstance(module, nn.Dropout) and "lora_dropout" not in name:
                module.p = recipe.hidden_dropout
        self.bias = nn.Parameter(torch.zeros(actions))
        self.similarity = nn.Parameter(torch.full((actions,), recipe.similarity_start))
        self.weight = nn.Parameter(torch.zeros(actions, base.width)) if recipe.state_weight else None
        above = base.layers - recipe.layout.split_depth
        start = torch.full((above,), recipe.user_bias_start)
        self.user_bias = nn.Parameter(start) if recipe.user_bias_start else None

    @property
    def _bert(self) -> BertModel:
        bert: Any = self.adapter.get_base_model()
        found: BertModel = bert
        return found

    @property
    def two_tower(self) -> bool:
        """Whether candidates never meet the user in a layer."""
        return self.recipe.layout.split_depth == len(self._bert.encoder.layer)

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.bias.device

    def heads(self) -> Heads:
        """A copy of the heads, on the CPU."""
        weight = None if self.weight is None else self.weight.detach().cpu().clone()
        user_bias = None if self.user_bias is None else self.user_bias.detach().cpu().clone()
        return Heads(self.bias.detach().cpu().clone(), weight, self.similarity.detach().cpu().clone(), user_bias)

    def trained(self) -> Mapping[str, Tensor]:
        """A copy of all that is trained, by parameter name, on the CPU."""
        return {name: parameter.detach().cpu().clone() for name, parameter in self._parameters_trained()}

    def restore(self, trained: Mapping[str, Tensor]) -> None:
        """Undoes `trained`.

        Raises:
            ValueError: when it is of another model.
        """
        mine = dict(self._parameters_trained())
        if mine.keys() != trained.keys() or any(mine[name].shape != trained[name].shape for name in mine):
            raise ValueError("these weights are of a model with another recipe")
        with torch.no_grad():
            for name, parameter in mine.items():
                parameter.copy_(trained[name])

    def _parameters_trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad)

    def forward(self, batch: Batch) -> Logits:
        """Logits of the candidates of a batch, in its order; float32 also under autocast."""
        bert, layout = self._bert, self.recipe.layout
        items = _embedded(bert, batch.items, layout.candidate_offset, layout.candidate_token_type)
        users = None if batch.contexts is None else _embedded(bert, batch.contexts, 0, 0)
        below, above = bert.encoder.layer[: layout.split_depth], bert.encoder.layer[layout.split_depth :]
        for layer in below:
            items = _alone(layer, items, batch.items.packing)
            if users is not None and batch.contexts is not None:
                users = _alone(layer, users, batch.contexts.packing)
        if not above:
            return self._compared(items, users, batch)
        candidates = items.index_select(0, batch.grid.item_tokens)
        for number, layer in enumerate(above):
            read = None
            if users is not None and batch.contexts is not None:
                read = _keys_values(layer, users, batch.contexts.packing, batch.grid)
                users = _alone(layer, users, batch.contexts.packing)
            bias = None if self.user_bias is None else self.user_bias[number]
            candidates = _meeting(layer, candidates, batch.grid, read, bias)
        with _full_precision(self.device):
            pooled = self._pooled(candidates, batch.grid.packing)
            cosines = (normalize(pooled, dim=-1) * self._user_vectors(users, batch)[batch.context_of]).sum(-1)
            return Logits(self._head(pooled, cosines))

    def _pooled(self, hidden: Tensor, packing: Packing) -> Tensor:
        if self.recipe.layout.pooling == "mean":
            return _means(hidden, packing)
        return hidden[packing.firsts if self.recipe.layout.pooling == "first" else packing.lasts].float()

    def _compared(self, items: Tensor, users: Tensor | None, batch: Batch) -> Logits:
        """Two towers: vectors of items [items, width] and users [contexts + 1, width], and their products."""
        with _full_precision(self.device):
            vectors = normalize(_means(items, batch.items.packing), dim=-1)
            cosines = self._user_vectors(users, batch) @ vectors.T
            pairs = cosines * self.similarity[0] + self.bias[0]
            if self.weight is not None:
                pairs = pairs + (vectors @ self.weight[0])[None, :]
            shown = self._head(vectors[batch.item_of], cosines[batch.context_of, batch.item_of])
            return Logits(shown, pairs)

    def _user_vectors(self, users: Tensor | None, batch: Batch) -> Tensor:
        """Unit vectors [contexts + 1, width]; the last is zero, for users without context."""
        nobody = torch.zeros(1, self._bert.config.hidden_size, device=self.device)
        if users is None or batch.contexts is None:
            return nobody
        return torch.cat([normalize(_means(users, batch.contexts.packing), dim=-1), nobody])

    def _head(self, pooled: Tensor, cosines: Tensor) -> Tensor:
        return Heads(self.bias, self.weight, self.similarity).logits(pooled, cosines)


def _full_precision(device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast(device.type, enabled=False)


def _embedded(bert: BertModel, texts: Texts, offset: int, token_type: int) -> Tensor:
    """Hidden states [tokens, width] below the first layer."""
    found: Tensor = bert.embeddings(
        input_ids=texts.ids[None],
        token_type_ids=torch.full_like(texts.ids, token_type)[None],
        position_ids=(texts.packing.place_of + offset)[None],
    )[0]
    return found


def _means(hidden: Tensor, packing: Packing) -> Tensor:
    """[segments, width], float32."""
    totals = torch.zeros(len(packing.lengths), hidden.shape[-1], device=hidden.device)
    return totals.index_add(0, packing.segment_of, hidden.float()) / packing.bounds.diff()[:, None]


def _through(layer: Any, hidden: Tensor, attended: Tensor) -> Tensor:
    """The rest of a layer, after attention [tokens, width]."""
    middle: Tensor = layer.attention.output(attended, hidden)
    found: Tensor = layer.output(layer.intermediate(middle), middle)
    return found


def _alone(layer: Any, hidden: Tensor, packing: Packing) -> Tensor:
    """A layer in which each segment attends to itself."""
    own = layer.attention.self
    heads = own.num_attention_heads
    parts = [_padded(project(hidden), packing, heads) for project in (own.query, own.key, own.value)]
    mask = None if packing.even else _is_padding(packing).logical_not()
    blocks = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=mask)
    flat = blocks.transpose(1, 2).reshape(-1, hidden.shape[-1])
    return _through(layer, hidden, flat if packing.even else flat.index_select(0, packing.padded_rows()))


def _padded(rows: Tensor, packing: Packing, heads: int) -> Tensor:
    """[tokens, width] to [segments, heads, longest, head width], zeros at padding."""
    segments, longest = len(packing.lengths), packing.longest
    if not packing.even:
        rows = rows.new_zeros(segments * longest, rows.shape[-1]).index_copy(0, packing.padded_rows(), rows)
    return rows.view(segments, longest, heads, -1).transpose(1, 2)


def _is_padding(packing: Packing) -> Tensor:
    """Bool [segments, 1, 1, longest]."""
    places = torch.arange(packing.longest, device=packing.bounds.device)
    return (places[None, :] >= packing.bounds.diff()[:, None])[:, None, None, :]


def _keys_values(layer: Any, users: Tensor, packing: Packing, grid: Grid) -> _Read:
    """What the rows of the grid read of the users' tokens as they enter a layer."""
    own = layer.attention.self
    keys, values = (
        F.pad(_padded(project(users), packing, own.num_attention_heads), (0, 0, 0, 0, 0, 0, 0, 1))
        for project in (own.key, own.value)
    )
    hidden = F.pad(_is_padding(packing), (0, 0, 0, 0, 0, 0, 0, 1), value=True)
    rows = grid.context_of_row
    return _Read(keys.index_select(0, rows), values.index_select(0, rows), hidden.index_select(0, rows))


def _meeting(layer: Any, hidden: Tensor, grid: Grid, read: _Read | None, user_bias: Tensor | None) -> Tensor:
    """A layer in which each candidate attends to itself and to its user."""
    own = layer.attention.self
    heads, width = own.num_attention_heads, hidden.shape[-1]
    shape = (len(grid.context_of_row), grid.columns, grid.packing.longest)
    queries, keys, values = (
        _on_grid(project(hidden), grid, shape, heads) for project in (own.query, own.key, own.value)
    )
    scores = (queries @ keys.transpose(-1, -2)).float() / math.sqrt(width // heads)
    scores = scores.masked_fill(_unused(grid, shape), torch.finfo(torch.float32).min)
    if read is None:
        output = torch.softmax(scores, -1).to(values.dtype) @ values
    else:
        flat = queries.flatten(2, 3)
        towards = (flat @ read.keys.transpose(-1, -2)).float() / math.sqrt(width // heads)
        if user_bias is not None:
            towards = towards - user_bias
        towards = towards.masked_fill(read.hidden, torch.finfo(torch.float32).min).view(*scores.shape[:-1], -1)
        shares = torch.softmax(torch.cat([scores, towards], -1), -1).to(values.dtype)
        mine, theirs = shares[..., : shape[2]], shares[..., shape[2] :]
        output = mine @ values + (theirs.flatten(2, 3) @ read.values).view(queries.shape)
    rows = output.permute(0, 2, 3, 1, 4).reshape(-1, width)
    return _through(layer, hidden, rows.index_select(0, grid.places))


def _on_grid(rows: Tensor, grid: Grid, shape: tuple[int, int, int], heads: int) -> Tensor:
    """[tokens, width] to [rows, heads, columns, longest, head width], zeros at padding."""
    laid = rows.new_zeros(math.prod(shape), rows.shape[-1]).index_copy(0, grid.places, rows)
    return laid.view(*shape, heads, -1).permute(0, 3, 1, 2, 4)


def _unused(grid: Grid, shape: tuple[int, int, int]) -> Tensor:
    """Bool [rows, 1, columns, 1, longest]: keys that are padding."""
    used = torch.zeros(math.prod(shape), dtype=torch.bool, device=grid.places.device)
    used[grid.places] = True
    return used.logical_not().view(shape[0], 1, shape[1], 1, shape[2])
