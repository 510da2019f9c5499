"""Behaviour as training and evaluation read it: slates with labels, by split, and what had happened before the test.

Built once from any source; items are rows of one list from here on, so that texts are tokenised and encoded once.
Every history ends before its slate, and `events` before the first slate that is evaluated: nothing may look ahead.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.datasets import Item

TRAIN, VALID, TEST = "train", "valid", "test"
"""Names of the usual splits; a source may have more, e.g. "test-popular"."""


@dataclass(frozen=True, slots=True)
class Past:
    """Something the user had done before; `item` is a row of Corpus.items, `time` in unix seconds."""

    item: int
    action: str
    time: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A slate as it was shown to a user at `time` (unix seconds; None = not known), and what the user did with it."""

    impression_id: str
    user: str
    time: float | None
    history: tuple[Past, ...]
    """Newest first."""
    candidates: NDArray[np.int32]
    """[n], rows of Corpus.items."""
    labels: NDArray[np.float32]
    """[n, actions]: 1 done, 0 not done, not a number = not known."""
    positions: NDArray[np.int32] | None = None
    """[n], counted from 1; 0 = was not shown (a sampled negative); None = not known."""


@dataclass(frozen=True, slots=True)
class Event:
    """An act in the training period; `item` is a row of Corpus.items, `time` in unix seconds."""

    user: str
    item: int
    action: str
    time: float


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """A data set ready to learn from and to be measured on."""

    name: str
    items: tuple[Item, ...]
    actions: tuple[str, ...]
    """Names of the columns of Example.labels; the first is the one that ranking is measured by."""
    splits: Mapping[str, tuple[Example, ...]]
    """By name; examples by time."""
    events: tuple[Event, ...]
    """By time; all from before the first example that is not of the split "train"."""
    fingerprint: str
    """32 hexadecimal digits over everything above."""
    dropped: Mapping[str, int]
    """What was left out, and how often."""
    sampled: Mapping[str, int] = field(default_factory=dict)
    """By split, how many slates had no negative and were given sampled ones; splits without any left out."""
