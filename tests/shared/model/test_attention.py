"""Attention in two parts: each way gives what one plain softmax over all keys gives."""

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor

from shared.model.attention import (
    Attended,
    Attention,
    KeyValues,
    PaddedAttention,
    UserRuns,
    VarlenAttention,
    attention_for,
    joined,
)
from shared.model.packing import pack_segments

HEADS, WIDTH = 3, 8
CPU = torch.device("cpu")
CUDA_MISSING = "needs a CUDA device"


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def plain(query: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """[tokens, heads, width] and [tokens, heads] by the textbook."""
    scores = torch.einsum("qhd,khd->hqk", query, keys) / WIDTH**0.5
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), values), scores.logsumexp(-1).T


def by_segment(queries: Tensor, keys: Tensor, values: Tensor, *cut: Any) -> tuple[Tensor, Tensor]:
    """What the GPU's kernel promises, one segment after another."""
    bounds, key_bounds, longest, longest_keys = cut
    assert bounds.dtype == key_bounds.dtype == torch.int32
    assert (longest, longest_keys) == (bounds.diff().max(), key_bounds.diff().max())
    parts = []
    for number in range(len(bounds) - 1):
        mine, theirs = slice(*bounds[number : number + 2].tolist()), slice(*key_bounds[number : number + 2].tolist())
        parts.append(plain(queries[mine], keys[theirs], values[theirs]))
    return torch.cat([output for output, _ in parts]), torch.cat([lse for _, lse in parts]).T


@pytest.fixture(params=["padded", "varlen"])
def attention(request: pytest.FixtureRequest) -> Attention:
    return PaddedAttention() if request.param == "padded" else VarlenAttention(by_segment)


@pytest.mark.parametrize("lengths", [(4,), (3, 3, 3), (1, 5, 2, 7)])
def test_tokens_attend_to_their_own_segment(attention: Attention, lengths: tuple[int, ...]) -> None:
    queries, keys, values = (drawn(sum(lengths), HEADS, WIDTH + 0) + row for row in range(3))
    found = attention.within(queries, keys, values, pack_segments(lengths, CPU))
    start = 0
    for length in lengths:
        own = slice(start, start + length)
        output, lse = plain(queries[own], keys[own], values[own])
        torch.testing.assert_close(found.output[own], output)
        torch.testing.assert_close(found.lse[own], lse)
        start += length


def test_tokens_attend_to_the_context_of_their_user_only(attention: Attention) -> None:
    queries = drawn(6, HEADS, WIDTH)
    one, other = (KeyValues(drawn(size, HEADS, WIDTH), drawn(size, HEADS, WIDTH) * 2) for size in (4, 9))
    found = attention.over_users(queries, UserRuns((2, 1, 3), (one, None, other)))
    for own, context in ((slice(0, 2), one), (slice(3, 6), other)):
        output, lse = plain(queries[own], context.keys, context.values)
        torch.testing.assert_close(found.output[own], output)
        torch.testing.assert_close(found.lse[own], lse)
    assert (found.lse[2] == float("-inf")).all()
    assert found.output.isfinite().all()


def test_two_parts_joined_are_one_softmax_over_both(attention: Attention) -> None:
    queries, keys, values = (drawn(5, HEADS, WIDTH) + row for row in range(3))
    user = KeyValues(drawn(7, HEADS, WIDTH), drawn(7, HEADS, WIDTH) - 1)
    own = attention.within(queries, keys, values, pack_segments((5,), CPU))
    whole = joined(own, attention.over_users(queries, UserRuns((5,), (user,))))
    expected, _ = plain(queries, torch.cat([keys, user.keys]), torch.cat([values, user.values]))
    torch.testing.assert_close(whole, expected)
    alone = joined(own, attention.over_users(queries, UserRuns((5,), (None,))))
    torch.testing.assert_close(alone, own.output)


def test_scores_far_apart_do_not_overflow() -> None:
    near, far = (
        Attended(torch.full((1, 1, 2), value), torch.tensor([[lse]])) for value, lse in ((1.0, 500.0), (2.0, -500.0))
    )
    torch.testing.assert_close(joined(near, far), near.output)
    torch.testing.assert_close(joined(far, near), near.output)


def test_a_cpu_attends_with_padding() -> None:
    assert isinstance(attention_for(CPU, torch.bfloat16), PaddedAttention)


def test_the_gpu_kernel_takes_what_it_is_given() -> None:
    varlen = pytest.importorskip("torch.nn.attention.varlen", reason="PyTorch before 2.10 has no varlen attention")
    arguments = [object()] * 7
    inspect.signature(varlen.varlen_attn).bind(*arguments, return_aux=varlen.AuxRequest(lse=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason=CUDA_MISSING)
def test_the_gpu_kernel_gives_what_padding_gives() -> None:
    device = torch.device("cuda")
    attention = attention_for(device, torch.bfloat16)
    assert isinstance(attention, VarlenAttention)
    lengths = (5, 32, 1, 17)
    queries, keys, values = (drawn(sum(lengths), 4, 32).to(device, torch.bfloat16) + row for row in range(3))
    context = KeyValues(*(drawn(40, 4, 32).to(device, torch.bfloat16) for _ in range(2)))
    packing, users = pack_segments(lengths, device), UserRuns((37, 1, 17), (context, None, context))
    ways = (attention, PaddedAttention())
    one, other = (joined(way.within(queries, keys, values, packing), way.over_users(queries, users)) for way in ways)
    torch.testing.assert_close(one, other, atol=3e-2, rtol=3e-2)
