"""Where training begins: at the base, or at a version that was trained before.

A version whose candidates never meet the user is learnt fast, and one in which they do begins as its equal when it
has its weights and large user_bias_start: so the deep interaction learns a correction instead of everything anew.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from safetensors.torch import load

from services.trainer.recipe import RecipeError, TrainRecipe
from services.trainer.training_model import TrainingModel
from shared.model.base import Base
from shared.model.manifest import InputLayout
from shared.model.version_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, HEADS, Place

_TEXT = ("candidate_offset", "candidate_cls", "candidate_token_type")
"""What of a layout decides what the weights were trained to read."""


@dataclass(frozen=True, slots=True)
class Start:
    """A version to go on from."""

    name: str
    """"<model>/<version>"."""
    layout: InputLayout
    actions: tuple[str, ...]
    layers: int
    """Of its base."""
    base_sha256: str
    config: bytes
    """adapter_config.json, as peft writes it."""
    adapter: bytes
    heads: bytes

    @property
    def fingerprint(self) -> str:
        """Of its weights."""
        return hashlib.blake2b(self.adapter + self.heads, digest_size=8).hexdigest()

    def check(self, base: Base, layout: InputLayout) -> None:
        """Whether a model of this base and layout can begin there.

        Raises:
            RecipeError: saying why not.
        """
        if self.base_sha256 != base.sha256:
            raise RecipeError(f"{self.name} was trained on another base; start from a version of {base.base_id!a}")
        if [getattr(self.layout, one) for one in _TEXT] != [getattr(layout, one) for one in _TEXT]:
            raise RecipeError(f"{self.name} reads candidates in another layout; give the recipe its {', '.join(_TEXT)}")

    def shaping(self, recipe: TrainRecipe) -> TrainRecipe:
        """The recipe with an adapter of the same shape as the version's."""
        config = self._config
        return replace(
            recipe,
            method="lora",
            rank=config["r"],
            alpha=float(config["lora_alpha"]),
            rslora=bool(config.get("use_rslora")),
            targets=tuple(sorted(config["target_modules"])),
            adapted_layers=tuple(config.get("layers_to_transform") or ()),
        )

    @property
    def _config(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.config)
        return found

    def give_to(self, model: TrainingModel, actions: Sequence[str]) -> None:
        """Puts its weights into a new model of these actions; layers that it did not adapt begin at the base, and
        actions that it did not know as the recipe says.

        Raises:
            RecipeError: when its adapter is of other layers, targets or rank.
        """
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        given = load(self.adapter)
        wanted = get_peft_model_state_dict(model.adapter, save_embedding_layers=False)
        if any(name not in wanted or wanted[name].shape != given[name].shape for name in given):
            raise RecipeError(
                f"the adapter of {self.name} does not fit into the recipe's; give the recipe its rank and targets, and "
                "adapted_layers that hold its own"
            )
        config, recipe = self._config, model.recipe
        ratio = _scale(config["r"], config["lora_alpha"], rslora=bool(config.get("use_rslora"))) / _scale(
            recipe.rank, recipe.alpha, rslora=recipe.rslora
        )
        scaled = {name: tensor * ratio if ".lora_B." in name else tensor for name, tensor in given.items()}
        set_peft_model_state_dict(model.adapter, {**wanted, **scaled})
        self._give_heads(model, actions)

    def _give_heads(self, model: TrainingModel, actions: Sequence[str]) -> None:
        heads = load(self.heads)
        rows = [(actions.index(name), row) for row, name in enumerate(self.actions) if name in actions]
        # Two towers read unit vectors with the weight, others the states themselves.
        same = (self.layout.split_depth == self.layers) == model.two_tower
        with torch.no_grad():
            for mine, theirs in rows:
                if "similarity" in heads:
                    model.similarity[mine] = heads["similarity"][theirs]
                if model.weight is not None and "weight" in heads and same:
                    model.weight[mine] = heads["weight"][theirs]
            bias = heads.get("user_bias")
            if model.user_bias is not None and bias is not None and bias.shape == model.user_bias.shape:
                model.user_bias.copy_(bias)


def _scale(rank: int, alpha: float, *, rslora: bool) -> float:
    return alpha / (math.sqrt(rank) if rslora else rank)


def start_at(place: Place, layers: int) -> Start:
    """The version at `place`, on a base of so many layers.

    Raises:
        VersionError: when it is not whole.
        RecipeError: when it has no adapter to go on from.
    """
    files = place.read()
    manifest, contents = files.manifest, files.contents
    if not manifest.adapted:
        raise RecipeError(f"{manifest.name}/{manifest.version} has no adapter; leave the start out")
    return Start(
        f"{manifest.name}/{manifest.version}",
        manifest.layout,
        manifest.actions,
        layers,
        manifest.base_sha256,
        contents[ADAPTER_CONFIG],
        contents[ADAPTER_WEIGHTS],
        contents[HEADS],
    )
