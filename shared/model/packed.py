"""The fast path: a BERT over packed tokens, with the user's part of attention computed once for all candidates.

What isolation.py does with one long sequence and a mask is done here without either. The user context goes through
the layers alone and leaves its keys and values; candidates go through in chunks that fit the cache, attend to
themselves and to those keys, and in the last layer only the tokens that are read are computed.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.nn import Module
from transformers import BertModel

from shared.model.attention import Attended, Attention, KeyValues, UserRuns, attention_for, joined
from shared.model.linear import Linear, prepared
from shared.model.packing import Packing
from shared.model.placement import Placement

NOBODY = UserRuns((), ())


@dataclass(frozen=True, slots=True, eq=False)
class _Norm:
    weight: Tensor
    bias: Tensor
    epsilon: float

    def __call__(self, rows: Tensor) -> Tensor:
        return F.layer_norm(rows, self.weight.shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """One transformer layer: queries, keys and values are one product."""

    query_key_value: Linear
    attended: Linear
    attended_norm: _Norm
    widen: Linear
    narrow: Linear
    norm: _Norm


@dataclass(frozen=True, slots=True, eq=False)
class _Embeddings:
    words: Tensor
    positions: Tensor
    types: Tensor
    norm: _Norm


class PackedBert:
    """The weights of a BERT on a device, in its number format. Immutable; one thread computes at a time."""

    def __init__(
        self, bert: BertModel, placement: Placement, like: "tuple[BertModel, PackedBert] | None" = None
    ) -> None:
        """`like`: another model and its packed form on the same placement; what is equal is shared with it."""
        config = bert.config
        self.placement = placement
        self.device = torch.device(placement.device)
        self.dtype = torch.bfloat16 if placement.dtype == "bfloat16" else torch.float32
        self.depth = int(config.num_hidden_layers)
        self.width = int(config.hidden_size)
        self.heads = int(config.num_attention_heads)
        self._attention: Attention = attention_for(self.device, self.dtype)
        if like is None:
            self._embeddings = self._taken_embeddings(bert)
            self._layers = tuple(self._taken_layer(layer) for layer in bert.encoder.layer)
        else:
            other, packed = like
            same = _equal(bert.embeddings, other.embeddings)
            self._embeddings = packed._embeddings if same else self._taken_embeddings(bert)
            self._layers = tuple(
                known if _equal(layer, before) else self._taken_layer(layer)
                for layer, before, known in zip(bert.encoder.layer, other.encoder.layer, packed._layers, strict=True)
            )

    def embed(self, token_ids: Tensor, positions: Tensor, token_type: int) -> Tensor:
        """Hidden states [tokens, width] below the first layer; ids and positions are int64 [tokens]."""
        tables = self._embeddings
        total = tables.words[token_ids] + tables.positions[positions] + tables.types[token_type]
        return tables.norm(total).to(self.dtype)

    def through(
        self, depth: int, hidden: Tensor, packing: Packing, users: UserRuns = NOBODY, read: Tensor | None = None
    ) -> tuple[Tensor, KeyValues]:
        """Layer `depth`: hidden states after it, and the keys and values it made.

        Args:
            depth: 0 to depth - 1.
            hidden: [tokens, width], what the layer below left.
            packing: the segments of these tokens.
            users: what the tokens that go on read of their users; by default nothing.
            read: int64 [rows], the tokens that go on; all of them by default.
        """
        layer = self._layers[depth]
        queries, keys, values = self._query_key_value(layer, hidden)
        attended = self._attention.within(queries, keys, values, packing)
        if read is not None:
            hidden, queries = hidden[read], queries[read]
            attended = Attended(attended.output[read], attended.lse[read])
        output = attended.output
        if not users.empty:
            output = joined(attended, self._attention.over_users(queries, users).lowered(users.bias))
        middle = layer.attended_norm(layer.attended(output.reshape(-1, self.width)) + hidden)
        return layer.norm(layer.narrow(layer.widen(middle)) + middle), KeyValues(keys, values)

    def keys_values(self, depth: int, hidden: Tensor) -> KeyValues:
        """Keys and values of tokens that enter layer `depth`, and nothing else of it."""
        _, keys, values = self._query_key_value(self._layers[depth], hidden)
        return KeyValues(keys, values)

    def _query_key_value(self, layer: _Layer, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each [tokens, heads, head width]."""
        product = layer.query_key_value(hidden).view(len(hidden), 3, self.heads, self.width // self.heads)
        queries, keys, values = product.unbind(1)
        return queries, keys, values

    def _taken_embeddings(self, bert: BertModel) -> _Embeddings:
        tables = bert.embeddings
        return _Embeddings(
            self._taken(tables.word_embeddings.weight),
            self._taken(tables.position_embeddings.weight),
            self._taken(tables.token_type_embeddings.weight),
            self._norm(tables.LayerNorm),
        )

    def _taken_layer(self, layer: Any) -> _Layer:
        attention, output = layer.attention.self, layer.attention.output
        parts = (attention.query, attention.key, attention.value)
        return _Layer(
            prepared(
                self._taken(torch.cat([part.weight for part in parts])),
                self._taken(torch.cat([part.bias for part in parts])),
            ),
            self._linear(output.dense),
            self._norm(output.LayerNorm),
            self._linear(layer.intermediate.dense, gelu=True),
            self._linear(layer.output.dense),
            self._norm(layer.output.LayerNorm),
        )

    def _linear(self, dense: Any, *, gelu: bool = False) -> Linear:
        return prepared(self._taken(dense.weight), self._taken(dense.bias), gelu=gelu)

    def _norm(self, norm: Any) -> _Norm:
        return _Norm(self._taken(norm.weight), self._taken(norm.bias), float(norm.eps))

    def _taken(self, tensor: Tensor) -> Tensor:
        """A copy that does not change when the model it comes from does."""
        return tensor.detach().to(self.device, self.dtype, copy=True).contiguous()


def _equal(first: Module, second: Module) -> bool:
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return all(one is other or torch.equal(one, other) for one, other in pairs)
