"""What is in a corpus, counted: the numbers one wants to see before training on it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.trainer.corpus import Corpus, Example
from shared.model.text import ItemText, text_of_item


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
