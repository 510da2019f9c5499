"""Places that are looked at less get back by their weight what they lost, and data in random order tell how much."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.trainer.corpus import TRAIN, Corpus, Example
from services.trainer.fitting import fit
from services.trainer.propensities import places_in
from services.trainer.recipe import LossName, RecipeError, TrainRecipe, with_propensities
from shared.model.base import Base
from tests.trainer.small_corpus import LAYOUT, RECIPE, small_corpus, small_items

NAN = float("nan")
FROM_DATA = replace(RECIPE, propensities_from="data")


def example(positions: Sequence[int] | None, labels: Sequence[float], number: int = 0) -> Example:
    return Example(
        impression_id=str(number),
        user=f"u{number}",
        time=float(number),
        history=(),
        candidates=np.arange(len(labels), dtype=np.int32),
        labels=np.array(labels, np.float32)[:, None],
        positions=None if positions is None else np.array(positions, np.int32),
    )


def in_random_order(looked_at: Sequence[float], slates: int = 4000, rate: float = 0.4) -> list[Example]:
    """Slates whose places are looked at with these chances, and chosen at this rate where they are."""
    random = np.random.default_rng(3)
    places = np.arange(1, len(looked_at) + 1)
    return [
        example(places, (random.random(len(places)) < rate * np.array(looked_at)).astype(float)) for _ in range(slates)
    ]


# --- counting


def test_places_are_counted_where_they_and_labels_are_known() -> None:
    places = places_in(
        [example([2, 1], [1, 0]), example([1, 4], [1, NAN]), example(None, [1, 0]), example([1, 0, 0], [1, 0, 0])]
    )
    assert (places.shown.tolist(), places.chosen.tolist()) == ([2, 1, 0, 0], [1, 1, 0, 0])
    assert places.relative(3) == (1.0, 2.0, None)
    assert places.relative(1) == (1.0,)


def test_without_a_choice_at_the_first_place_there_is_nothing_to_relate_to() -> None:
    assert places_in([]).relative(10) == places_in([example([1, 2], [0, 1])]).relative(10) == ()


# --- from data


def test_slates_in_random_order_tell_how_likely_places_are_looked_at() -> None:
    found = with_propensities(FROM_DATA, in_random_order((1.0, 0.7, 0.35, 0.2)))
    assert found.propensities == pytest.approx((1.0, 0.7, 0.35, 0.2), abs=0.04)
    assert found == replace(FROM_DATA, propensities=found.propensities, propensities_from="recipe")
    assert with_propensities(found, []) is found


def test_propensities_from_data_lie_between_the_least_and_1_and_few_candidates_tell_little() -> None:
    examples = in_random_order((0.8, 1.0, 0.02), slates=2000)
    assert with_propensities(replace(FROM_DATA, least_propensity=0.3), examples).propensities == (1.0, 1.0, 0.3)
    # One candidate at the fourth place, and never chosen: taken to be about as the others.
    few = with_propensities(FROM_DATA, [*in_random_order((1.0, 1.0, 1.0)), example([4], [0])]).propensities
    assert few[3] == pytest.approx(1.0, abs=0.05)


def test_the_hundredth_place_stands_for_all_beyond() -> None:
    examples = [example(range(1, 121), [1.0, *[0.0] * 98, *[1.0] * 21]) for _ in range(200)]
    found = with_propensities(FROM_DATA, examples).propensities
    assert (len(found), found[0], found[98], found[99]) == (100, 1.0, 0.1, 1.0)


@pytest.mark.parametrize(
    "examples", [[], [example(None, [1, 0])], [example([1, 2], [0, 0])], [example([1, 0], [1, 0])]]
)
def test_data_that_cannot_tell_are_refused(examples: list[Example]) -> None:
    with pytest.raises(RecipeError, match="no slate of train tells positions"):
        with_propensities(FROM_DATA, examples)


def test_a_recipe_has_propensities_of_one_kind(tiny_base: Base) -> None:
    with pytest.raises(RecipeError, match="propensities must be empty"):
        replace(FROM_DATA, propensities=(1.0, 0.5)).check(tiny_base, actions=2)
    FROM_DATA.check(tiny_base, actions=2)


# --- what is learnt


def two_items() -> Corpus:
    """One stands first, one second, where one in four looks: of 96 users 32 choose the first and 8 the second."""
    slates = [example([1, 2], [float(number % 3 == 0), float(number % 12 == 1)], number) for number in range(96)]
    return Corpus("placed", small_items()[:2], ("click",), {TRAIN: tuple(slates)}, (), "0" * 32, {})


def preference(base: Base, recipe: TrainRecipe, folder: Path) -> float:
    """How much higher, in log odds, the first item is scored after training."""
    first, second = fit(two_items(), base, recipe, folder).predict(two_items().splits[TRAIN][:1])[0][:, 0]
    return float(first - second)


@pytest.mark.parametrize(
    ("loss", "without", "weighed"),
    [
        ("bce", np.log((32 / 64) / (8 / 88)), np.log((32 / 64) / (4 * 8 / 88))),
        ("slate_softmax", np.log(4), 0.0),
        ("in_batch_softmax", np.log(4), 0.0),
    ],
)
def test_an_item_where_few_look_is_scored_higher_once_its_choices_are_weighed(
    tiny_base: Base, tmp_path: Path, loss: LossName, without: float, weighed: float
) -> None:
    layout = replace(LAYOUT, split_depth=3)
    plain = replace(RECIPE, loss=loss, log_q=False, layout=layout, lora_dropout=0.0, batch_slates=96, most_steps=60)
    found = [
        preference(tiny_base, replace(plain, propensities=propensities), tmp_path / str(len(propensities)))
        for propensities in ((), (1.0, 0.25))
    ]
    assert found == pytest.approx([without, weighed], abs=0.25)


def test_a_training_takes_them_from_its_slates_and_tells_what_they_were(tiny_base: Base, tmp_path: Path) -> None:
    corpus = small_corpus(train=64)
    placed = tuple(replace(one, positions=np.array([1, 2, 3, 4], np.int32)) for one in corpus.splits[TRAIN])
    corpus = replace(corpus, splits={TRAIN: placed})
    recipe = replace(FROM_DATA, most_steps=2, evaluate_every=2)
    fitted = fit(corpus, tiny_base, recipe, tmp_path)
    assert fitted.recipe == with_propensities(recipe, placed)
    assert len(fitted.recipe.propensities) == 4
