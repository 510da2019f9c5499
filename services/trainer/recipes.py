"""Recipes by name, for a base of any depth: what to begin with, before anything is tuned."""

from dataclasses import replace
from pathlib import Path

from services.trainer.recipe import RecipeError, TrainRecipe, read_recipe
from shared.model.base import Base
from shared.model.manifest import InputLayout

QUICK, TWO_TOWER, DEEP = "quick", "two-tower", "deep"
NAMES = (QUICK, TWO_TOWER, DEEP)
"""The first is what is done where none is asked for."""


def recipe_of(asked: str, base: Base) -> TrainRecipe:
    """The recipe of a name, or in a file.

    Raises:
        RecipeError: when it is neither, or the file holds none.
    """
    if asked in NAMES:
        return named(asked, base)
    if not Path(asked).is_file():
        raise RecipeError(f"there is no recipe {asked!a}; name a .toml or .json file, or one of {', '.join(NAMES)}")
    return read_recipe(Path(asked))


def named(name: str, base: Base) -> TrainRecipe:
    """A recipe of NAMES.

    quick: users and items apart, every user compared with all items of the batch, which teaches most for the time;
        only the upper third of the layers is adapted and steps are few: minutes on two cores.
    two-tower: the same, all layers adapted and three passes over the data: for a GPU or an hour.
    deep: candidates meet the user in the upper third. Start it from one of the others, whose weights it goes on
        with (and whose adapter's shape it takes).
    """
    split = base.layers - max(1, base.layers // 3)
    upper = tuple(range(split, base.layers))
    if name == DEEP:
        return TrainRecipe(
            layout=_layout(split),
            adapted_layers=upper,
            user_bias_start=3.0,
            loss="slate_softmax",
            log_q=False,
            most_candidates=4,
            epochs=1.0,
            learning_rate=1e-3,
            heads_learning_rate=1e-2,
            evaluate_every=40,
        )
    apart = TrainRecipe(
        layout=_layout(base.layers), loss="in_batch_softmax", most_candidates=4, learning_rate=1e-3, evaluate_every=50
    )
    if name == TWO_TOWER:
        return apart
    return replace(apart, adapted_layers=upper, most_steps=60, most_valid_slates=150, evaluate_every=30)


def _layout(split: int) -> InputLayout:
    """As a sentence encoder reads texts."""
    return InputLayout(candidate_offset=0, candidate_cls=True, candidate_token_type=0, split_depth=split)
