"""The adapter in training: made around a copy of the base by peft, saved as the plain LoRA that the ranker takes.

AdaLoRA (Zhang et al., 2023) learns B diag(E) A and prunes entries of E; E multiplied into A makes it a LoRA adapter
whose product is the same, so serving needs to know one kind only.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from peft import AdaLoraConfig, LoraConfig, PeftModel
from torch import Tensor

from services.trainer.recipe import TrainRecipe
from shared.model.adapter import with_adapter
from shared.model.base import Base

_NAME = "default"
_NOTHING = 1e-5
"""What peft's AdaLoRA adds to the rank that it divides by."""
_ORTHOGONAL_WEIGHT = 0.5
"""Of AdaLoRA's regularisation, the value of its paper's code."""


@dataclass(frozen=True, slots=True)
class Importance:
    """What AdaLoRA has found out so far about which ranks to keep; empty for LoRA."""

    sensitivity: dict[str, Tensor] = field(default_factory=dict)
    mean_sensitivity: dict[str, Tensor] = field(default_factory=dict)
    uncertainty: dict[str, Tensor] = field(default_factory=dict)
    kept: dict[str, list[bool]] = field(default_factory=dict)


def adapted(base: Base, recipe: TrainRecipe, steps: int) -> PeftModel:
    """A copy of the base with a new adapter, drawn from torch's generator; it computes what the base does.

    Args:
        base: what is adapted; it stays as it is.
        recipe: checked; its method is lora or adalora.
        steps: of the training, by which AdaLoRA plans its pruning.
    """
    settings: dict[str, Any] = {
        "lora_alpha": recipe.alpha,
        "lora_dropout": recipe.lora_dropout,
        "target_modules": list(recipe.targets),
        "layers_to_transform": list(recipe.adapted_layers) or None,
        "base_model_name_or_path": base.base_id,
    }
    if recipe.method == "lora":
        config = LoraConfig(r=recipe.rank, use_rslora=recipe.rslora, **settings)
    else:
        config = AdaLoraConfig(
            init_r=_first_rank(recipe),
            target_r=recipe.rank,
            tinit=steps // 10,
            tfinal=steps // 4,
            total_step=max(steps, 1),
            **settings,
        )
    return with_adapter(copy.deepcopy(base.bert), config)


def allocate(model: PeftModel, step: int) -> None:
    """AdaLoRA's pruning after step number `step`, before its gradients are dropped; nothing for LoRA."""
    if _is_adaptive(model):
        tuner: Any = model.base_model
        tuner.update_and_allocate(step)


def regularisation(model: PeftModel) -> Tensor | None:
    """What AdaLoRA adds to the loss, so that its factors stay near orthogonal; None for LoRA."""
    if not _is_adaptive(model):
        return None
    distances = []
    for layer in _layers(model):
        a, b = layer.lora_A[_NAME], layer.lora_B[_NAME]
        unit = torch.eye(len(a), device=a.device)
        distances += [torch.linalg.norm(product - unit) for product in (a @ a.T, b.T @ b)]
    return _ORTHOGONAL_WEIGHT * torch.stack(distances).mean()


def importance(model: PeftModel) -> Importance:
    """What must be restored beside the weights for AdaLoRA to go on as it would have."""
    if not _is_adaptive(model):
        return Importance()
    tuner: Any = model.base_model
    allocator = tuner.rankallocator
    kept = model.peft_config[_NAME].rank_pattern or {}  # type: ignore[attr-defined]
    return Importance(dict(allocator.ipt), dict(allocator.exp_avg_ipt), dict(allocator.exp_avg_unc), dict(kept))


def restore_importance(model: PeftModel, found: Importance) -> None:
    """Undoes `importance`."""
    if _is_adaptive(model):
        tuner: Any = model.base_model
        allocator = tuner.rankallocator
        allocator.ipt, allocator.exp_avg_ipt = dict(found.sensitivity), dict(found.mean_sensitivity)
        allocator.exp_avg_unc = dict(found.uncertainty)
        model.peft_config[_NAME].rank_pattern = dict(found.kept) or None  # type: ignore[attr-defined]


def save_adapter(model: PeftModel, base: Base, recipe: TrainRecipe, folder: Path) -> None:
    """Writes the adapter to `folder` as peft's save_pretrained does for LoRA."""
    plain = model
    if _is_adaptive(model):
        plain = adapted(base, _as_lora(recipe), 0)
        with torch.no_grad():
            for mine, theirs in zip(_layers(plain), _layers(model), strict=True):
                rank = theirs.ranknum[_NAME] + _NOTHING
                mine.lora_A[_NAME].weight.copy_(theirs.lora_A[_NAME] * theirs.lora_E[_NAME])
                mine.lora_B[_NAME].weight.copy_(theirs.lora_B[_NAME] * theirs.scaling[_NAME] / rank)
    # What to do with embeddings it would otherwise ask the hub.
    plain.save_pretrained(str(folder), save_embedding_layers=False)


def _as_lora(recipe: TrainRecipe) -> TrainRecipe:
    """With a scale of 1, since AdaLoRA's own is multiplied into the weights."""
    rank = _first_rank(recipe)
    return replace(recipe, method="lora", rank=rank, alpha=float(rank), rslora=False)


def _first_rank(recipe: TrainRecipe) -> int:
    return recipe.rank + (recipe.rank + 1) // 2


def _is_adaptive(model: PeftModel) -> bool:
    return isinstance(model.peft_config[_NAME], AdaLoraConfig)


def _layers(model: PeftModel) -> Iterator[Any]:
    """Every adapted linear layer, in the base's order."""
    return (module for module in model.modules() if hasattr(module, "lora_A") and hasattr(module, "lora_B"))
