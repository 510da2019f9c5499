"""The score of a candidate."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.fusion import FusionWeights, ValueModel, freshness_of, fuse, normalised, prior
from services.orchestrator.slate import Interest, Scores, Source
from tests.orchestrator.slates import make_candidate
from tests.stand_ins import DAY, NOW

PLAIN = FusionWeights(popularity=0, freshness=0, interest=0)


def scores(*probabilities, actions=("click",)):
    return Scores(actions, probabilities, "m", calibrated=True, compute_s=0)


def score_of(candidate, probability=0.3, interests=None, weights=FusionWeights()):  # noqa: B008
    return fuse([candidate], scores((probability,)), interests or {}, weights, NOW)[0].score


def test_without_other_signals_the_score_is_the_models_probability():
    assert score_of(make_candidate(1), 0.3, weights=PLAIN) == pytest.approx(0.3)


@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_a_higher_probability_never_scores_lower(low, high):
    low, high = sorted((low, high))
    assert score_of(make_candidate(1), low) <= score_of(make_candidate(1), high)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(-1, 1))
def test_every_score_is_a_probability(probability, popularity, interest):
    score = score_of(make_candidate(1, popularity=popularity), probability, {"c1": interest})
    assert 0 < score < 1


def test_popularity_freshness_and_interest_each_lift_a_score():
    plain = make_candidate(1)
    base = score_of(plain)
    assert score_of(plain._replace(popularity=0.5)) > base
    assert score_of(plain._replace(published_at=NOW)) > base
    assert score_of(plain, interests={"c1": 1.0}) > base > score_of(plain, interests={"c1": -1.0})


def test_beside_a_fusion_only_the_callers_wish_for_fresh_things_is_added():
    usual, weighed = FusionWeights(), frozenset({"model", "popularity", "log age"})
    item = make_candidate(1, popularity=0.5, published_at=NOW)
    assert score_of(item, 0.3, {}, usual.beside_fusion(usual, weighed)) == pytest.approx(0.3)
    fresher, staler = (FusionWeights(freshness=each).beside_fusion(usual, weighed) for each in (1.5, 0.0))
    assert score_of(item, 0.3, weights=staler) < 0.3 < score_of(item, 0.3, weights=fresher)
    assert score_of(make_candidate(1), 0.3, weights=fresher) == pytest.approx(0.3, abs=1e-3)


def test_what_a_fusion_does_not_read_is_still_added():
    usual = FusionWeights()
    popular, new = make_candidate(1, popularity=0.5), make_candidate(1, published_at=NOW)
    by_age = usual.beside_fusion(usual, frozenset({"model", "log age"}))
    by_crowd = usual.beside_fusion(usual, frozenset({"model", "popularity"}))
    assert score_of(popular, 0.3, weights=by_age) > 0.3 == pytest.approx(score_of(new, 0.3, weights=by_age))
    assert score_of(new, 0.3, weights=by_crowd) > 0.3
    assert score_of(popular, 0.3, weights=by_crowd) == pytest.approx(0.3, abs=1e-3)


def test_only_what_a_fusion_gave_a_probability_counts_as_blended():
    by_fusion = replace(scores((0.9,), None), blended=True)
    candidate = make_candidate(1)
    assert [each.blended for each in fuse([candidate] * 2, by_fusion, {}, PLAIN, NOW)] == [True, False]
    assert not fuse([candidate], scores((0.9,)), {}, PLAIN, NOW)[0].blended


def test_a_probability_that_is_no_number_scores_least():
    assert score_of(make_candidate(1), math.nan) == score_of(make_candidate(1), 0.0)


def test_a_candidate_the_model_could_not_score_gets_the_prior_of_its_source():
    candidate = make_candidate(1)
    fused = fuse([candidate, candidate], scores((0.9,), None), {}, PLAIN, NOW)
    assert fused[1].score == pytest.approx(prior(candidate))


def test_the_prior_rises_with_the_sources_score_and_trusts_nearness_most():
    near = [prior(make_candidate(1, sources=(Source.NEAREST,), retrieval_score=s)) for s in (0.1, 0.5, 0.9)]
    popular = prior(make_candidate(1, sources=(Source.POPULAR,), retrieval_score=0.9))
    assert near == sorted(near)
    assert near[-1] > popular


def test_the_value_of_several_actions_is_their_weighted_mean_and_dislike_pulls_down():
    assert ValueModel(["click", "purchase"])([0.5, 0.1]) == pytest.approx((0.5 + 5 * 0.1) / 6)
    assert ValueModel(["click", "hide"])([0.5, 0.05]) == pytest.approx(0.25)
    assert ValueModel(["click", "hide"])([0.1, 0.9]) == 0.0
    assert ValueModel(["click", "unheard-of"])([0.4, 1.0]) == pytest.approx(0.4)


def test_freshness_halves_with_every_half_life_and_is_nothing_without_a_date():
    assert freshness_of(NOW, NOW, DAY) == 1.0
    assert freshness_of(NOW - DAY, NOW, DAY) == pytest.approx(0.5)
    assert freshness_of(NOW - 3 * DAY, NOW, DAY) == pytest.approx(0.125)
    assert freshness_of(None, NOW, DAY) == 0.0
    assert freshness_of(NOW + DAY, NOW, DAY) == 1.0


finite = st.floats(-1e6, 1e6)


@given(st.lists(st.builds(Interest, st.text(min_size=1, max_size=3), finite, finite), max_size=8))
def test_interests_are_told_in_minus_one_to_one(interests):
    for value in normalised(interests).values():
        assert -1 <= value <= 1
        assert math.isfinite(value)


def test_one_click_alone_is_no_full_interest():
    assert normalised([Interest("c", 0.1, 0.1)])["c"] == pytest.approx(0.1)
