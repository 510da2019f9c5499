"""Ragged texts as one packed sequence without padding, and the index arrays that attention over them needs.

A packing holds segments one after another: user contexts, or candidates ordered by the user who asks for them. Linear
layers see every token once; only attention within segments is padded, to the longest segment of the packing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Packing:
    """Segments of a packed sequence of `tokens` tokens; index tensors are int64 on the device, bounds are int32."""

    lengths: tuple[int, ...]
    """Tokens of each segment, in order; each at least 1."""
    bounds: Tensor
    """[segments + 1]: where each segment begins, and the end of the last."""
    firsts: Tensor
    """[segments]: the first token of each segment."""
    lasts: Tensor
    """[segments]: the last token of each segment."""
    segment_of: Tensor
    """[tokens]: the segment of each token."""
    place_of: Tensor
    """[tokens]: the place of each token within its segment."""

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return sum(self.lengths)

    @property
    def longest(self) -> int:
        """Tokens of the longest segment."""
        return max(self.lengths)

    @property
    def even(self) -> bool:
        """Whether all segments are equally long, so that nothing has to be padded anywhere."""
        return min(self.lengths) == self.longest

    def padded_rows(self) -> Tensor:
        """[tokens]: the row of each token in the padded form [segments x longest]."""
        return self.segment_of * self.longest + self.place_of

    def padding_bias(self, dtype: torch.dtype) -> Tensor:
        """[segments, 1, 1, longest]: 0 at tokens, -inf at padding."""
        lengths = self.bounds.diff()[:, None]
        places = torch.arange(self.longest, device=lengths.device)[None, :]
        bias = torch.zeros(len(self.lengths), self.longest, dtype=dtype, device=lengths.device)
        return bias.masked_fill_(places >= lengths, float("-inf"))[:, None, None, :]


def pack_segments(lengths: Sequence[int], device: torch.device) -> Packing:
    """The packing of segments of these lengths, one after another."""
    counts = np.asarray(lengths, dtype=np.int64)
    ends = np.cumsum(counts)
    starts = ends - counts
    segment_of = np.repeat(np.arange(len(counts)), counts)
    # One transfer: a copy to a GPU costs the same for a few bytes and for a few kilobytes.
    flat = np.concatenate([starts, ends - 1, segment_of, np.arange(int(ends[-1])) - starts[segment_of]])
    sizes = [len(counts), len(counts), len(segment_of), len(segment_of)]
    firsts, lasts, segments, places = torch.split(torch.from_numpy(flat).to(device, non_blocking=True), sizes)
    bounds = torch.from_numpy(np.concatenate([[0], ends]).astype(np.int32)).to(device, non_blocking=True)
    return Packing(tuple(counts.tolist()), bounds, firsts, lasts, segments, places)


def chunks(lengths: Sequence[int], most_tokens: int) -> Iterator[list[int]]:
    """Row numbers, in order, in runs of at most `most_tokens` tokens; a longer text makes a run by itself."""
    run: list[int] = []
    tokens = 0
    for row, length in enumerate(lengths):
        if run and tokens + length > most_tokens:
            yield run
            run, tokens = [], 0
        run.append(row)
        tokens += length
    if run:
        yield run
