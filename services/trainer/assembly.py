"""Puts corpora together: items become rows, histories become shared objects, and what was held out cuts what was known.

Memory is what the corpus needs: an impression is turned into an example as it is read, an act is one object however
many slates it stands behind, and a user's unchanged history is one tuple.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import chain
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from services.trainer.corpus import TRAIN, Corpus, Event, Example, Past
from shared.datasets import Action, HistoryEntry, Impression, Interaction, Item

LABELLED_ACTIONS: tuple[Action, ...] = ("click", "like", "share", "comment", "purchase", "dwell", "dislike", "hide")
"""What a source that knows every act can fill columns with, in this order."""
_NO_ACT = "impression"


@dataclass(frozen=True, slots=True)
class CorpusOptions:
    """How a source becomes a corpus.

    Raises:
        ValueError: naming a value out of its range.
    """

    label_action: str = "click"
    """Name of the first column of labels: what a label of 1 says was done. Made slates of ratings have "like"."""
    least_positives: int = 50
    """In train; further columns with fewer are left out."""
    long_dwell_s: float = 60.0
    """A shorter stay is no act: a minute is what popularity counts as a click."""
    valid_share: float = 0.1
    """Of the whole where test is cut off too, else of train; 0 = no validation."""
    test_share: float = 0.1
    """Where the source has no test of its own."""
    train_rows: tuple[int, ...] | None = None
    """Few-shot: only these rows of train, from 0, as the file has them (by time where train is no file)."""
    negatives: int = 4
    """Per positive of training slates that are made, or have none: two of each kind, and slates short enough that
    users, not negatives, fill a batch."""
    max_history: int = 50
    """The newest so many acts; a model's context holds fewer."""
    same_second: bool = False
    """True: where the source lists an act of the slate's own second in its history, it stays. For data whose published
    protocol has it so."""
    seed: int = 0
    """Of what is drawn: negatives and which likes are measured."""

    def __post_init__(self) -> None:
        if min(self.valid_share, self.test_share) < 0 or self.valid_share + self.test_share >= 1:
            raise ValueError("valid_share and test_share must not be negative and must leave something to train on")
        for name, least in {"negatives": 1, "max_history": 0, "least_positives": 1, "long_dwell_s": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; make it at least {least}")
        if not self.label_action:
            raise ValueError("label_action is empty; name what a label of 1 says was done")
        if self.train_rows is not None and min(self.train_rows, default=0) < 0:
            raise ValueError("train_rows has a negative row; the first row is 0")


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """What a source makes; lists are by time where times are known."""

    name: str
    columns: tuple[str, ...]
    splits: Mapping[str, Sequence[Example]]
    acts: Iterable[Event] | None = None
    """All that is known to have been done, held-out periods included; None = what the training examples tell."""


@dataclass(slots=True, eq=False)
class Assembly:
    """The items of a corpus, what examples share, and what was dropped so far."""

    items: tuple[Item, ...]
    options: CorpusOptions
    dropped: Counter[str]
    rows: dict[str, int] = field(init=False)
    _acts: dict[Past, Past] = field(default_factory=dict)
    _undated: dict[str, tuple[tuple[HistoryEntry, ...], tuple[Past, ...]]] = field(default_factory=dict)
    """By user the last history without times, which is the same at every slate, and what was made of it."""

    def __post_init__(self) -> None:
        self.rows = {item.item_id: row for row, item in enumerate(self.items)}

    def example(self, shown: Impression, labels: NDArray[np.float32]) -> Example:
        """The example of an impression; `labels` [candidates, columns]."""
        positions = [each.position for each in shown.candidates if each.position is not None]
        return Example(
            impression_id=shown.impression_id,
            user=sys.intern(shown.user_id),
            time=shown.time,
            history=self._history(shown),
            candidates=np.array([self.rows[each.item_id] for each in shown.candidates], np.int32),
            labels=labels,
            positions=np.array(positions, np.int32) if len(positions) == len(shown.candidates) else None,
        )

    def past(self, act: Past) -> Past:
        """The one object for this act."""
        return self._acts.setdefault(act, act)

    def events(self, interactions: Iterable[Interaction]) -> list[Event]:
        """The acts among the interactions; what was only shown, and short stays, are none."""
        return [
            Event(sys.intern(each.user_id), self.rows[each.item_id], each.action, each.time)
            for each in interactions
            if is_act(each, self.options)
        ]

    def finish(self, draft: Draft) -> Corpus:
        """The corpus: columns with too few positives left out, and no act from the held-out time."""
        columns, splits = self._columns(draft)
        known = _told_by(splits.get(TRAIN, ()), columns[0]) if draft.acts is None else draft.acts
        first = first_held_out(splits)
        events = sorted(
            (event for event in known if first is None or event.time < first),
            key=attrgetter("time"),  # alone: keys of several fields would be a second copy
        )
        corpus = Corpus(draft.name, self.items, columns, splits, tuple(events), "", dict(self.dropped))
        return replace(corpus, fingerprint=fingerprint_of(corpus))

    def _history(self, shown: Impression) -> tuple[Past, ...]:
        told, made = self._undated.get(shown.user_id, ((), ()))
        if told is shown.history:
            return made
        entries = [self._entry(entry) for entry in reversed(shown.history) if self._was_before(entry, shown.time)]
        if all(past.time is not None for past in entries):
            entries.sort(key=lambda past: -(past.time or 0.0))
        history = tuple(entries[: self.options.max_history])
        if all(entry.time is None for entry in shown.history):
            self._undated[shown.user_id] = (shown.history, history)
        return history

    def _entry(self, entry: HistoryEntry) -> Past:
        return self.past(Past(self.rows[entry.item_id], entry.action, entry.time))

    def _was_before(self, entry: HistoryEntry, time: float | None) -> bool:
        if entry.action == _NO_ACT:
            return False
        if time is None or entry.time is None or entry.time < time or (self.options.same_second and entry.time == time):
            return True
        self.dropped["history entry not before its slate"] += 1
        return False

    def _columns(self, draft: Draft) -> tuple[tuple[str, ...], dict[str, tuple[Example, ...]]]:
        positives = np.zeros(len(draft.columns), np.int64)
        for example in draft.splits.get(TRAIN, ()):
            positives += (example.labels == 1).sum(axis=0)
        keep = [
            column for column, count in enumerate(positives) if column == 0 or count >= self.options.least_positives
        ]
        splits = {name: tuple(examples) for name, examples in draft.splits.items()}
        if len(keep) < len(draft.columns):
            splits = {
                name: tuple(replace(example, labels=example.labels[:, keep]) for example in examples)
                for name, examples in splits.items()
            }
        return tuple(draft.columns[column] for column in keep), splits


def is_act(interaction: Interaction, options: CorpusOptions) -> bool:
    """Whether something was done: showing is not, nor is a stay that is too short to tell."""
    if interaction.action == "dwell":
        return interaction.value >= options.long_dwell_s
    return interaction.action != _NO_ACT


def columns_of(options: CorpusOptions) -> tuple[str, ...]:
    """The columns of a source that knows every act, the one that ranking is measured by first."""
    return (options.label_action, *(action for action in LABELLED_ACTIONS if action != options.label_action))


def choices(examples: Iterable[Example], label_action: str) -> Iterator[Event]:
    """What was chosen on slates, as acts of the slate's time; slates without time tell none."""
    for example in examples:
        if example.time is not None:
            for item in example.candidates[example.labels[:, 0] == 1].tolist():
                yield Event(example.user, item, label_action, example.time)


def _told_by(examples: Sequence[Example], label_action: str) -> Iterable[Event]:
    """What the examples tell was done, each act once: their histories as far as dated, and what was chosen."""
    past = (
        Event(example.user, past.item, past.action, past.time)
        for example in examples
        for past in reversed(example.history)
        if past.time is not None
    )
    return dict.fromkeys(chain(past, choices(examples, label_action)))


def first_held_out(splits: Mapping[str, Sequence[Example]]) -> float | None:
    """When the first slate outside train was shown, unix seconds; None where no such time is known."""
    times = (
        example.time
        for name, examples in splits.items()
        if name != TRAIN
        for example in examples
        if example.time is not None
    )
    return min(times, default=None)


def fingerprint_of(corpus: Corpus) -> str:
    """32 hexadecimal digits over all of a corpus but what was dropped."""
    digest = blake2b(digest_size=16)
    digest.update(repr((corpus.name, corpus.actions, len(corpus.items), len(corpus.events))).encode())
    for item in corpus.items:
        digest.update(repr(item).encode())
    histories: dict[int, bytes] = {}  # by the identity of tuples that the corpus keeps alive
    for name, examples in corpus.splits.items():
        digest.update(repr((name, len(examples))).encode())
        for example in examples:
            _add_example(digest.update, example, histories)
    for event in corpus.events:
        digest.update(repr((event.user, event.item, event.action, event.time)).encode())
    return digest.hexdigest()


def _add_example(update: Callable[[bytes], None], example: Example, histories: dict[int, bytes]) -> None:
    shape = (len(example.candidates), len(example.history), example.positions is None)
    update(repr((example.impression_id, example.user, example.time, *shape)).encode())
    update(example.candidates.tobytes())
    update(np.ascontiguousarray(example.labels).tobytes())
    if example.positions is not None:
        update(example.positions.tobytes())
    told = histories.get(id(example.history))
    if told is None:
        told = histories[id(example.history)] = _history_digest(example.history)
    update(told)


def _history_digest(history: tuple[Past, ...]) -> bytes:
    digest = blake2b(digest_size=16)
    digest.update(np.fromiter((past.item for past in history), np.int32, len(history)).tobytes())
    times = (np.nan if past.time is None else past.time for past in history)
    digest.update(np.fromiter(times, np.float64, len(history)).tobytes())
    digest.update("\0".join(past.action for past in history).encode())
    return digest.digest()
