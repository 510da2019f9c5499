"""Attention in two parts that are joined exactly: within a segment, and over the keys of a segment's user.

Each part gives its output and the log-sum-exp of its scores; the softmax over both is their mean weighted by
exp(log-sum-exp), as in FlashAttention (Dao et al., 2022). So a user's keys are read where they lie, by all of the
user's candidates at once, instead of being copied to every candidate.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from shared.model.packing import Packing

_AMPERE = (8, 0)
"""Compute capability from which FlashAttention runs."""


@dataclass(frozen=True, slots=True, eq=False)
class KeyValues:
    """Keys and values of a user context in one layer: each [tokens, heads, head width]."""

    keys: Tensor
    values: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Attended:
    """`output` [tokens, heads, head width]; `lse` [tokens, heads], float32: the log-sum-exp of the scaled scores."""

    output: Tensor
    lse: Tensor

    def lowered(self, by: float) -> "Attended":
        """The same with all scores lowered."""
        return Attended(self.output, self.lse - by) if by else self


@dataclass(frozen=True, slots=True)
class UserRuns:
    """Which tokens belong to which user: `tokens[i]` tokens in a row read `contexts[i]` (None = nothing to read)."""

    tokens: tuple[int, ...]
    contexts: tuple[KeyValues | None, ...]
    bias: float = 0.0
    """What the scores over the contexts are lowered by; see Heads.user_bias."""

    @property
    def empty(self) -> bool:
        """Whether no token has anything to read."""
        return all(context is None for context in self.contexts)


VarlenKernel = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int, int], tuple[Tensor, Tensor]]
"""Queries, keys, values, bounds of queries and of keys (int32), longest of either; output and [heads, tokens] lse."""


class Attention(Protocol):
    """A way to compute it; queries, keys and values are [tokens, heads, head width] of one packed sequence."""

    def within(self, queries: Tensor, keys: Tensor, values: Tensor, packing: Packing) -> Attended:
        """Every token attends to the tokens of its segment."""

    def over_users(self, queries: Tensor, users: UserRuns) -> Attended:
        """Every token attends to the context of its user; without one its log-sum-exp is -inf."""


def joined(first: Attended, second: Attended) -> Tensor:
    """The output of one softmax over both parts; at least one part has a key for every token."""
    share = torch.sigmoid(second.lse - first.lse)[..., None]
    return torch.lerp(first.output, second.output, share.to(first.output.dtype))


def attention_for(device: torch.device, dtype: torch.dtype) -> Attention:
    """The fastest way on a device that computes in `dtype`."""
    if device.type == "cuda" and dtype is torch.bfloat16 and torch.cuda.get_device_capability(device) >= _AMPERE:
        kernel = _varlen_kernel()
        if kernel is not None:
            return VarlenAttention(kernel)
    return PaddedAttention()


class PaddedAttention:
    """On any device: segments padded to the longest of the packing, users one after another, in float32 on a CPU.

    CPUs without matrix units for bfloat16 attend faster in float32, and more precisely.
    """

    def within(self, queries: Tensor, keys: Tensor, values: Tensor, packing: Packing) -> Attended:
        """See Attention."""
        dtype = queries.dtype
        blocks = [_blocks(_widened(part), packing) for part in (queries, keys, values)]
        bias = None if packing.even else packing.padding_bias(blocks[0].dtype)
        output, lse = _softmax_attention(blocks[0], blocks[1], blocks[2], bias)
        heads, width = queries.shape[1:]
        flat_output = output.transpose(1, 2).reshape(-1, heads, width)
        flat_lse = lse.transpose(1, 2).reshape(-1, heads)
        if not packing.even:
            rows = packing.padded_rows()
            flat_output, flat_lse = flat_output[rows], flat_lse[rows]
        return Attended(flat_output.to(dtype), flat_lse)

    def over_users(self, queries: Tensor, users: UserRuns) -> Attended:
        """See Attention."""
        output = torch.zeros_like(queries)
        lse = torch.full(queries.shape[:2], float("-inf"), dtype=torch.float32, device=queries.device)
        start = 0
        for count, context in zip(users.tokens, users.contexts, strict=True):
            if context is not None and count:
                run = slice(start, start + count)
                parts = (queries[run], context.keys, context.values)
                q, k, v = (_widened(part).transpose(0, 1)[None] for part in parts)
                found, found_lse = _softmax_attention(q, k, v, None)
                output[run] = found[0].transpose(0, 1)
                lse[run] = found_lse[0].T
            start += count
        return Attended(output, lse)


def _widened(part: Tensor) -> Tensor:
    return part.float() if part.device.type == "cpu" else part


def _blocks(part: Tensor, packing: Packing) -> Tensor:
    """[tokens, heads, width] to [segments, heads, longest, width], zeros at padding."""
    segments, longest = len(packing.lengths), packing.longest
    if not packing.even:
        padded = part.new_zeros(segments * longest, *part.shape[1:])
        part = padded.index_copy_(0, packing.padded_rows(), part)
    return part.view(segments, longest, *part.shape[1:]).transpose(1, 2)


def _softmax_attention(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """[batch, heads, tokens, width] each; gives the output and the log-sum-exp [batch, heads, tokens], float32."""
    if queries.device.type == "cpu":
        # What scaled_dot_product_attention calls; it drops the log-sum-exp.
        output, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(queries, keys, values, attn_mask=bias)
        return output, lse
    scores = (queries @ keys.transpose(-1, -2)).float() * queries.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias
    return torch.softmax(scores, dim=-1).to(values.dtype) @ values, torch.logsumexp(scores, dim=-1)


class VarlenAttention:
    """On a GPU in half precision: FlashAttention over ragged segments, one kernel for all users."""

    def __init__(self, attend: VarlenKernel) -> None:
        self._kernel = attend

    def within(self, queries: Tensor, keys: Tensor, values: Tensor, packing: Packing) -> Attended:
        """See Attention."""
        return self._attend(
            queries, KeyValues(keys, values), (packing.bounds, packing.bounds), (packing.longest, packing.longest)
        )

    def over_users(self, queries: Tensor, users: UserRuns) -> Attended:
        """See Attention."""
        # A user without context gets one key of zeros, since kernels differ in what they make of no key at all.
        nothing = queries.new_zeros(1, *queries.shape[1:])
        read = [context or KeyValues(nothing, nothing) for context in users.contexts]
        together = KeyValues(torch.cat([each.keys for each in read]), torch.cat([each.values for each in read]))
        counts = [len(each.keys) for each in read]
        bounds = (_bounds(users.tokens, queries.device), _bounds(counts, queries.device))
        attended = self._attend(queries, together, bounds, (max(users.tokens), max(counts)))
        if None not in users.contexts:
            return attended
        absent = torch.tensor([context is None for context in users.contexts], device=queries.device)
        of_token = absent.repeat_interleave(torch.tensor(users.tokens, device=queries.device))
        return Attended(attended.output, attended.lse.masked_fill(of_token[:, None], float("-inf")))

    def _attend(
        self, queries: Tensor, read: KeyValues, bounds: tuple[Tensor, Tensor], longest: tuple[int, int]
    ) -> Attended:
        keys, values = read.keys.contiguous(), read.values.contiguous()
        output, lse = self._kernel(queries.contiguous(), keys, values, *bounds, *longest)
        return Attended(output, lse.transpose(0, 1))  # the kernel gives [heads, tokens]


def _varlen_kernel() -> VarlenKernel | None:
    """PyTorch's, from 2.10 on."""
    try:
        from torch.nn.attention.varlen import AuxRequest, varlen_attn
    except ImportError:
        return None
    fixed: dict[str, Any] = {"return_aux": AuxRequest(lse=True)}
    if "num_splits" in inspect.signature(varlen_attn).parameters:
        # Splitting keys would make a row depend on its batch. It also rules out cuDNN, which plans anew for each shape.
        fixed["num_splits"] = 1
    return cast(VarlenKernel, partial(varlen_attn, **fixed))


def _bounds(counts: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor([0, *counts], dtype=torch.int32).cumsum(0, dtype=torch.int32).to(device, non_blocking=True)
