"""Recipes by name, and trainings that begin at a version."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.trainer.corpus import VALID, Example
from services.trainer.fitting import Around, fit
from services.trainer.recipe import RecipeError, TrainRecipe, write_recipe
from services.trainer.recipes import DEEP, NAMES, QUICK, named, recipe_of
from services.trainer.starts import Start, start_at
from services.trainer.training import Target, train
from shared.model.base import Base
from shared.model.manifest import InputLayout
from shared.model.version_files import Place
from shared.model.versions import read_manifest
from tests.trainer.small_corpus import RECIPE, small_corpus

CORPUS = small_corpus()
APART = replace(
    RECIPE, layout=InputLayout(32, 16, 0, True, 0, split_depth=3), adapted_layers=(2,), loss="in_batch_softmax"
)
MEETING = replace(APART, layout=replace(APART.layout, split_depth=2), loss="bce", user_bias_start=40.0)


@pytest.mark.parametrize("name", NAMES)
def test_named_recipes_hold_for_bases_of_any_depth(tiny_base: Base, name: str) -> None:
    recipe_of(name, tiny_base).check(tiny_base, actions=2)


def test_quick_keeps_users_and_items_apart_and_deep_begins_as_its_equal(tiny_base: Base) -> None:
    quick, deep = named(QUICK, tiny_base), named(DEEP, tiny_base)
    assert quick.layout == replace(deep.layout, split_depth=tiny_base.layers)
    assert quick.adapted_layers == deep.adapted_layers
    assert min(quick.adapted_layers) >= deep.layout.split_depth


def test_a_file_is_read_and_what_is_neither_is_refused(tiny_base: Base, tmp_path: Path) -> None:
    write_recipe(tmp_path / "mine.toml", RECIPE)
    assert recipe_of(str(tmp_path / "mine.toml"), tiny_base) == RECIPE
    with pytest.raises(RecipeError, match="quick, two-tower, deep"):
        recipe_of("quik", tiny_base)


@pytest.fixture(scope="module")
def start(tiny_base: Base, tmp_path_factory: pytest.TempPathFactory) -> Start:
    folder = tmp_path_factory.mktemp("registry")
    trained = train(CORPUS, tiny_base, APART, Target(folder, "news", "v1", folder / "work"))
    return start_at(Place.of(trained.folder), tiny_base.layers)


def begun(base: Base, recipe: TrainRecipe, start: Start | None, folder: Path) -> np.ndarray:
    """Logits of the first action before anything was learnt, but for the bias, which is set anew."""
    still = replace(recipe, learning_rate=1e-12, heads_learning_rate=1e-12, weight_decay=0.0, most_steps=1)
    fitted = fit(CORPUS, base, still, folder, Around(start=start))
    logits = np.concatenate(fitted.predict(CORPUS.splits[VALID]))[:, 0]
    return logits - logits.mean()


def test_what_begins_at_a_version_of_two_towers_scores_like_it(tiny_base: Base, start: Start, tmp_path: Path) -> None:
    without_states = replace(APART, state_weight=False)
    wanted = begun(tiny_base, without_states, start, tmp_path / "apart")
    found = begun(tiny_base, replace(MEETING, state_weight=False), start, tmp_path / "meeting")
    fresh = begun(tiny_base, replace(MEETING, state_weight=False), None, tmp_path / "fresh")
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert np.abs(fresh - wanted).max() > 0.1


def test_the_same_kind_takes_all_of_the_heads(tiny_base: Base, start: Start, tmp_path: Path) -> None:
    with_states = begun(tiny_base, APART, start, tmp_path / "with")
    without = begun(tiny_base, replace(APART, state_weight=False), start, tmp_path / "without")
    assert np.abs(with_states - without).max() > 1e-3


def test_a_version_tells_where_it_began_and_is_another_training(tiny_base: Base, start: Start, tmp_path: Path) -> None:
    quick = replace(MEETING, most_steps=2)
    folder = train(CORPUS, tiny_base, quick, Target(tmp_path, "n", "v2", tmp_path / "w"), Around(start=start)).folder
    origin = read_manifest(folder).origin
    assert origin is not None
    assert origin.settings["start"].startswith("news/v1 (")


def test_another_scale_of_the_adapter_changes_nothing_of_where_it_begins(
    tiny_base: Base, start: Start, tmp_path: Path
) -> None:
    wanted = begun(tiny_base, APART, start, tmp_path / "same")
    for number, other in enumerate((replace(APART, alpha=64.0), replace(APART, rslora=True))):
        np.testing.assert_allclose(begun(tiny_base, other, start, tmp_path / str(number)), wanted, atol=1e-4)


def test_a_named_recipe_takes_the_shape_of_the_starts_adapter(tiny_base: Base, start: Start) -> None:
    shaped = start.shaping(named(DEEP, tiny_base))
    assert (shaped.rank, shaped.alpha, shaped.adapted_layers) == (APART.rank, APART.alpha, APART.adapted_layers)
    assert set(shaped.targets) == set(APART.targets)
    assert shaped.layout == named(DEEP, tiny_base).layout


def test_actions_are_matched_by_name(tiny_base: Base, start: Start, tmp_path: Path) -> None:
    """The start knows click and like."""
    other = replace(CORPUS, actions=("share", "click"))
    still = replace(APART, learning_rate=1e-12, heads_learning_rate=1e-12, most_steps=1, similarity_start=3.0)
    heads = fit(other, tiny_base, still, tmp_path / "other", Around(start=start)).heads
    known = fit(CORPUS, tiny_base, still, tmp_path / "known", Around(start=start)).heads
    assert heads.similarity[0] == pytest.approx(3.0, abs=1e-4)
    assert heads.similarity[1] == pytest.approx(float(known.similarity[0]), abs=1e-4)
    one = replace(CORPUS, actions=("click",), splits={k: tuple(map(first_action, v)) for k, v in CORPUS.splits.items()})
    assert fit(one, tiny_base, still, tmp_path / "one", Around(start=start)).heads.similarity.shape == (1,)


def first_action(example: Example) -> Example:
    return replace(example, labels=example.labels[:, :1])


@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        (replace(MEETING, rank=2), "rank"),
        (replace(MEETING, adapted_layers=(1,)), "adapted_layers"),
        (replace(MEETING, layout=replace(MEETING.layout, candidate_cls=False)), "candidate_cls"),
    ],
    ids=["rank", "layers", "layout"],
)
def test_a_start_that_does_not_fit_is_refused(
    tiny_base: Base, start: Start, tmp_path: Path, recipe: TrainRecipe, why: str
) -> None:
    with pytest.raises(RecipeError, match=why):
        fit(CORPUS, tiny_base, recipe, tmp_path, Around(start=start))
