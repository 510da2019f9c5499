"""Slates on which users choose what is popular, or whatever: what a fusion can learn from, and where it cannot."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.trainer.corpus import TEST, VALID, Corpus, Event, Example, Past
from shared.datasets import Item

DAY = 86_400.0
ITEMS, USERS = 30, 40
NOW = 1_700_000_000.0


@dataclass(frozen=True)
class Sure:
    """The same probability for everything, or one for each item."""

    by_item: np.ndarray
    name: str = "sure"
    probabilistic: bool = True

    def scores(self, examples: Sequence[Example]) -> list[np.ndarray]:
        return [self.by_item[example.candidates] for example in examples]


UNSURE = Sure(np.full(ITEMS, 0.3, np.float32))


def made_items() -> tuple[Item, ...]:
    words = ("bicycle", "race", "bank", "interest", "news")
    return tuple(
        Item(f"i{row}", f"{words[row % 5]} {words[row // 5 % 5]}", category="sport", published_at=NOW - row * DAY)
        if row % 7
        else Item(f"i{row}", f"{words[row % 5]} number", category="money")
        for row in range(ITEMS)
    )


def crowd_corpus(*, chosen: str = "popular", seed: int = 0) -> Corpus:
    """Users act on the first items most; on the slates they choose what is popular, or whatever."""
    draw = np.random.default_rng(seed)
    share = 1 / (1 + np.arange(ITEMS))
    acts = [
        Event(f"u{draw.integers(USERS)}", int(draw.choice(ITEMS, p=share / share.sum())), "click", NOW - 100.0 + place)
        for place in range(100)
    ]
    splits = {name: tuple(_example(draw, name, number, chosen) for number in range(80)) for name in (VALID, TEST)}
    return Corpus("made", made_items(), ("click",), splits, tuple(acts), "0" * 32, {})


def _example(draw: np.random.Generator, split: str, number: int, chosen: str) -> Example:
    candidates = draw.choice(ITEMS, 8, replace=False)
    chance = 0.8 / (1 + candidates) ** 0.5 if chosen == "popular" else np.full(8, 0.3)
    return Example(
        impression_id=f"{split}-{number}",
        user=f"u{draw.integers(USERS)}",
        time=NOW + number + (1000.0 if split == TEST else 0.0),
        history=tuple(Past(int(item), "click", None) for item in draw.integers(0, ITEMS, draw.integers(0, 6))),
        candidates=candidates.astype(np.int32),
        labels=(draw.random(8) < chance).astype(np.float32)[:, None],
    )


def drawn_vectors() -> np.ndarray:
    """Unit vectors [ITEMS, 8]."""
    vectors = np.random.default_rng(0).normal(size=(ITEMS, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
