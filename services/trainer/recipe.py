"""A recipe: every number that fine-tuning depends on besides the data and the base, as one value.

What is not in a recipe does not change the result; so a recipe, the data's fingerprint and the base's checksum say
how a model came about. Files may leave fields out, which then have their defaults; what is misspelt is refused.
"""

import json
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch.nn import Linear

from services.trainer.corpus import Example
from services.trainer.propensities import places_in
from shared.model.base import Base
from shared.model.manifest import InputLayout
from shared.model.records import RecordError, decoded, encoded, parsed

Method = Literal["lora", "adalora", "prefix"]
LossName = Literal["bce", "slate_softmax", "in_batch_softmax"]
MetricName = Literal["auc", "slate_auc", "ndcg@10", "loss"]
PropensitySource = Literal["recipe", "data"]
Precision = Literal["auto", "float32", "bfloat16"]
_OF_A_SENTENCE_ENCODER = InputLayout(candidate_offset=0, candidate_cls=True, candidate_token_type=0, split_depth=4)
"""Candidates are read as the base was trained to read texts, so that training begins with what it knows."""
_LISTED = 100
"""Of a slate's places; a position beyond is taken for the last one listed."""


class RecipeError(ValueError):
    """A recipe that cannot be read or followed; the text is one sentence for whoever wrote it."""


@dataclass(frozen=True, slots=True)
class TrainRecipe:
    """How to fine-tune. Slates are examples of a corpus; a step is one change of the weights."""

    layout: InputLayout = _OF_A_SENTENCE_ENCODER
    seed: int = 0

    method: Method = "lora"
    rank: int = 8
    """Of the adapter; AdaLoRA begins with half as much again and prunes to this on average."""
    alpha: float = 16.0
    lora_dropout: float = 0.0
    """On a CPU, drawing it costs a sixth of a step."""
    targets: tuple[str, ...] = ("query", "key", "value", "dense")
    """Names of the linear layers that are adapted."""
    adapted_layers: tuple[int, ...] = ()
    """Numbers of the transformer layers that are adapted; empty = all. Those below split_depth left out, items keep
    the states that they have in the base."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank) in place of alpha / rank (Kalajdzievski, 2023)."""
    hidden_dropout: float = 0.0
    """Dropout of the base's own hidden states."""

    similarity_start: float = 10.0
    """What the cosine between user and candidate is multiplied by at the start."""
    state_weight: bool = True
    """Whether the heads also read the candidate's pooled state; its weights start at zero."""
    user_bias_start: float = 0.0
    """Subtracted, above the split, from the scores of a candidate's tokens to the user's; learnt per layer. Large
    values (6 and more) let training begin as if candidates never met the user. 0 = there is no such number."""

    loss: LossName = "bce"
    """bce: every label by itself. slate_softmax: what was chosen against the rest of its slate. in_batch_softmax:
    against all items of the batch, which are those of one part of a step: with accumulation, or several processes, a
    user is compared with fewer items, and the result is another."""
    log_q: bool = True
    """Softmax losses: correct for how often an item is drawn as a candidate (Yi et al., 2019)."""
    action_weights: tuple[float, ...] = ()
    """One for each action of the corpus; empty = 1 each."""
    propensities: tuple[float, ...] = ()
    """Chance that a place of the slate is looked at, the first place first; empty = positions do not count."""
    propensities_from: PropensitySource = "recipe"
    """recipe: the list above. data: how often what stood at each place of the slates trained on was chosen, over the
    same of the first place, smoothed; the list stays empty. Right only where the order of slates was random: where the
    best stood first, its merit would be taken for its place."""
    least_propensity: float = 0.1
    """Smaller propensities count as this, which limits the weight of a single act."""
    most_candidates: int = 0
    """Larger slates are cut to their positives and other candidates, drawn anew each epoch; 0 = never."""

    batch_slates: int = 32
    """Per step, over all processes."""
    accumulation: int = 1
    """Parts that a step is computed in, where memory is short; for in_batch_softmax each is a batch of its own."""
    epochs: float = 3.0
    most_steps: int = 0
    """0 = as many as the epochs take."""
    learning_rate: float = 3e-4
    heads_learning_rate: float = 3e-3
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    """Of the steps."""
    clip_norm: float = 1.0
    precision: Precision = "auto"
    """auto = bfloat16 by autocast on a GPU, float32 elsewhere."""

    evaluate_every: int = 100
    """Steps; the last step is always evaluated."""
    checkpoint_every: int = 100
    patience: int = 5
    """Evaluations without a better one after which training ends; 0 = never."""
    metric: MetricName = "auc"
    """What "better" means, of the first action: AUC over all candidates, AUC or nDCG@10 as a mean over slates, or the
    least log loss."""
    most_valid_slates: int = 2000

    fusion: bool = True
    """Whether signals of crowd and time are fitted to validation beside the model, and shipped where they help."""

    def check(self, base: Base, actions: int, processes: int = 1) -> None:
        """Whether `base`, a corpus with so many actions and so many processes can follow it.

        Raises:
            RecipeError: saying what to change.
        """
        try:
            self.layout.check(base.positions, base.layers)
        except ValueError as error:
            raise RecipeError(f"{error}; correct the recipe's layout") from error
        for holds, why in (*self._adapter_rules(base), *self._loss_rules(base, actions), *self._run_rules(processes)):
            if not holds:
                raise RecipeError(why)

    def _adapter_rules(self, base: Base) -> tuple[tuple[bool, str], ...]:
        meets = self.layout.split_depth < base.layers
        linear = [f".{name}" for name, module in base.bert.named_modules() if isinstance(module, Linear)]
        missing = [one for one in self.targets if not any(name.endswith(f".{one}") for name in linear)]
        return (
            (
                self.method != "prefix",
                "prefix tuning is not supported: its virtual tokens belong neither to the user nor to a candidate, so "
                "the isolation mask has no place for them and the ranker could not serve it; use method lora",
            ),
            (self.rank >= 1 and bool(self.targets), "rank must be 1 or more and targets must name a layer"),
            (not missing, f"targets names {', '.join(missing)}, which is no linear layer of the base"),
            (self.alpha > 0, "alpha must be above 0"),
            (all(0 <= one < base.layers for one in self.adapted_layers), f"adapted_layers are 0 to {base.layers - 1}"),
            (self.user_bias_start >= 0, "user_bias_start must be 0 or more"),
            (
                meets or self.user_bias_start == 0,
                "user_bias_start needs layers in which candidates meet the user; lower split_depth",
            ),
            (
                meets or self.layout.pooling == "mean",
                "a model whose candidates never meet the user compares means; set pooling to mean",
            ),
            (0 <= self.lora_dropout < 1 and 0 <= self.hidden_dropout < 1, "dropout must be 0 or more and below 1"),
        )

    def _loss_rules(self, base: Base, actions: int) -> tuple[tuple[bool, str], ...]:
        two_tower = self.layout.split_depth == base.layers
        return (
            (
                self.loss != "in_batch_softmax" or two_tower,
                f"in_batch_softmax compares every user with every item, which only two towers afford; "
                f"set split_depth to {base.layers}",
            ),
            (len(self.action_weights) in (0, actions), f"action_weights must have {actions} numbers, or none"),
            (all(weight >= 0 for weight in self.action_weights), "action_weights must be 0 or more"),
            (all(0 < chance <= 1 for chance in self.propensities), "propensities must be above 0 and at most 1"),
            (
                self.propensities_from == "recipe" or not self.propensities,
                "propensities_from is data, so that propensities must be empty; leave one of them out",
            ),
            (len(self.propensities) <= _LISTED, f"propensities must be {_LISTED} at most"),
            (0 < self.least_propensity <= 1, "least_propensity must be above 0 and at most 1"),
            (self.most_candidates == 0 or self.most_candidates >= 2, "most_candidates must be 0, or 2 and more"),
        )

    def _run_rules(self, processes: int) -> tuple[tuple[bool, str], ...]:
        parts = self.accumulation * processes
        return (
            (self.accumulation >= 1 and self.batch_slates >= 1, "accumulation and batch_slates must be 1 or more"),
            (
                self.batch_slates % parts == 0,
                f"batch_slates must be a multiple of accumulation x processes, which is {parts}",
            ),
            (self.epochs > 0 and self.most_steps >= 0, "epochs must be above 0 and most_steps 0 or more"),
            (self.learning_rate > 0 and self.heads_learning_rate > 0, "learning rates must be above 0"),
            (0 <= self.warmup_share < 1, "warmup_share must be 0 or more and below 1"),
            (self.clip_norm > 0 and self.weight_decay >= 0, "clip_norm must be above 0 and weight_decay 0 or more"),
            (min(self.evaluate_every, self.checkpoint_every) >= 1, "evaluate_every and checkpoint_every start at 1"),
            (self.most_valid_slates >= 1, "most_valid_slates must be 1 or more"),
        )


def with_propensities(recipe: TrainRecipe, train: Sequence[Example]) -> TrainRecipe:
    """The recipe with its propensities as a list, whether they are to come from data or not.

    Raises:
        RecipeError: when they are, and the slates do not tell what was chosen at which place.
    """
    if recipe.propensities_from == "recipe":
        return recipe
    found = places_in(train).propensities(recipe.least_propensity, _LISTED)
    if not found:
        raise RecipeError(
            "propensities_from is data, but no slate of train tells positions and what was chosen and passed over; "
            "leave it out, or give propensities as a list"
        )
    return replace(recipe, propensities=found, propensities_from="recipe")


def read_recipe(path: Path) -> TrainRecipe:
    """The recipe in a .json or .toml file.

    Raises:
        RecipeError: when it is none; the text names the field.
        OSError: when it cannot be read.
    """
    try:
        content = path.read_bytes()
        given: Any = tomllib.loads(content.decode()) if path.suffix == ".toml" else parsed(content)
        if not isinstance(given, dict) or not isinstance(given.get("layout", {}), dict):
            raise RecordError("it and its layout must be objects")
        defaults: Any = parsed(encoded(TrainRecipe()))
        layout = {**defaults["layout"], **given.get("layout", {})}
        return decoded(TrainRecipe, {**defaults, **given, "layout": layout})
    except (RecordError, ValueError) as error:
        raise RecipeError(f"{path.name} is no recipe: {error}") from error


def write_recipe(path: Path, recipe: TrainRecipe) -> None:
    """Writes a .json or .toml file that `read_recipe` reads."""
    path.write_bytes(_as_toml(recipe) if path.suffix == ".toml" else encoded(recipe))


def _as_toml(recipe: TrainRecipe) -> bytes:
    """Texts, numbers and lists of them look the same in JSON and in TOML."""
    fields = asdict(recipe)
    layout = fields.pop("layout")
    lines = [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
    lines += ["", "[layout]", *(f"{name} = {json.dumps(value)}" for name, value in layout.items())]
    return ("\n".join(lines) + "\n").encode()
