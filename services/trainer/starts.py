"""Where training begins: at the base, or at a version that was trained before.

A version whose candidates never meet the user is learnt fast, and one in which they do begins as its equal when it
has its weights and large user_bias_start: so the deep interaction learns a correction instead of everything anew.
"""

import hashlib
from dataclasses import dataclass

import torch
from safetensors.torch import load

from services.trainer.recipe import RecipeError
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
    layers: int
    """Of its base."""
    base_sha256: str
    config: bytes
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

    def give_to(self, model: TrainingModel) -> None:
        """Puts its weights into a new model; layers that it did not adapt begin at the base.

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
        set_peft_model_state_dict(model.adapter, {**wanted, **given})
        heads = load(self.heads)
        with torch.no_grad():
            model.similarity.copy_(heads["similarity"])
            # Two towers read unit vectors with it, others the states themselves.
            same = (self.layout.split_depth == self.layers) == model.two_tower
            if model.weight is not None and "weight" in heads and same:
                model.weight.copy_(heads["weight"])


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
        layers,
        manifest.base_sha256,
        contents[ADAPTER_CONFIG],
        contents[ADAPTER_WEIGHTS],
        contents[HEADS],
    )
