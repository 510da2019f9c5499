"""What is minimised: cross-entropy per action, or a softmax over candidates corrected for how they were drawn.

Every loss is a sum over candidates divided by a number that depends on the whole step; so parts of a step, computed
one after another or by several processes, add up to the same gradient. Of in_batch_softmax only the divisor is the
whole step's: each part compares its users with the items of that part alone, as is usual where contrastive training is
spread, so that more parts mean fewer rivals and another gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from services.trainer.batches import Batch
from services.trainer.corpus import Example
from services.trainer.recipe import LossName, TrainRecipe
from services.trainer.training_model import Logits


@dataclass(frozen=True, slots=True, eq=False)
class Objective:
    """A loss with all its settings. Softmax losses are about the first action; the others keep cross-entropy."""

    kind: LossName
    action_weights: Tensor
    """[actions]."""
    propensities: Tensor
    """[places + 1] by position, clipped from below; the first, for an unknown position, is 1."""
    log_q: Tensor | None
    """[items of the corpus]: log of the chance that an item is drawn as a candidate; None = no correction."""

    def to(self, device: torch.device) -> "Objective":
        """The same on a device."""
        log_q = None if self.log_q is None else self.log_q.to(device)
        return Objective(self.kind, self.action_weights.to(device), self.propensities.to(device), log_q)

    def counts(self, examples: Sequence[Example]) -> Tensor:
        """[actions], at least 1 each: what the sums over the candidates of a whole step are divided by."""
        labels = np.concatenate([example.labels for example in examples])
        known = np.isfinite(labels).sum(axis=0)
        if self.kind != "bce":
            known[0] = (labels[:, 0] == 1).sum()
        return torch.from_numpy(np.maximum(known, 1).astype(np.float32)).to(self.action_weights.device)

    def __call__(self, logits: Logits, batch: Batch, counts: Tensor) -> Tensor:
        """The part of a step's loss that this batch brings, a scalar."""
        weights = self._weights(batch.positions)
        sums = cross_entropy_sums(logits.shown, batch.labels, weights)
        if self.kind != "bce":
            sums = torch.cat([self._softmax_sum(logits, batch, weights)[None], sums[1:]])
        return (self.action_weights * sums / counts).sum()

    def _weights(self, positions: Tensor) -> Tensor:
        """[candidates]: one over the chance that a candidate's place was looked at."""
        return 1 / self.propensities[positions.clamp(max=len(self.propensities) - 1)]

    def _softmax_sum(self, logits: Logits, batch: Batch, weights: Tensor) -> Tensor:
        acted = batch.labels[:, 0] == 1
        shown = logits.shown[:, 0] - self._correction(batch.item_rows)[batch.item_of]
        slates = batch.slate_of[acted]
        if self.kind == "slate_softmax":
            others = shown.expand(len(slates), -1)
            rivals = (slates[:, None] == batch.slate_of[None, :]) & (batch.labels[:, 0] == 0)
        else:
            if logits.pairs is None:
                raise ValueError("in_batch_softmax needs two towers")
            others = (logits.pairs - self._correction(batch.item_rows))[batch.context_of[acted]]
            own = torch.zeros(batch.slates, len(batch.item_rows), dtype=torch.bool, device=acted.device)
            own[slates, batch.item_of[acted]] = True
            rivals = ~own[slates]
        return (softmax_losses(shown[acted], others, rivals) * weights[acted]).sum()

    def _correction(self, item_rows: Tensor) -> Tensor:
        """[items of the batch]."""
        return torch.zeros(len(item_rows), device=item_rows.device) if self.log_q is None else self.log_q[item_rows]


def objective_of(recipe: TrainRecipe, examples: Sequence[Example], items: int) -> Objective:
    """The loss of a recipe; `examples` are those trained on, of a corpus with so many items."""
    actions = examples[0].labels.shape[1]
    softmax = recipe.loss != "bce"
    propensities = np.maximum([1.0, *recipe.propensities], recipe.least_propensity)
    return Objective(
        kind=recipe.loss,
        action_weights=torch.tensor(recipe.action_weights or (1.0,) * actions),
        propensities=torch.from_numpy(propensities.astype(np.float32)),
        log_q=torch.from_numpy(log_frequencies(examples, items)) if softmax and recipe.log_q else None,
    )


def log_frequencies(examples: Sequence[Example], items: int) -> NDArray[np.float32]:
    """[items]: log of each item's share of all candidates, one added to each count.

    The draws are not asked how they were made but counted, as Yi et al. (2019) do on a stream; so the correction
    holds for logged slates as well as for sampled ones.
    """
    counts = np.bincount(np.concatenate([example.candidates for example in examples]), minlength=items) + 1.0
    shares: NDArray[np.float32] = np.log(counts / counts.sum()).astype(np.float32)
    return shares


def cross_entropy_sums(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """[actions]: summed cross-entropy over the candidates whose label is a number.

    What was done counts by its weight, one over the chance that it was seen; what was not done counts once. Joachims
    et al. (2017) do so for ranking; here the odds come out as if all places were looked at, as long as acts are rare.

    Args:
        logits: [candidates, actions].
        labels: the same shape; not a number = not known.
        weights: [candidates].
    """
    known = labels.isfinite()
    wanted = torch.where(known, labels, 0.0)
    each = binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (each * known * torch.lerp(torch.ones_like(wanted), weights[:, None].expand_as(wanted), wanted)).sum(0)


def softmax_losses(acted: Tensor, others: Tensor, rivals: Tensor) -> Tensor:
    """[positives]: minus the log of each positive's share among itself and its rivals (sampled softmax).

    Args:
        acted: [positives], logits less the log of the drawing chance.
        others: [positives, many], the same of what they may be compared with.
        rivals: bool of that shape: which of those to compare with. Without any the loss is 0.
    """
    against = others.masked_fill(~rivals, float("-inf"))
    return torch.logsumexp(torch.cat([acted[:, None], against], dim=1), dim=1) - acted
