"""From what BERT leaves of a candidate to a probability per action.

A logit is linear in the candidate's pooled state, plus the cosine between user and candidate times a weight, plus a
bias. Either part may be missing: the zero-shot model has the cosine alone, which is also where training may begin.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from shared.model.manifest import Platt


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """Weights in float32; at least one of `weight` and `similarity` is there."""

    bias: Tensor
    """[actions]."""
    weight: Tensor | None = None
    """[actions, width], of the pooled state."""
    similarity: Tensor | None = None
    """[actions], of the cosine between the mean of the user's last hidden states and the candidate's pooled state."""
    user_bias: Tensor | None = None
    """[layers in which candidates meet the user]: what a candidate's attention scores over the user's tokens are
    lowered by. With large ones training begins at the scores of a model whose candidates never meet the user."""

    def check(self, actions: int, width: int) -> None:
        """Whether the shapes fit; how many layers there are is for the model to check.

        Raises:
            ValueError: naming the tensor that does not.
        """
        if self.weight is None and self.similarity is None:
            raise ValueError("heads have neither weight nor similarity: they read nothing")
        wanted = {"bias": (actions,), "weight": (actions, width), "similarity": (actions,)}
        for name, shape in wanted.items():
            tensor: Tensor | None = getattr(self, name)
            if tensor is not None and tuple(tensor.shape) != shape:
                raise ValueError(f"the heads' {name} must have shape {shape}, has {tuple(tensor.shape)}")
            if tensor is not None and not tensor.isfinite().all():
                raise ValueError(f"the heads' {name} is not finite")
        if self.user_bias is not None and not (self.user_bias.dim() == 1 and self.user_bias.isfinite().all()):
            raise ValueError("the heads' user_bias must be a row of finite numbers")

    def to(self, device: torch.device) -> "Heads":
        """The same in float32 on a device."""
        weight = None if self.weight is None else self.weight.to(device, torch.float32)
        similarity = None if self.similarity is None else self.similarity.to(device, torch.float32)
        return Heads(self.bias.to(device, torch.float32), weight, similarity, self.user_bias)

    def logits(self, pooled: Tensor, cosines: Tensor | None) -> Tensor:
        """[candidates, actions] from pooled states [candidates, width] and cosines [candidates] (None counts as 0)."""
        logits = self.bias.expand(len(pooled), -1)
        if self.weight is not None:
            logits = logits + pooled @ self.weight.T
        if self.similarity is not None and cosines is not None:
            logits = logits + cosines[:, None] * self.similarity
        return logits


def probabilities(logits: Tensor, calibration: tuple[Platt, ...]) -> Tensor:
    """[candidates, actions] from logits of that shape, each action by its own calibration."""
    slopes = logits.new_tensor([platt.slope for platt in calibration])
    intercepts = logits.new_tensor([platt.intercept for platt in calibration])
    return torch.sigmoid(logits * slopes + intercepts)
