"""Model versions made for tests: random heads, and random adapters that change every score far beyond rounding."""

import copy
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from transformers import BertModel

from shared.model.base import Base
from shared.model.heads import Heads
from shared.model.manifest import InputLayout, ModelManifest, Platt
from shared.model.versions import write_version

LAYOUT = InputLayout(max_user_tokens=48, max_candidate_tokens=16, candidate_offset=48, split_depth=2)


def manifest_for(base: Base, **changes: Any) -> ModelManifest:
    """Of version v1 of the model "news", with two actions; `changes` replace fields."""
    fields = {
        "name": "news",
        "version": "v1",
        "base_id": base.base_id,
        "base_sha256": base.sha256,
        "layout": LAYOUT,
        "actions": ("click", "hide"),
        "calibration": (Platt(1.5, -0.25), Platt()),
        "calibrated": True,
    }
    return ModelManifest(**{**fields, **changes})


def random_heads(manifest: ModelManifest, base: Base, seed: int = 0) -> Heads:
    """Heads that read both the state and the cosine, and lower what candidates read of their user."""
    numbers = torch.Generator().manual_seed(seed)
    actions = len(manifest.actions)
    return Heads(
        bias=torch.randn(actions, generator=numbers),
        weight=0.2 * torch.randn(actions, base.width, generator=numbers),
        similarity=torch.randn(actions, generator=numbers),
        user_bias=torch.randn(base.layers - manifest.layout.split_depth, generator=numbers),
    )


def save_random_adapter(folder: Path, base: Base, seed: int = 0, **lora: Any) -> BertModel:
    """Saves a LoRA adapter as a trainer would; returns the base with it, unmerged. `lora`: fields of LoraConfig."""
    settings = {"r": 4, "target_modules": ["query", "key", "value", "dense"], **lora}
    adapted = PeftModel(copy.deepcopy(base.bert), LoraConfig(**settings))
    numbers = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:  # among them lora_B, which begins as zero, where an adapter changes nothing
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=numbers))
    adapted.save_pretrained(folder)
    bert: BertModel = adapted.get_base_model()
    return bert.eval()


def make_version(registry: Path, base: Base, adapter: Path | None = None, **changes: Any) -> Path:
    """Writes a version with random heads; returns its folder. `changes` replace fields of the manifest."""
    manifest = manifest_for(base, adapted=adapter is not None, **changes)
    return write_version(registry / manifest.name, manifest, random_heads(manifest, base), adapter)
