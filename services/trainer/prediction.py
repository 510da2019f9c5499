"""What a model in training says of slates, and how good that is: enough to stop early and to calibrate by.

Full evaluation is a matter of its own; here is one number per model, cheap enough to be computed while it trains.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from services.trainer.batches import CorpusTokens, make_batch
from services.trainer.corpus import Example
from services.trainer.distributed import Processes
from services.trainer.ranking_metrics import placements, slate_figures, slates_of
from services.trainer.recipe import MetricName, Precision
from services.trainer.training_model import TrainingModel

_CANDIDATES_AT_ONCE = {"cpu": 256, "cuda": 8192}


def predict(
    model: TrainingModel, examples: Sequence[Example], tokens: CorpusTokens, processes: Processes
) -> list[NDArray[np.float32]]:
    """Logits [candidates, actions] of each example, not calibrated; every process gets all. Leaves the model's mode."""
    mine = processes.share(examples)
    was_training = model.training
    model.eval()
    found: list[NDArray[np.float32] | None] = [None] * len(mine)
    with torch.no_grad(), autocast(model):
        for rows in _runs(mine, _CANDIDATES_AT_ONCE[model.device.type]):
            batch = make_batch([mine[row] for row in rows], tokens).to(model.device)
            logits = model(batch).shown.cpu().numpy()
            ends = np.cumsum([len(mine[row].candidates) for row in rows])
            for row, part in zip(rows, np.split(logits, ends[:-1]), strict=True):
                found[row] = part
    model.train(was_training)
    return processes.gathered([part for part in found if part is not None])


def autocast(model: TrainingModel) -> torch.autocast:
    """bfloat16 where the recipe of the model asks for it."""
    return torch.autocast(model.device.type, torch.bfloat16, enabled=in_bfloat16(model.recipe.precision, model.device))


def in_bfloat16(precision: Precision, device: torch.device) -> bool:
    """Whether matrix products are in bfloat16."""
    return precision == "bfloat16" or (precision == "auto" and device.type == "cuda")


def _runs(examples: Sequence[Example], most: int) -> Iterator[list[int]]:
    """Row numbers by size of the slate, in runs of at most so many candidates; a larger slate is a run by itself."""
    order = sorted(range(len(examples)), key=lambda row: len(examples[row].candidates))
    run: list[int] = []
    held = 0
    for row in order:
        size = len(examples[row].candidates)
        if run and held + size > most:
            yield run
            run, held = [], 0
        run.append(row)
        held += size
    if run:
        yield run


def measured(name: MetricName, logits: Sequence[NDArray[np.float32]], examples: Sequence[Example]) -> float:
    """The metric of the first action, greater is better: the log loss is negative. 0.5 where an AUC is not defined.

    Raises:
        ValueError: when a logit is not finite.
    """
    slates = slates_of([part[:, 0] for part in logits], [example.labels[:, 0] for example in examples]).labelled()
    positive = slates.labels > 0
    if name == "loss":
        return -float(np.mean(np.logaddexp(0, slates.scores) - slates.scores * positive)) if len(positive) else 0.0
    if name == "auc":
        each = placements(slates.scores, positive)[positive]
    else:
        figures = slate_figures(slates, ndcg_at=(10,))
        each = figures.ndcg[0] if name == "ndcg@10" else figures.auc
    each = each[np.isfinite(each)]
    return float(each.mean()) if len(each) else 0.5
