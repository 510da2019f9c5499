"""Scorers around a scorer: asked once, since tables and blends read the same scores of the same split; or renamed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.trainer.corpus import Example
from services.trainer.evaluation import ExampleScorer


class ScoredOnce:
    """Another scorer, with what it said of each sequence of examples remembered."""

    def __init__(self, scorer: ExampleScorer) -> None:
        self.name = scorer.name
        self.probabilistic = scorer.probabilistic
        self._scorer = scorer
        self._said: dict[int, tuple[Sequence[Example], list[NDArray[np.float32]]]] = {}
        """By identity of the examples, which are held so that no others can have it."""

    def scores(self, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        """[candidates] of each example; of the same tuple of examples, the same arrays."""
        if id(examples) not in self._said:
            self._said[id(examples)] = (examples, self._scorer.scores(examples))
        return self._said[id(examples)][1]


class Renamed:
    """Another scorer under another name, where a table has it twice over different models."""

    def __init__(self, scorer: ExampleScorer, name: str) -> None:
        self.name = name
        self.probabilistic = scorer.probabilistic
        self._scorer = scorer

    def scores(self, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        """[candidates] of each example."""
        return self._scorer.scores(examples)
