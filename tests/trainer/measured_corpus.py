"""Small corpora to measure on: written out by hand, or drawn from a seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.trainer.corpus import Corpus, Event, Example, Past
from shared.datasets import Item

NAN = float("nan")


def made_item(row: int, title: str = "", category: str = "", domain: str = "") -> Item:
    return Item(f"item-{row}", title or f"title {row}", category=category, domain=domain)


def made_example(
    number: int,
    candidates: Sequence[int],
    labels: Sequence[float],
    history: Sequence[Past] = (),
    user: str = "",
    time: float | None = None,
) -> Example:
    return Example(
        impression_id=f"impression-{number}",
        user=user or f"user-{number}",
        time=time,
        history=tuple(history),
        candidates=np.array(candidates, np.int32),
        labels=np.array(labels, np.float32)[:, None],
    )


def made_corpus(items: Sequence[Item], test: Sequence[Example], events: Sequence[Event] = ()) -> Corpus:
    return Corpus("made", tuple(items), ("click",), {"test": tuple(test)}, tuple(events), "0" * 32, {})


def drawn_corpus(seed: int = 0, examples: int = 60, users: int = 12) -> Corpus:
    """Items of two domains and three categories, events, and slates of 2 to 8 with any labels."""
    draw = np.random.default_rng(seed)
    items = [made_item(row, category="abc"[row % 3], domain=("news", "shop")[row % 2]) for row in range(30)]
    acts = ("click", "like", "dislike", "view")
    events = [
        Event(f"user-{draw.integers(users)}", int(draw.integers(25)), acts[draw.integers(4)], float(time))
        for time in range(150)
    ]
    test = [
        made_example(
            number,
            draw.permutation(30)[: draw.integers(2, 9)].tolist() or [0],
            [],
            [Past(int(draw.integers(25)), "click", None) for _ in range(draw.integers(0, 25))],
            f"user-{draw.integers(users)}",
        )
        for number in range(examples)
    ]
    labelled = [
        made_example(
            number,
            each.candidates.tolist(),
            draw.integers(0, 2, len(each.candidates)).tolist(),
            each.history,
            each.user,
            1000.0 + number,
        )
        for number, each in enumerate(test)
    ]
    return made_corpus(items, labelled, events)


@dataclass(frozen=True)
class TableScorer:
    """A score for each item, whoever asks."""

    by_item: NDArray[np.float32]
    name: str = "table"
    probabilistic: bool = False

    def scores(self, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        return [self.by_item[example.candidates] for example in examples]
