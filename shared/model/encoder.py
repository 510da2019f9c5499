"""Token ids to unit vectors: the mean of the last hidden states, each text on its own.

Sentence-BERT's pooling (Reimers and Gurevych, 2019). Texts of like length go together, so that little is padding.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import BertModel

from shared.model.placement import Placement
from shared.model.tokens import TokenIds

Vectors = NDArray[np.float32]
_ROWS_PER_BATCH = {"cpu": 32, "cuda": 1024}
"""On a CPU small batches stay in the cache; a GPU wants large ones."""


class TextEncoder:
    """Encodes texts with a plain padding mask, at positions from 0 and token type 0."""

    def __init__(self, bert: BertModel, placement: Placement) -> None:
        torch.nn.Module.to(bert, torch.device(placement.device))  # in place; BertModel's own `to` is badly typed
        self._bert = bert
        self._placement = placement

    def encode(self, texts: Sequence[TokenIds]) -> Vectors:
        """Unit vectors [texts, width], in the order of `texts`; none of these may be empty."""
        vectors = np.empty((len(texts), self._bert.config.hidden_size), dtype=np.float32)
        for rows in length_batches([len(text) for text in texts], _ROWS_PER_BATCH[self._placement.device]):
            with self._placement.computing():
                pooled = self._mean([texts[row] for row in rows])
            vectors[rows] = torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()
        return vectors

    def _mean(self, texts: Sequence[TokenIds]) -> Tensor:
        """[texts, width], float32."""
        longest = max(map(len, texts))
        ids = torch.zeros(len(texts), longest, dtype=torch.long)
        present = torch.zeros(len(texts), longest, dtype=torch.long)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(text)
            present[row, : len(text)] = 1
        ids, present = ids.to(self._bert.device), present.to(self._bert.device)
        hidden = self._bert(input_ids=ids, attention_mask=present).last_hidden_state.float()
        weights = present[:, :, None].float()
        pooled: Tensor = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
        return pooled


def length_batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Row numbers in batches of at most `most`, longest first; no row is padded to more than twice its length."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batch and (len(batch) == most or 2 * lengths[row] < lengths[batch[0]]):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
