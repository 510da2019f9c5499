"""Tendencies of users and of items, by hand."""

import numpy as np
import pytest

from services.trainer.corpus import Example, Past
from services.trainer.opinions import LikingOdds, Opinion, QualityOptions, fit_quality, opinion_of, opinions_in


def example(history: str, user: str = "u") -> Example:
    """`history`: newest first, + liked, - disliked, . seen; item numbers count up."""
    acts = {"+": "like", "-": "hide", ".": "view"}
    past = tuple(Past(item, acts[sign], None) for item, sign in enumerate(history))
    labels = np.array([[1.0], [0.0], [np.nan]], np.float32)
    return Example("i", user, 1.0, past, np.array([7, 8, 9], np.int32), labels)


@pytest.mark.parametrize(("action", "told"), [("like", True), ("purchase", True), ("hide", False), ("view", None)])
def test_acts_speak_for_or_against_or_say_nothing(action: str, told: bool | None) -> None:
    assert opinion_of(action) is told


def test_the_odds_count_opinions_with_a_prior_and_are_the_same_for_all_candidates() -> None:
    (scores,) = LikingOdds().scores([example("++-.+")])
    np.testing.assert_allclose(scores, [np.log(4 / 2)] * 3, rtol=1e-6)
    assert LikingOdds().scores([example("")])[0].tolist() == [0.0] * 3


def test_newer_opinions_weigh_more_where_they_decay() -> None:
    newest_liked, newest_disliked = LikingOdds(decay=0.5).scores([example("+-"), example("-+")])
    assert newest_liked[0] == pytest.approx(np.log(2 / 1.5))
    assert newest_disliked[0] == -newest_liked[0]


def test_examples_tell_opinions_oldest_first_and_by_labels_that_are_known() -> None:
    told = list(opinions_in([example("+.-")]))
    assert told == [Opinion("u", 2, False), Opinion("u", 0, True), Opinion("u", 7, True), Opinion("u", 8, False)]


def test_quality_is_by_how_much_an_item_is_liked_more_often_than_its_users_like_things() -> None:
    """Nothing is in the text (all vectors alike), so the crowd alone tells."""
    vectors = np.ones((4, 1), np.float32)
    easy = [Opinion("easy", item, True) for item in range(3)]
    strict = [Opinion("strict", 0, False), Opinion("strict", 1, False), Opinion("strict", 2, True)]
    text, crowd = fit_quality([*easy, *strict], vectors, QualityOptions(text_ridge=1e9, shrinkage=1.0))
    np.testing.assert_allclose(text.values, 0.0, atol=1e-6)
    share_easy, share_strict = 4 / 5, 2 / 5
    wanted = [(1 - share_easy) - share_strict, (1 - share_easy) - share_strict, (1 - share_easy) + (1 - share_strict)]
    np.testing.assert_allclose(crowd.values, [*(each / 3 for each in wanted), 0.0], atol=1e-6)


def test_text_tells_the_quality_of_items_that_nobody_knows() -> None:
    vectors = np.eye(2, dtype=np.float32)[[0, 0, 1, 1]]
    opinions = [Opinion(f"u{n}", item, item == 0) for n in range(50) for item in (0, 2)]
    text, crowd = fit_quality(opinions, vectors)
    assert text.values[1] > 0.3 > -0.3 > text.values[3]
    assert crowd.values[1] == crowd.values[3] == 0.0
    assert [each.name for each in (text, crowd)] == ["text quality", "crowd quality"]


def test_the_last_opinion_of_a_user_on_an_item_counts() -> None:
    vectors = np.eye(2, dtype=np.float32)
    first = [Opinion("u", 0, True), Opinion("u", 1, True)]
    changed = fit_quality([*first, Opinion("u", 0, False)], vectors)
    direct = fit_quality([Opinion("u", 1, True), Opinion("u", 0, False)], vectors)
    for one, other in zip(changed, direct, strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-6)


def test_without_opinions_nothing_is_known_of_quality() -> None:
    text, crowd = fit_quality([], np.eye(3, dtype=np.float32))
    assert text.values.tolist() == crowd.values.tolist() == [0.0] * 3
