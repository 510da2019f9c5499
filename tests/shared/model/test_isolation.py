"""Candidate isolation: who attends to whom, and that a candidate's score is its own at every split depth."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from shared.model.base import Base
from shared.model.isolation import encode, isolation_mask, mean_by_segment, pack
from shared.model.manifest import InputLayout
from shared.model.tokens import TokenIds, Tokeniser

LAYOUT = InputLayout(max_user_tokens=48, max_candidate_tokens=16, candidate_offset=48)
DEPTHS = range(4)  # 0 to the tiny base's layers
TEXTS = ["bicycle race", "bank interest rates of the bank", "sport news", "new money"]


def candidates_of(base: Base, texts: list[str]) -> list[TokenIds]:
    return Tokeniser(base.tokenizer, LAYOUT).candidates(texts)


def context_of(base: Base, *entries: str) -> TokenIds:
    return Tokeniser(base.tokenizer, LAYOUT).context_of(entries)


def pooled(base: Base, user: TokenIds, candidates: list[TokenIds], depth: int) -> np.ndarray:
    """Candidates' vectors [candidates, width]."""
    packed = pack(user, candidates, LAYOUT)
    with torch.inference_mode():
        return mean_by_segment(encode(base.bert, packed, depth), packed)[1:].numpy()


def test_a_pack_has_the_user_first_and_every_candidate_at_the_same_offset() -> None:
    packed = pack((7, 8, 9), [(1, 2), (3, 4, 5)], replace(LAYOUT, candidate_offset=10))
    assert packed.token_ids.tolist() == [7, 8, 9, 1, 2, 3, 4, 5]
    assert packed.positions.tolist() == [0, 1, 2, 10, 11, 10, 11, 12]
    assert packed.token_types.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert packed.segments.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]


def test_the_mask_lets_candidates_see_themselves_and_from_the_split_up_the_user() -> None:
    segments = torch.tensor([0, 0, 1, 2, 2])
    below = [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]
    above = [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 1], [1, 1, 0, 1, 1]]
    assert isolation_mask(segments, sees_user=False).int().tolist() == below
    assert isolation_mask(segments, sees_user=True).int().tolist() == above


@pytest.mark.parametrize("depth", DEPTHS)
def test_other_candidates_never_change_a_candidate(tiny_base: Base, depth: int) -> None:
    user, candidates = context_of(tiny_base, "bicycle race", "sport news"), candidates_of(tiny_base, TEXTS)
    together = pooled(tiny_base, user, candidates, depth)
    swapped = pooled(tiny_base, user, candidates[::-1], depth)[::-1]
    alone = np.concatenate([pooled(tiny_base, user, [candidate], depth) for candidate in candidates])
    more = pooled(tiny_base, user, [*candidates, *candidates_of(tiny_base, ["race " * 40])], depth)[:-1]
    for other in (swapped, alone, more):
        np.testing.assert_allclose(other, together, atol=1e-5)


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_user_changes_a_candidate_unless_all_layers_are_below_the_split(tiny_base: Base, depth: int) -> None:
    candidates = candidates_of(tiny_base, TEXTS)
    one, other = (
        pooled(tiny_base, context_of(tiny_base, entry), candidates, depth) for entry in ("bicycle", "bank interest")
    )
    change = np.abs(one - other).max()
    assert change < 1e-5 if depth == tiny_base.layers else change > 1e-3


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_user_without_history_gives_finite_candidates(tiny_base: Base, depth: int) -> None:
    assert np.isfinite(pooled(tiny_base, (), candidates_of(tiny_base, TEXTS), depth)).all()


def test_without_candidates_the_pack_is_the_plain_model_over_the_user(tiny_base: Base) -> None:
    user = context_of(tiny_base, "bicycle race", "sport news")
    with torch.inference_mode():
        packed = encode(tiny_base.bert, pack(user, [], LAYOUT), 0)
        plain = tiny_base.bert(input_ids=torch.tensor([user])).last_hidden_state[0]
    torch.testing.assert_close(packed, plain, atol=1e-5, rtol=0)
