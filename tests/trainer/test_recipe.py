"""Recipes survive files, and what nobody can follow is refused with a sentence."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.trainer.recipe import RecipeError, TrainRecipe, read_recipe, write_recipe
from shared.model.base import Base
from tests.trainer.small_corpus import RECIPE


@pytest.mark.parametrize("name", ["recipe.json", "recipe.toml"])
@pytest.mark.parametrize(
    "recipe",
    [
        TrainRecipe(),
        replace(RECIPE, propensities=(1.0, 0.5), adapted_layers=(1, 2)),
        replace(RECIPE, propensities_from="data"),
    ],
)
def test_a_recipe_is_read_as_it_was_written(tmp_path: Path, name: str, recipe: TrainRecipe) -> None:
    write_recipe(tmp_path / name, recipe)
    assert read_recipe(tmp_path / name) == recipe


def test_fields_left_out_have_their_defaults(tmp_path: Path) -> None:
    (tmp_path / "short.toml").write_text("rank = 2\nepochs = 1\n\n[layout]\nsplit_depth = 2\n")
    wanted = replace(TrainRecipe(), rank=2, epochs=1.0, layout=replace(TrainRecipe().layout, split_depth=2))
    assert read_recipe(tmp_path / "short.toml") == wanted


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("rnak = 2", "'rnak' is unknown"),
        ("rank = true", "rank must be a whole number"),
        ('loss = "mse"', "loss must be one of"),
        ('propensities_from = "log"', "propensities_from must be one of recipe, data"),
        ("layout = 3", "must be objects"),
        ("rank = = 2", "no recipe"),
    ],
)
def test_a_wrong_file_is_refused_naming_the_field(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "wrong.toml").write_text(content)
    with pytest.raises(RecipeError, match=told):
        read_recipe(tmp_path / "wrong.toml")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"method": "prefix"}, "prefix tuning is not supported: .* isolation mask has no place"),
        ({"rank": 0}, "rank must be 1"),
        ({"targets": ("query", "q_proj")}, "targets names q_proj, which is no linear layer"),
        ({"adapted_layers": (3,)}, "adapted_layers are 0 to 2"),
        ({"loss": "in_batch_softmax"}, "set split_depth to 3"),
        ({"user_bias_start": 4.0, "layout": replace(RECIPE.layout, split_depth=3)}, "lower split_depth"),
        ({"layout": replace(RECIPE.layout, split_depth=3, pooling="last")}, "set pooling to mean"),
        ({"layout": replace(RECIPE.layout, split_depth=4)}, "split_depth must be 0 to 3"),
        ({"action_weights": (1.0,)}, "action_weights must have 2 numbers"),
        ({"propensities": (0.0,)}, "propensities must be above 0"),
        ({"batch_slates": 9, "accumulation": 2}, "multiple of accumulation x processes, which is 4"),
        ({"most_candidates": 1}, "most_candidates must be 0"),
        ({"warmup_share": 1.0}, "warmup_share"),
    ],
)
def test_what_cannot_be_followed_is_refused(tiny_base: Base, changes: dict, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        replace(RECIPE, **changes).check(tiny_base, actions=2, processes=2)


def test_the_default_and_the_test_recipe_can_be_followed(tiny_base: Base, packaged_base: Base) -> None:
    RECIPE.check(tiny_base, actions=2)
    TrainRecipe().check(packaged_base, actions=1)
