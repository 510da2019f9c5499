"""Negatives for slates that tell only what was chosen: a source of positives alone would teach that all is liked.

They are drawn as for ratings (`rating_slates`): uniform and popular in equal parts, as many for each positive. Never
among what did not exist yet at the slate's time, as far as that is known, or the model would learn that the new is
never chosen; and never among what its user had acted on by the end of the part that the slate is of.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from services.trainer.assembly import CorpusOptions, fingerprint_of
from services.trainer.corpus import TRAIN, Corpus, Example
from services.trainer.rating_slates import MEASURED_NEGATIVES, mixed_sampler


def with_sampled_negatives(corpus: Corpus, parts: Sequence[str], options: CorpusOptions) -> Corpus:
    """The corpus with negatives on those slates of `parts` that have positives alone; the very same without any.

    Args:
        corpus: its other splits stay as they are.
        parts: names of splits, in the order of their time: "train", and what was cut off its end.
        options: `negatives` for each positive of train, and the seed.
    """
    named = [part for part in parts if part in corpus.splits]
    least = 2 if _judges_one_by_one(corpus) else 1
    if not any(_lacks_negatives(example, least) for example in _of(corpus, named)):
        return corpus
    sampler = _Sampler(corpus)
    splits, sampled = dict(corpus.splits), dict[str, int]()
    for number, part in enumerate(named):
        rng = np.random.default_rng((options.seed, number))
        sampler.learn_acts_of(corpus.splits[part])
        each = options.negatives if part == TRAIN else MEASURED_NEGATIVES
        splits[part] = tuple(
            sampler.completed(example, each, rng) if _lacks_negatives(example, least) else example
            for example in corpus.splits[part]
        )
        sampled[part] = sum(new is not old for new, old in zip(splits[part], corpus.splits[part], strict=True))
    made = replace(corpus, splits=splits, sampled={part: count for part, count in sampled.items() if count})
    return replace(made, fingerprint=fingerprint_of(made))


def _of(corpus: Corpus, parts: Iterable[str]) -> Iterator[Example]:
    return chain.from_iterable(corpus.splits[part] for part in parts)


def _lacks_negatives(example: Example, least: int) -> bool:
    """Whether something of a slate of so many candidates, or more, was chosen and nothing passed over."""
    labels = example.labels[:, 0]
    return len(labels) >= least and bool((labels == 1).any() and not (labels == 0).any())


def _judges_one_by_one(corpus: Corpus) -> bool:
    """Whether what was passed over, or disliked, is told in slates of one candidate, as in TALLRec's task (arXiv
    2305.00447): there a positive that stands alone is a judgement, and lacks nothing."""
    return any(len(example.candidates) == 1 and example.labels[0, 0] == 0 for example in _of(corpus, corpus.splits))


class _Sampler:
    """Draws for the slates of a corpus. Items are places in the order in which they came to exist, so that those of
    before a slate are the first ones."""

    def __init__(self, corpus: Corpus) -> None:
        since = _existing_since(corpus)
        self._order = np.argsort(since, kind="stable")
        self._since = since[self._order]
        self._places = np.empty_like(self._order)
        self._places[self._order] = np.arange(len(self._order))
        self._mixed = mixed_sampler(_times_chosen(corpus)[self._order])
        self._touched: dict[str, set[int]] = {}
        for event in corpus.events:
            self._touched.setdefault(event.user, set()).add(int(self._places[event.item]))

    def learn_acts_of(self, examples: Iterable[Example]) -> None:
        """What users did before and on these slates is not drawn for them from now on."""
        for example in examples:
            touched = self._touched.setdefault(example.user, set())
            touched.update(self._places[[past.item for past in example.history]].tolist() if example.history else ())
            touched.update(self._places[example.candidates[example.labels[:, 0] == 1]].tolist())

    def completed(self, example: Example, each: int, rng: np.random.Generator) -> Example:
        """The slate with up to `each` negatives for every positive; itself where there is nothing to draw.

        In random order: a ranking that prefers what comes first must not gain by it.
        """
        unwanted = {*self._touched[example.user], *self._places[example.candidates].tolist()}
        existing = len(self._since) if example.time is None else np.searchsorted(self._since, example.time, "right")
        positives = int((example.labels[:, 0] == 1).sum())
        drawn = self._mixed.draw(each * positives, unwanted, rng, among=int(existing))
        if not drawn:
            return example
        order = rng.permutation(len(example.candidates) + len(drawn))
        negatives = np.zeros((len(drawn), example.labels.shape[1]), np.float32)
        candidates = np.concatenate([example.candidates, self._order[drawn].astype(np.int32)])
        return replace(
            example,
            candidates=candidates[order],
            labels=np.concatenate([example.labels, negatives])[order],
            positions=_with_none(example.positions, len(drawn), order),
        )


def _with_none(positions: NDArray[np.int32] | None, more: int, order: NDArray[np.int64]) -> NDArray[np.int32] | None:
    """Positions with 0 for so many more candidates, which stood nowhere."""
    return None if positions is None else np.concatenate([positions, np.zeros(more, np.int32)])[order]


def _existing_since(corpus: Corpus) -> NDArray[np.float64]:
    """[items]: unix seconds of publication or, if earlier, of the first sight; minus infinity without both."""
    since = np.array([np.inf if item.published_at is None else item.published_at for item in corpus.items])
    histories = {}
    for example in _of(corpus, corpus.splits):
        histories[id(example.history)] = example.history
        if example.time is not None:
            since[example.candidates] = np.minimum(since[example.candidates], example.time)
    for past in chain.from_iterable(histories.values()):
        if past.time is not None and past.time < since[past.item]:
            since[past.item] = past.time
    for event in corpus.events:
        since[event.item] = min(since[event.item], event.time)
    since[np.isposinf(since)] = -np.inf
    return since


def _times_chosen(corpus: Corpus) -> NDArray[np.float64]:
    """[items]: on train slates."""
    counts = Counter[int]()
    for example in corpus.splits[TRAIN]:
        counts.update(example.candidates[example.labels[:, 0] == 1].tolist())
    return np.array([counts[row] for row in range(len(corpus.items))], np.float64)
