"""A two-tower baseline over vectors that never change: a candidate attends over the user's history, and what it finds
there is its score (DIN, Zhou et al., 2018). Only two small matrices and a few numbers are learnt.

Vectors are turned onto their principal directions and evened out a little first: small matrices then do, and learn
fast. A user without history gets 0 for everything: what is liked by all is for other signals to tell.

Nothing is fitted to the answers of validation; but they choose which step is kept: the one that does best there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from services.trainer.baselines import POSITIVE_ACTS, Scores
from services.trainer.corpus import TRAIN, VALID, Corpus, Example, Past
from services.trainer.prediction import measured
from services.trainer.recipe import MetricName
from shared.model.text import NEGATIVE_ACTIONS

Floats = NDArray[np.float32]

_LIKED, _DISLIKED, _OTHER = range(3)
_NONE = -1
_SHARPNESS = 8.0
"""A softmax over cosines as they are hardly tells them apart."""
_WARM_UP_STEPS = 50
_LARGEST_GRADIENT = 1.0
_VALIDATED = 2000
"""Slates at most, drawn evenly: enough to tell steps apart."""


@dataclass(frozen=True, slots=True)
class AttentionTowerOptions:
    """How it is built and learnt.

    Raises:
        ValueError: naming a value out of its range.
    """

    history: int = 50
    """The newest entries that are read."""
    width: int = 128
    """Principal directions that are kept of the vectors."""
    evening: float = 0.25
    """Directions are divided by their variance to this power: 0 = as they are, 0.5 = all alike."""
    steps: int = 500
    batch: int = 128
    """Positives of a step; each is a negative for the others."""
    extra_negatives: int = 128
    """Of a step, uniform over all items, which in-batch negatives are not."""
    correction: float = 0.0
    """Share of log q, an item's chance to be drawn as a negative, that is taken off its score (Yi et al., 2019). 1
    learns what a user will like among all items, the popular ones first; 0 learns what sets this user apart from the
    others, which popularity does not tell already."""
    learning_rate: float = 1e-2
    weight_decay: float = 1e-2
    """Of the matrices."""
    evaluate_every: int = 100
    """Steps; the best on validation is kept, where there is one: by nDCG@10, or, where no slate has both labels, by AUC
    over all candidates."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("history", "width", "steps", "batch", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; make it at least 1")
        for name in ("extra_negatives", "learning_rate", "weight_decay", "evening"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; make it at least 0")
        if not 0 <= self.correction <= 1:
            raise ValueError(f"correction is {self.correction}; make it 0 to 1")


@dataclass(frozen=True, slots=True, eq=False)
class AttentionTower:
    """A fitted tower, ready to score."""

    keys: Floats
    """[items, width]: an item as history."""
    queries: Floats
    """[items, width]: what a candidate looks for in a history."""
    values: Floats
    """[items, width]: times a key, what finding that entry says for the candidate."""
    biases: Floats
    """[kinds of acts, history]: added to an entry's attention, by what was done and how many acts ago."""
    weights: Floats
    """[kinds of acts]: liked, disliked, other."""
    nothing: float
    """The attention that goes to no entry, before the softmax."""
    name: str = "attention tower"
    probabilistic: bool = False

    def scores(self, examples: Sequence[Example]) -> Scores:
        """[candidates] of each example; 0 without history."""
        return [self._score(example) for example in examples]

    def _score(self, example: Example) -> Floats:
        items, kinds = _read(example.history, self.biases.shape[1])
        keys = self.keys[items].T
        attention = self.queries[example.candidates] @ keys + self.biases[kinds, np.arange(len(items))]
        highest = attention.max(axis=1, keepdims=True, initial=self.nothing)
        shares = np.exp(attention - highest)
        found = (shares * (self.values[example.candidates] @ keys) * self.weights[kinds]).sum(axis=1)
        return np.asarray(found / (shares.sum(axis=1) + np.exp(self.nothing - highest[:, 0])), np.float32)


def fit_attention_tower(
    corpus: Corpus, vectors: Floats, options: AttentionTowerOptions | None = None
) -> AttentionTower:
    """Learns from the positives of train that have a history, by a softmax over each step's items.

    About a minute on one core, whatever the number of items; memory is a few times that of the vectors. The same seed
    gives the same tower on the same machine.

    Args:
        corpus: labels of the first action count. The split "valid", where there is one, says which step is kept, and
            no more.
        vectors: [items, width] of corpus.items, of length 1.
        options: None = the defaults.

    Raises:
        ValueError: when no positive of train has a history, or the learning rate is so high that scores are not finite.
    """
    options = options or AttentionTowerOptions()
    learning = _Learning(corpus, principal(vectors, options.width, options.evening), options)
    valid = corpus.splits.get(VALID, ())
    valid = valid[:: -(-len(valid) // _VALIDATED) or 1]
    metric = _telling(valid)
    best, highest = None, -np.inf
    for step in range(1, options.steps + 1):
        learning.step()
        if metric is not None and (step % options.evaluate_every == 0 or step == options.steps):
            tower = learning.tower()
            reached = measured(metric, [each[:, None] for each in tower.scores(valid)], valid)
            if reached > highest:
                best, highest = tower, reached
    return best or learning.tower()


def _telling(valid: Sequence[Example]) -> MetricName | None:
    """The metric that can tell steps apart; None where there is but one label, and nothing can."""
    labels = [set(np.unique(example.labels[:, 0]).tolist()) for example in valid]
    if any({0.0, 1.0} <= each for each in labels):
        return "ndcg@10"
    return "auc" if {0.0, 1.0} <= set().union(*labels) else None


def principal(vectors: Floats, width: int, evening: float) -> Floats:
    """[items, at most width], of length 1: the vectors seen along their main directions, each divided by its variance
    to the power `evening`."""
    centred = vectors - vectors.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred / max(len(vectors), 1))
    kept = np.flatnonzero(variances > variances[-1:] * 1e-6)[-width:]
    turned = centred @ (directions[:, kept] * variances[kept] ** -evening)
    lengths = np.linalg.norm(turned, axis=1, keepdims=True)
    return np.asarray(turned / np.where(lengths > 0, lengths, 1.0), np.float32)


class _Weights(nn.Module):
    """What is learnt. It begins as a cosine: nearest entries speak most, liked ones for, disliked ones against."""

    def __init__(self, width: int, history: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.eye(width))
        self.value = nn.Parameter(torch.eye(width))
        self.act_biases = nn.Parameter(torch.tensor([0.0, -1.0, -1.0]))
        self.act_weights = nn.Parameter(torch.tensor([1.0, -0.5, 0.2]))
        self.age_biases = nn.Parameter(torch.zeros(history))
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, candidates: Tensor, keys: Tensor, kinds: Tensor) -> Tensor:
        """Scores [users, candidates] of all for all.

        Args:
            candidates: [candidates, width].
            keys: [users, history, width].
            kinds: [users, history], of acts; _NONE where a history is shorter.
        """
        attention = torch.einsum("cd,uhd->uch", _SHARPNESS * (candidates @ self.query), keys)
        attention = attention + (self.act_biases[kinds] + self.age_biases)[:, None]
        attention = attention.masked_fill((kinds == _NONE)[:, None], float("-inf"))
        nothing = self.nothing.expand(*attention.shape[:2], 1)
        shares = torch.cat([attention, nothing], dim=2).softmax(dim=2)[:, :, :-1]
        told = torch.einsum("cd,uhd->uch", _SHARPNESS * (candidates @ self.value), keys)
        return (shares * told * self.act_weights[kinds][:, None]).sum(dim=2)


class _Learning:
    """A tower on its way."""

    def __init__(self, corpus: Corpus, keys: Floats, options: AttentionTowerOptions) -> None:
        self._options, self._keys = options, torch.from_numpy(keys)
        self._positives = [
            (example, item)
            for example in corpus.splits.get(TRAIN, ())
            if example.history
            for item in example.candidates[example.labels[:, 0] == 1].tolist()
        ]
        if not self._positives:
            raise ValueError(f"{corpus.name} has no positive with a history in train; a tower learns from nothing else")
        counts = np.bincount([item for _, item in self._positives], minlength=len(keys)) + 0.5
        expected = options.batch * counts / counts.sum() + options.extra_negatives / len(keys)
        self._taken_off = torch.from_numpy((options.correction * np.log(expected)).astype(np.float32))
        self._random = np.random.default_rng(options.seed)
        self._weights = _Weights(keys.shape[1], options.history)
        matrices = [self._weights.query, self._weights.value]
        others = [each for each in self._weights.parameters() if each.dim() < 2]
        groups = [{"params": matrices, "weight_decay": options.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=options.learning_rate)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: min(1.0, (step + 1) / _WARM_UP_STEPS) * (1 - step / options.steps)
        )

    def step(self) -> None:
        """Learns from one batch."""
        options = self._options
        drawn = self._random.integers(len(self._positives), size=options.batch)
        chosen = [self._positives[row] for row in drawn]
        extra = self._random.integers(len(self._keys), size=options.extra_negatives)
        items = torch.from_numpy(np.concatenate([[item for _, item in chosen], extra]).astype(np.int64))
        read = _padded([example.history for example, _ in chosen], options.history)
        scores = self._weights(self._keys[items], self._keys[read.items], read.kinds) - self._taken_off[items]
        known = _known(items, read)
        own = torch.arange(options.batch)
        known[own, own] = False
        loss = cross_entropy(scores.masked_fill(known, float("-inf")), own)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._weights.parameters(), _LARGEST_GRADIENT)
        self._optimizer.step()
        self._schedule.step()

    @torch.no_grad()
    def tower(self) -> AttentionTower:
        """As it is now."""
        weights = self._weights
        return AttentionTower(
            keys=self._keys.numpy(),
            queries=(_SHARPNESS * (self._keys @ weights.query)).numpy(),
            values=(_SHARPNESS * (self._keys @ weights.value)).numpy(),
            biases=(weights.act_biases[:, None] + weights.age_biases).numpy(),
            weights=weights.act_weights.numpy().copy(),
            nothing=float(weights.nothing),
        )


def _read(history: Sequence[Past], most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Items and kinds of acts of the newest entries."""
    newest = history[:most]
    items = np.fromiter((past.item for past in newest), np.int64, len(newest))
    return items, np.fromiter((_kind(past.action) for past in newest), np.int64, len(newest))


def _kind(action: str) -> int:
    if action in POSITIVE_ACTS:
        return _LIKED
    return _DISLIKED if action in NEGATIVE_ACTIONS else _OTHER


@dataclass(frozen=True, slots=True, eq=False)
class _Histories:
    """Several, of one length."""

    items: Tensor
    """[users, history], 0 where there are no more."""
    kinds: Tensor
    """[users, history], of acts; _NONE where there are no more."""


def _padded(histories: Sequence[Sequence[Past]], most: int) -> _Histories:
    items = np.zeros((len(histories), most), np.int64)
    kinds = np.full((len(histories), most), _NONE, np.int64)
    for row, history in enumerate(histories):
        found, of_kind = _read(history, most)
        items[row, : len(found)], kinds[row, : len(found)] = found, of_kind
    return _Histories(torch.from_numpy(items), torch.from_numpy(kinds))


def _known(items: Tensor, read: _Histories) -> Tensor:
    """[users, items]: what is no negative: what the user knows, and the one wanted, which is that of the same place."""
    past = read.items.masked_fill(read.kinds == _NONE, _NONE)
    return (items[None, :, None] == past[:, None, :]).any(dim=2) | (items[None, :] == items[: len(past), None])
