"""What is in a corpus, counted: the numbers one wants to see before training on it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.trainer.corpus import TRAIN, Corpus, Example
from services.trainer.propensities import places_in
from services.trainer.remarks import later_than_held_out, remarks_on, without_time
from shared.model.text import ItemText, text_of_item

_PLACES = 10
"""Whose rates are told."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of how many; the 90th percentile is the least length that 90 % do not exceed. All 0 without any."""

    median: float
    p90: int
    longest: int


@dataclass(frozen=True, slots=True)
class Count:
    """How often something occurs."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class SplitDescription:
    """One split. Times in unix seconds, None = not known."""

    name: str
    slates: int
    candidates: int
    users: int
    positives: tuple[Count, ...]
    """By action, in the order of Corpus.actions."""
    history: Lengths
    """Acts before the slate."""
    first: float | None
    last: float | None


@dataclass(frozen=True, slots=True)
class Description:
    """A corpus in numbers."""

    name: str
    fingerprint: str
    users: int
    """In slates or among the acts."""
    items: int
    acts: tuple[Count, ...]
    """Of the training period, by action, the most frequent first."""
    density: float
    """Share of the pairs of a user and an item with an act of the training period; users without any left out."""
    title_characters: Lengths
    text_characters: Lengths
    """Of what a model reads of an item."""
    splits: tuple[SplitDescription, ...]
    first: float | None
    """Of all acts and slates, unix seconds."""
    last: float | None
    dropped: tuple[Count, ...]
    sampled: tuple[Count, ...]
    """By split, slates that had no negative and were given sampled ones."""
    later_than_held_out: int
    """Train slates that lie later than the first slate of any other split."""
    without_time: int
    """Train slates."""
    rate_by_position: tuple[float | None, ...]
    """How often what stood there on train slates was chosen, over the same of the first place; up to ten places, None
    where nothing stood, empty where positions or choices at the first are not known."""
    remarks: tuple[str, ...]
    """Sentences on what of this one should know before one believes figures."""


def describe(corpus: Corpus) -> Description:
    """The corpus in numbers."""
    acting = {event.user for event in corpus.events}
    pairs = {(event.user, event.item) for event in corpus.events}
    splits = tuple(_split(name, examples, corpus.actions) for name, examples in corpus.splits.items())
    times = [event.time for event in (*corpus.events[:1], *corpus.events[-1:])]
    times += [time for split in splits for time in (split.first, split.last) if time is not None]
    texts = [text_of_item(ItemText(item.title, item.category, item.publisher)) for item in corpus.items]
    return Description(
        name=corpus.name,
        fingerprint=corpus.fingerprint,
        users=len(acting.union(example.user for examples in corpus.splits.values() for example in examples)),
        items=len(corpus.items),
        acts=_counts(Counter(event.action for event in corpus.events)),
        density=len(pairs) / (len(acting) * len(corpus.items)) if pairs else 0.0,
        title_characters=_lengths([len(item.title) for item in corpus.items]),
        text_characters=_lengths([len(text) for text in texts]),
        splits=splits,
        first=min(times, default=None),
        last=max(times, default=None),
        dropped=_counts(Counter(corpus.dropped)),
        sampled=tuple(Count(split, count) for split, count in corpus.sampled.items()),
        later_than_held_out=later_than_held_out(corpus),
        without_time=without_time(corpus),
        rate_by_position=places_in(corpus.splits.get(TRAIN, ())).relative(_PLACES),
        remarks=remarks_on(corpus),
    )


def _split(name: str, examples: Sequence[Example], actions: Sequence[str]) -> SplitDescription:
    positives = np.zeros(len(actions), np.int64)
    for example in examples:
        positives += (example.labels == 1).sum(axis=0)
    times = [example.time for example in examples if example.time is not None]
    return SplitDescription(
        name=name,
        slates=len(examples),
        candidates=sum(len(example.candidates) for example in examples),
        users=len({example.user for example in examples}),
        positives=tuple(Count(action, int(count)) for action, count in zip(actions, positives, strict=True)),
        history=_lengths([len(example.history) for example in examples]),
        first=min(times, default=None),
        last=max(times, default=None),
    )


def _counts(counter: Counter[str]) -> tuple[Count, ...]:
    return tuple(Count(name, count) for name, count in sorted(counter.items(), key=lambda pair: (-pair[1], pair[0])))


def _lengths(lengths: Sequence[int]) -> Lengths:
    if not lengths:
        return Lengths(0.0, 0, 0)
    p90 = np.percentile(lengths, 90, method="inverted_cdf")
    return Lengths(float(np.median(lengths)), int(p90), max(lengths))
