"""A file says where a search may look, and what a recipe could not have is refused."""

from pathlib import Path

import pytest

from services.trainer.recipe import RecipeError, TrainRecipe
from services.trainer.search_space import Between, OneOf, default_space, read_space, value_in, with_values
from shared.model.base import Base
from tests.trainer.small_corpus import RECIPE

WHOLE = """
[learning_rate]
low = 1e-4
high = 1e-3
log = true

[rank]
low = 4
high = 32

[targets]
choices = [["query"], ["query", "value"]]

[layout.max_user_tokens]
choices = [16, 32]
"""


def test_a_space_is_read_as_it_is_documented(tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text(WHOLE)
    assert read_space(tmp_path / "space.toml", RECIPE) == {
        "learning_rate": Between(1e-4, 1e-3, log=True),
        "rank": Between(4, 32),
        "targets": OneOf((["query"], ["query", "value"])),
        "layout.max_user_tokens": OneOf((16, 32)),
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[learning_rat]\nlow = 1\nhigh = 2", "'learning_rat' is unknown"),
        ("[layout.split]\nchoices = [1]", "'layout.split' is unknown"),
        ("[rank]\nlow = 1.5\nhigh = 2", "rank must be a whole number"),
        ("[loss]\nchoices = ['bce', 'hinge']", "loss must be one of bce"),
        ("[rank]\nlow = 4\nhigh = 4", "rank needs low and high"),
        ("[rank]\nlow = 0\nhigh = 4\nlog = true", "rank needs low and high"),
        ("[rank]\nchoices = []", "rank needs low and high"),
        ("[rank]\nlow = 4\nhigh = 8\nstep = 2", "rank needs low and high"),
        ("[rank]\nlow = 'a'\nhigh = 8", "low must be a finite number"),
        ("rank = 4", "rank needs low and high"),
        ("[seed]\nlow = 0\nhigh = 9", "'seed' cannot be searched"),
        ("[metric]\nchoices = ['auc']", "'metric' cannot be searched"),
        ("", "it names no field"),
        ("[", "is no search space"),
    ],
)
def test_what_is_no_space_is_refused_in_one_sentence(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "space.toml").write_text(content)
    with pytest.raises(RecipeError, match=r"space\.toml is no search space") as caught:
        read_space(tmp_path / "space.toml", RECIPE)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_are_put_into_recipe_and_layout() -> None:
    changed = with_values(RECIPE, {"rank": 2, "layout.max_user_tokens": 16})
    assert (changed.rank, changed.layout.max_user_tokens) == (2, 16)
    assert (value_in(changed, "rank"), value_in(changed, "layout.max_user_tokens")) == (2, 16)
    assert with_values(changed, {"rank": RECIPE.rank, "layout.max_user_tokens": 32}) == RECIPE


def test_every_field_of_the_default_space_is_one_of_a_recipe(tiny_base: Base) -> None:
    for recipe in (TrainRecipe(), RECIPE):
        for name, part in default_space(recipe, tiny_base).items():
            for value in part.choices if isinstance(part, OneOf) else (part.low, part.high):
                assert value_in(with_values(recipe, {name: value}), name) == value


def test_only_two_towers_are_offered_the_loss_that_needs_them(tiny_base: Base) -> None:
    towers = with_values(RECIPE, {"layout.split_depth": tiny_base.layers})
    offered = [default_space(recipe, tiny_base)["loss"] for recipe in (RECIPE, towers)]
    assert ["in_batch_softmax" in part.choices for part in offered if isinstance(part, OneOf)] == [False, True]
