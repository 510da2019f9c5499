"""Who likes most things, and what most people like: the two tendencies that a rating is made of besides taste.

A slate hides the first, since all its candidates have the same user; it decides where candidates of different users are
compared, as in TALLRec's task (arXiv 2305.00447). The second is popularity's better half: how much an item is liked by
those who know it, not by how many, and for items that nobody knows yet what their text lets expect.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.baselines import POSITIVE_ACTS
from services.trainer.corpus import Example
from shared.model.text import NEGATIVE_ACTIONS

Floats = NDArray[np.float64]


def opinion_of(action: str) -> bool | None:
    """Whether an act speaks for its item (True) or against it (False); None when it says neither."""
    return True if action in POSITIVE_ACTS else False if action in NEGATIVE_ACTIONS else None


@dataclass(frozen=True, slots=True)
class LikingOdds:
    """The log odds that the user likes what comes next, by what came before and whatever it is."""

    decay: float = 1.0
    """What an opinion weighs in relation to the next newer one; 1 = all count alike."""
    prior: float = 1.0
    """Likes and dislikes that everybody is taken to have had before."""
    name: str = "liking odds"
    probabilistic: bool = False

    def scores(self, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        """[candidates] of each example, all the same."""
        return [np.full(len(example.candidates), self._odds(example), np.float32) for example in examples]

    def _odds(self, example: Example) -> float:
        told = [each for each in (opinion_of(past.action) for past in example.history) if each is not None]
        liked = np.array(told, bool)
        weights = self.decay ** np.arange(len(told))
        return float(np.log((weights[liked].sum() + self.prior) / (weights[~liked].sum() + self.prior)))


@dataclass(frozen=True, slots=True)
class QualityOptions:
    """How much speaks for the mean before the opinions do."""

    text_ridge: float = 10.0
    """Penalty on the weights of the text's vector, in opinions."""
    shrinkage: float = 5.0
    """Opinions that an item is taken to have had that were just as its text lets expect."""


@dataclass(frozen=True, slots=True, eq=False)
class ItemQuality:
    """How much more often than other items an item is liked by those who give an opinion."""

    values: NDArray[np.float32]
    """[items]."""
    name: str
    probabilistic: bool = False

    def scores(self, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        """[candidates] of each example."""
        return [self.values[example.candidates] for example in examples]


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a user thinks of an item, by row."""

    user: str
    item: int
    liked: bool


def opinions_in(examples: Iterable[Example]) -> Iterator[Opinion]:
    """What examples tell by their histories, oldest first, and by the labels of the first action, 0 being a dislike."""
    for example in examples:
        for past in reversed(example.history):
            liked = opinion_of(past.action)
            if liked is not None:
                yield Opinion(example.user, past.item, liked)
        for item, label in zip(example.candidates.tolist(), example.labels[:, 0].tolist(), strict=True):
            if label in (0.0, 1.0):
                yield Opinion(example.user, item, label == 1.0)


def fit_quality(
    opinions: Iterable[Opinion], vectors: NDArray[np.float32], options: QualityOptions | None = None
) -> tuple[ItemQuality, ItemQuality]:
    """What the text lets expect ("text quality"), and by how much opinions differ from that ("crowd quality").

    An opinion counts as its difference from the user's own share of likes: or the items of the easily pleased would be
    the good ones. First a ridge regression on the vectors, then the mean of what is left, shrunk where few have spoken.

    Args:
        opinions: the last of each user and item counts.
        vectors: [items, width], of length 1.
        options: how much to shrink.
    """
    options = options or QualityOptions()
    last = {(each.user, each.item): each.liked for each in opinions}
    users = {user: row for row, user in enumerate(dict.fromkeys(user for user, _ in last))}
    user_of = np.array([users[user] for user, _ in last], np.int64)
    items = np.array([item for _, item in last], np.int64)
    liked_of = np.array(list(last.values()), np.float64)
    shares = (np.bincount(user_of, liked_of, len(users)) + 1) / (np.bincount(user_of, minlength=len(users)) + 2)
    left = liked_of - shares[user_of]
    text = vectors @ _ridge(vectors[items].astype(np.float64), left, options.text_ridge)
    sums = np.bincount(items, left - text[items], len(vectors))
    crowd = sums / (np.bincount(items, minlength=len(vectors)) + options.shrinkage)
    return (
        ItemQuality(text.astype(np.float32), "text quality"),
        ItemQuality(crowd.astype(np.float32), "crowd quality"),
    )


def _ridge(vectors: Floats, wanted: Floats, penalty: float) -> Floats:
    """[width]: the weights that minimise the squared error plus `penalty` times their squared length."""
    gram = vectors.T @ vectors + penalty * np.eye(vectors.shape[1])
    return np.asarray(np.linalg.solve(gram, vectors.T @ wanted), np.float64)
