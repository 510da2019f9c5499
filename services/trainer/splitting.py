"""Cuts by time, so that nothing that is learnt from lies after anything that is measured, and few-shot choices."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from services.trainer.assembly import CorpusOptions
from services.trainer.corpus import TEST, TRAIN, VALID, Example
from shared.datasets import DatasetError


class Dated(Protocol):
    """Something at a time in unix seconds, if known."""

    @property
    def time(self) -> float | None: ...


T = TypeVar("T", bound=Dated)


def by_time(entries: Sequence[T]) -> list[T]:
    """In the order of time, equal times in the order given; the order given where a time is not known."""
    if any(entry.time is None for entry in entries):
        return list(entries)
    return sorted(entries, key=_time)


def last_part(entries: list[T], share: float) -> tuple[list[T], list[T]]:
    """Entries in the order of `by_time` as (earlier, the last `share` of them); a moment is never torn: entries of
    the time where the cut falls are all in the later part."""
    kept = len(entries) - round(len(entries) * share)
    if 0 < kept < len(entries) and all(entry.time is not None for entry in entries):
        kept = bisect_left(entries, _time(entries[kept]), key=_time)
    return entries[:kept], entries[kept:]


def cut(examples: Sequence[Example], options: CorpusOptions) -> dict[str, list[Example]]:
    """A source without splits: the last test_share is "test", the valid_share before it "valid"."""
    rest, test = last_part(by_time(examples), options.test_share)
    rest, valid = last_part(rest, options.valid_share / (1.0 - options.test_share))
    named = {TRAIN: rest, VALID: valid, TEST: test}
    return {name: part for name, part in named.items() if part or name == TRAIN}


def with_valid(splits: Mapping[str, Sequence[Example]], options: CorpusOptions) -> dict[str, list[Example]]:
    """Named splits by time; without a split "valid" the last valid_share of "train" becomes it. Others, "dev" among
    them, are never taken for it: they are what is reported."""
    named = {name: by_time(examples) for name, examples in splits.items()}
    if TRAIN in named and VALID not in named:
        named[TRAIN], valid = last_part(named[TRAIN], options.valid_share)
        named |= {VALID: valid} if valid else {}
    return {name: named[name] for name in sorted(named, key=lambda name: (name != TRAIN, name != VALID, name))}


class ChosenRows:
    """Which training examples a few-shot run keeps: `note` each as it is read, then `choose`."""

    def __init__(self, options: CorpusOptions) -> None:
        self._wanted = None if options.train_rows is None else frozenset(options.train_rows)
        self._noted: dict[int, Example] = {}
        self._rows = 0

    def note(self, row: int, example: Example) -> None:
        """An example and its row, from 0."""
        self._rows = max(self._rows, row + 1)
        if self._wanted is not None and row in self._wanted:
            self._noted[row] = example

    def choose(self, train: list[Example], where: str) -> list[Example]:
        """What stays of train. `where` names the source in errors.

        Raises:
            DatasetError: when a row does not exist, or has become validation.
        """
        if self._wanted is None:
            return train
        if max(self._wanted, default=-1) >= self._rows:
            raise DatasetError(
                f"{where}: train_rows names row {max(self._wanted)}, but train has rows 0 to {self._rows - 1}"
            )
        kept = {id(example) for example in self._noted.values()}
        chosen = [example for example in train if id(example) in kept]
        if len(chosen) < len(kept):
            raise DatasetError(
                f"{where}: {len(kept) - len(chosen)} of train_rows lie in the part of train that is kept for "
                "validation; name earlier rows, give the data a valid split, or set valid_share to 0"
            )
        return chosen


def _time(entry: Dated) -> float:
    if entry.time is None:
        raise TypeError("an entry without time has no place in time")
    return entry.time
