"""Where a search for hyper-parameters may look: for fields of a recipe, ranges or lists of values.

A file of one's own is TOML; a table is named after a field of the recipe, or of its layout:

    [learning_rate]
    low = 1e-4
    high = 1e-3
    log = true            # orders of magnitude count alike; without it, differences do

    [rank]                # between whole numbers, both included
    low = 4
    high = 32

    [targets]             # or one of these
    choices = [["query", "value"], ["query", "key", "value", "dense"]]

    [layout.max_user_tokens]
    choices = [64, 128]

All other fields stay as the recipe has them that the search starts from.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.trainer.recipe import RecipeError, TrainRecipe
from shared.model.base import Base
from shared.model.records import RecordError, decoded, encoded, parsed

Value = Any
"""Of a field of a recipe, as JSON has it."""
_KEPT = ("seed", "metric", "most_valid_slates")
"""Trials would not be measured alike, or the luckiest would win."""


@dataclass(frozen=True, slots=True)
class Between:
    """Numbers, both ends included; whole ones where the field is a whole number."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of some values."""

    choices: tuple[Value, ...]


Space = Mapping[str, Between | OneOf]
"""By field of a recipe; those of its layout begin with "layout."."""


def default_space(recipe: TrainRecipe, base: Base) -> Space:
    """What matters most for a model of this layout: where candidates meet the user stays as the recipe has it."""
    two_towers = recipe.layout.split_depth == base.layers
    losses = ("bce", "slate_softmax", "in_batch_softmax") if two_towers else ("bce", "slate_softmax")
    return {
        "learning_rate": Between(5e-5, 2e-3, log=True),
        "heads_learning_rate": Between(5e-4, 3e-2, log=True),
        "rank": OneOf((4, 8, 16, 32)),
        "similarity_start": Between(2.0, 20.0, log=True),
        "loss": OneOf(losses),
        "batch_slates": OneOf((8, 16, 32, 64)),
    }


def read_space(path: Path, recipe: TrainRecipe) -> Space:
    """The space in a TOML file, whose fields and values are such as `recipe` could have.

    Raises:
        RecipeError: when it is none; the text names the field.
        OSError: when it cannot be read.
    """
    try:
        space = {name: _part(name, given) for name, given in _flat(tomllib.loads(path.read_bytes().decode()))}
        if not space:
            raise RecordError("it names no field of a recipe")
        for name, part in space.items():
            if name in _KEPT:
                raise RecordError(f"its field {name!r} cannot be searched: all trials must be measured alike")
            for value in part.choices if isinstance(part, OneOf) else (part.low, part.high):
                with_values(recipe, {name: value})
    except (RecordError, ValueError) as error:
        raise RecipeError(f"{path.name} is no search space: {error}") from error
    return space


def with_values(recipe: TrainRecipe, values: Mapping[str, Value]) -> TrainRecipe:
    """The recipe with other values in some fields.

    Raises:
        RecordError: naming a field that a recipe does not have, or whose value it cannot take.
    """
    fields: Any = parsed(encoded(recipe))
    for name, value in values.items():
        inside = fields["layout"] if name.startswith("layout.") else fields
        inside[name.removeprefix("layout.")] = value
    return decoded(TrainRecipe, fields)


def value_in(recipe: TrainRecipe, name: str) -> Value:
    """What a recipe has in a field of a space."""
    fields: Any = parsed(encoded(recipe))
    return (fields["layout"] if name.startswith("layout.") else fields)[name.removeprefix("layout.")]


def _flat(tables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, table in tables.items():
        if name == "layout" and isinstance(table, dict):
            yield from ((f"layout.{inner}", given) for inner, given in table.items())
        else:
            yield name, table


def _part(name: str, given: Any) -> Between | OneOf:
    if isinstance(given, dict) and given.keys() == {"choices"}:
        choices = given["choices"]
        if isinstance(choices, list) and choices:
            return OneOf(tuple(choices))
    elif isinstance(given, dict) and {"low", "high"} <= given.keys() <= {"low", "high", "log"}:
        try:
            between = decoded(Between, {"log": False, **given})
        except RecordError as error:
            raise RecordError(f"in {name}, {error}") from error
        if between.low < between.high and (between.low > 0 or not between.log):
            return Between(given["low"], given["high"], between.log)  # whole numbers stay whole
    raise RecordError(f"{name} needs low and high (low below high, above 0 with log = true), or a list of choices")
