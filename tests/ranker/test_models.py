"""Which model answers: by name, by surface, for vectors; and what was tried besides."""

import pytest

from services.ranker.models import Attempt, Models, Served, UnknownModelError
from shared.model.base import Base
from shared.model.packed import PackedBert
from shared.model.ranking_model import RankingModel
from shared.model.registry import OTHER_SURFACES
from shared.model.zero_shot import ZERO_SHOT, zero_shot_model
from tests.shared.model.made_version import LAYOUT, manifest_for, random_heads


@pytest.fixture
def built_in(tiny_base: Base, tiny_packed: PackedBert) -> Served:
    return Served(zero_shot_model(tiny_base, tiny_packed), loaded_at=1.0)


@pytest.fixture
def news(tiny_base: Base, tiny_packed: PackedBert) -> Served:
    """A model whose candidates meet the user."""
    manifest = manifest_for(tiny_base, layout=LAYOUT)
    return Served(RankingModel(tiny_base, tiny_packed, manifest, random_heads(manifest, tiny_base), "key"), 2.0)


@pytest.fixture
def models(built_in: Served) -> Models:
    begun = Models()
    begun.begin(built_in)
    return begun


def test_before_the_start_nothing_answers(news: Served) -> None:
    models = Models()
    for name in ("", ZERO_SHOT):
        with pytest.raises(UnknownModelError):
            models.get(name)
        with pytest.raises(UnknownModelError):
            models.embedder(name)
    with pytest.raises(UnknownModelError):
        models.line_up({"news": news}, {})
    assert (dict(models.now.models), models.attempts()) == ({}, [])


def test_the_base_s_own_model_answers_where_nothing_else_is(models: Models, built_in: Served) -> None:
    assert models.get("") is models.get("", "home") is models.get(ZERO_SHOT) is built_in
    assert models.now.surfaces_of(ZERO_SHOT) == [OTHER_SURFACES]


def test_a_name_is_asked_for_before_the_surface_and_a_surface_before_the_default(
    models: Models, news: Served, built_in: Served
) -> None:
    models.line_up({"news": news, "other": news}, {"home": "news"})
    assert models.get("", "home") is models.get("news") is models.get("other", "sport") is news
    assert models.get("", "sport") is models.get(ZERO_SHOT, "home") is built_in
    assert models.now.surfaces_of("news") == ["home"]
    assert models.now.surfaces_of("other") == []


def test_a_default_for_every_surface_takes_the_place_of_the_built_in_model(models: Models, news: Served) -> None:
    models.line_up({"news": news}, {OTHER_SURFACES: "news", "sport": ZERO_SHOT, "home": "news"})
    assert models.get("") is models.get("", "anything") is news
    assert models.get("", "sport").name == ZERO_SHOT
    assert models.now.surfaces_of("news") == [OTHER_SURFACES, "home"]
    assert models.now.surfaces_of(ZERO_SHOT) == ["sport"]


def test_an_unknown_name_is_an_error_even_where_the_surface_has_a_default(models: Models, news: Served) -> None:
    models.line_up({"news": news}, {"home": "news"})
    with pytest.raises(UnknownModelError):
        models.get("old", "home")
    with pytest.raises(UnknownModelError):
        models.embedder("old")


def test_a_default_without_its_model_gives_way_to_the_general_one(
    models: Models, news: Served, built_in: Served
) -> None:
    models.line_up({"news": news}, {OTHER_SURFACES: "gone", "home": "gone", "sport": "news"})
    assert models.get("", "home") is models.get("") is built_in
    assert models.get("", "sport") is news
    models.line_up({"news": news}, {OTHER_SURFACES: "news", "home": "gone"})
    assert models.get("", "home") is news


def test_the_built_in_model_can_be_neither_replaced_nor_left_out(
    models: Models, news: Served, built_in: Served
) -> None:
    models.line_up({ZERO_SHOT: news}, {})
    assert models.get(ZERO_SHOT) is built_in


def test_a_call_keeps_the_line_up_it_began_with(models: Models, news: Served) -> None:
    before = models.now
    models.line_up({"news": news}, {OTHER_SURFACES: "news"})
    assert list(before.models) == [ZERO_SHOT]
    assert before.surfaces_of(ZERO_SHOT) == [OTHER_SURFACES]
    models.line_up({}, {})
    with pytest.raises(UnknownModelError):
        models.get("news")


def test_models_without_vectors_of_their_own_embed_with_the_base(
    models: Models, news: Served, built_in: Served, tiny_base: Base, tiny_packed: PackedBert
) -> None:
    towers = Served(zero_shot_model(tiny_base, tiny_packed), 3.0)
    models.line_up({"news": news, "towers": towers}, {OTHER_SURFACES: "news"})
    assert models.embedder("news") is models.embedder("") is models.embedder(ZERO_SHOT) is built_in
    assert models.embedder("towers") is towers


def test_the_last_attempt_of_each_name_is_told_by_name_until_it_is_forgotten(models: Models) -> None:
    for attempt in (Attempt("news", "v1"), Attempt("art", "v9"), Attempt("news", "v2", "its weights are missing")):
        models.attempt(attempt)
    assert models.attempts() == [Attempt("art", "v9"), Attempt("news", "v2", "its weights are missing")]
    models.forget_attempt("news")
    models.forget_attempt("never tried")
    assert models.attempts() == [Attempt("art", "v9")]
