"""The plain way to fine-tune a cross-encoder: every candidate with its own copy of the user, padded, through BERT.

In parts of some pairs whose gradients add up: on a CPU large parts outgrow the cache, a GPU wants them.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from services.trainer.adapters import adapted
from services.trainer.batches import CorpusTokens
from services.trainer.corpus import Example
from services.trainer.recipe import TrainRecipe
from shared.model.base import Base
from shared.model.tokens import TokenIds


class Pairwise(nn.Module):
    """BERT with the recipe's adapter over `user candidate` pairs, and one linear head on the first token."""

    def __init__(self, base: Base, recipe: TrainRecipe, actions: int, pairs_at_once: int) -> None:
        super().__init__()
        self._pairs_at_once = pairs_at_once
        self.adapter = adapted(base, recipe, 1)
        self.head = nn.Linear(base.width, actions)
        for name, module in self.adapter.named_modules():
            if isinstance(module, nn.Dropout) and "lora_dropout" not in name:
                module.p = recipe.hidden_dropout

    def learn(self, examples: Sequence[Example], tokens: CorpusTokens) -> None:
        """Adds the gradient of the mean cross-entropy of all candidates; like lengths go together, to pad little."""
        pairs = [
            (len(user) + len(tokens.candidates[item]), user, tokens.candidates[item], label)
            for example in examples
            for user in [tokens.context(example.history)]
            for item, label in zip(example.candidates, example.labels, strict=True)
        ]
        pairs.sort(key=lambda pair: pair[0])
        for start in range(0, len(pairs), self._pairs_at_once):
            part = pairs[start : start + self._pairs_at_once]
            labels = torch.from_numpy(np.stack([label for _, _, _, label in part]))
            logits = self._logits([(user, item) for _, user, item, _ in part])
            loss = binary_cross_entropy_with_logits(logits, labels.to(logits.device), reduction="sum")
            (loss / len(pairs)).backward()  # type: ignore[no-untyped-call]

    def _logits(self, pairs: Sequence[tuple[TokenIds, TokenIds]]) -> Tensor:
        longest = max(len(user) + len(item) for user, item in pairs)
        ids, types, mask = (torch.zeros(len(pairs), longest, dtype=torch.long) for _ in range(3))
        for row, (user, item) in enumerate(pairs):
            end = len(user) + len(item)
            ids[row, :end] = torch.tensor([*user, *item])
            types[row, len(user) : end] = 1
            mask[row, :end] = 1
        device = self.head.weight.device
        states = self.adapter(
            input_ids=ids.to(device), token_type_ids=types.to(device), attention_mask=mask.to(device)
        ).last_hidden_state
        logits: Tensor = self.head(states[:, 0].float()).float()
        return logits
