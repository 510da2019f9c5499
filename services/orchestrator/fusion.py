"""One score per candidate: what the model says, corrected by what the library and the profile know.

All signals meet on the logit scale, where they add (a linear opinion on log-odds, as in logistic regression):

    score = sigmoid(logit(p) + popularity · sqrt(q) + freshness · 2^(-age/half-life) + interest · i)

which on odds is one product: score = o / (1 + o) with o = p / (1 - p) · exp(the rest).
p is the value model's probability of a positive action, q the relative popularity, i the user's interest in the
category in -1..1. The weights are priors. A version of the model with a fusion of its own brings fitted ones: its
probability has weighed all of that, and then only what the caller wishes beside it is added (`beside_fusion`).
"""

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from services.orchestrator.slate import Candidate, Interest, Scored, Scores, Source

_EDGE = 1e-4
"""Probabilities are kept this far from 0 and 1, where a logit has no end."""


@dataclass(frozen=True, slots=True)
class FusionWeights:
    """Weights on the logit scale, and the half-life of freshness in seconds."""

    popularity: float = 1.0
    freshness: float = 0.25
    interest: float = 0.8
    freshness_half_life_s: float = 2 * 86_400.0

    def beside_fusion(self, usual: "FusionWeights", weighed: frozenset[str]) -> "FusionWeights":
        """What is left to add to a probability that a fusion of the signals `weighed` gave.

        That is what it does not read (a fusion leaves out what told nothing where it was fitted), and by how much the
        caller wants things fresher, or less fresh, than usual.
        """
        return replace(
            self,
            popularity=0.0 if "popularity" in weighed else self.popularity,
            freshness=self.freshness - usual.freshness if "log age" in weighed else self.freshness,
            interest=0.0,
        )


ACTION_VALUES: Mapping[str, float] = {
    "click": 1.0,
    "view": 0.5,
    "dwell": 1.0,
    "like": 2.0,
    "comment": 2.0,
    "share": 3.0,
    "purchase": 5.0,
    "dislike": -3.0,
    "hide": -5.0,
}
"""What an action is worth, a click being 1."""

_PRIOR_SLOPE = {Source.NEAREST: 4.0, Source.POPULAR: 2.0, Source.FRESH: 1.0, Source.FALLBACK_POPULAR: 2.0}
_PRIOR_OFFSET = -2.5


class ValueModel:
    """Action probabilities as one probability: their mean, weighted by what the actions are worth.

    Negative actions pull down; actions without a value count nothing; with click alone it is a click's probability.
    """

    def __init__(self, actions: Sequence[str]) -> None:
        weights = [ACTION_VALUES.get(action, 0.0) for action in actions]
        total = sum(weight for weight in weights if weight > 0) or 1.0
        self._weights = [weight / total for weight in weights]

    def __call__(self, probabilities: Sequence[float]) -> float:
        """The value in 0..1 of one probability per action."""
        value: float = sum(map(operator.mul, self._weights, probabilities))
        return 0.0 if value < 0.0 else 1.0 if value > 1.0 else value


def prior(candidate: Candidate) -> float:
    """Probability in 0..1 from the source's score alone: what takes the model's place when there is none.

    Monotone in the source's score within each source, and steeper where the score says more of this user.
    """
    slope = max((_PRIOR_SLOPE[source] for source in candidate.sources), default=1.0)
    return 1.0 / (1.0 + math.exp(-_PRIOR_OFFSET - slope * candidate.retrieval_score))


def fuse(
    candidates: Sequence[Candidate],
    scores: Scores | None,
    interests: Mapping[str, float],
    weights: FusionWeights,
    now: float,
) -> list[Scored]:
    """Scores every candidate, in the order given; without `scores` by the prior of its source.

    `interests` maps categories to -1..1 (see `normalised`); `now` in unix seconds.
    """
    value = ValueModel(scores.actions if scores is not None else ())
    blended = scores is not None and scores.blended
    said: Sequence[Sequence[float] | None]
    said = scores.probabilities if scores is not None else [None] * len(candidates)
    popularity_weight, freshness_weight, interest_weight = weights.popularity, weights.freshness, weights.interest
    fused = []
    for candidate, probabilities in zip(candidates, said, strict=True):
        probability = value(probabilities) if probabilities else prior(candidate)
        freshness = freshness_of(candidate.published_at, now, weights.freshness_half_life_s)
        interest = interests.get(candidate.category, 0.0)
        lift = (
            popularity_weight * math.sqrt(candidate.popularity)
            + freshness_weight * freshness
            + interest_weight * interest
        )
        said_of_it = probabilities or ()
        by_fusion = blended and bool(said_of_it)
        fused.append(Scored(candidate, _lifted(probability, lift), said_of_it, freshness, interest, by_fusion))
    return fused


def freshness_of(published_at: float | None, now: float, half_life_s: float) -> float:
    """2^(-age / half-life) in 0..1; 0 without a date."""
    if published_at is None:
        return 0.0
    return math.exp2((published_at - now) / half_life_s) if published_at < now else 1.0


def normalised(interests: Sequence[Interest]) -> dict[str, float]:
    """Interests by category in -1..1: short and long term in equal parts, in relation to the strongest."""
    if not interests:
        return {}
    strongest_short = max(1.0, *(abs(interest.short_term) for interest in interests))
    strongest_long = max(1.0, *(abs(interest.long_term) for interest in interests))
    return {
        interest.category: 0.5 * (interest.short_term / strongest_short + interest.long_term / strongest_long)
        for interest in interests
        if interest.category
    }


def _lifted(probability: float, lift: float) -> float:
    """sigmoid(logit(probability) + lift)."""
    if not probability >= _EDGE:  # also what is not a number
        probability = _EDGE
    elif probability > 1.0 - _EDGE:
        probability = 1.0 - _EDGE
    return 1.0 / (1.0 + (1.0 - probability) / probability * math.exp(-lift))
