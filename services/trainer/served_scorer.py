"""Scores examples by the very code that serves: the same template, tokens, cached item states and probabilities.

What is measured through it is what the ranker would have answered. Items are encoded once each and kept, the users'
contexts a few at a time; memory stays within a limit however many items there are.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from services.trainer.batches import tokenise
from services.trainer.corpus import Corpus, Example
from shared.model.manifest import ModelManifest
from shared.model.ranking_model import Group, ItemState, RankingModel

_EXAMPLES_AT_ONCE = {"cpu": 32, "cuda": 256}
"""Their contexts are in memory together: up to 2.4 MB each for a base of 6 layers that are 384 wide, 10 for BERT."""
MOST_STATE_BYTES = 1 << 30
"""Kept of items; at split depth 4 of the packaged base that holds 30,000 of them, of vectors 700,000."""


def column_of(manifest: ModelManifest, corpus: Corpus) -> int:
    """Which of a model's actions is measured: the corpus' first, or the model's own first where it does not know it."""
    wanted = corpus.actions[0]
    return manifest.actions.index(wanted) if wanted in manifest.actions else 0


class ServedScorer:
    """A model version as the ranker serves it. Its scores are probabilities of the action of `column_of`."""

    probabilistic = True

    def __init__(
        self, corpus: Corpus, model: RankingModel, name: str = "", most_state_bytes: int = MOST_STATE_BYTES
    ) -> None:
        """Reads the items of `corpus`. `name` is for tables; left out, it is "<model>/<version>"."""
        manifest = model.manifest
        self.name = name or f"{manifest.name}/{manifest.version}"
        self._model = model
        self._tokens = tokenise(corpus, model.base.tokenizer, manifest.layout)
        self._column = column_of(manifest, corpus)
        self._kept: dict[int, ItemState] = {}
        """By row of the item, the one that was not read for longest first."""
        self._kept_bytes = 0
        self._most_bytes = most_state_bytes

    def scores(self, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        """Probabilities [candidates] of each example.

        Raises:
            FloatingPointError: when the model makes of a text what is not finite.
        """
        found = (self._model.score(groups) for groups in self._groups(examples))
        return [each[:, self._column].copy() for part in found for each in part]

    def logits(self, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        """Uncalibrated logits [candidates, actions of the model] of each example; raises as `scores`."""
        return [each for groups in self._groups(examples) for each in self._model.logits(groups)]

    def states(self, rows: Iterable[int]) -> list[ItemState]:
        """What the model keeps of each item, in order; what is not known yet is encoded."""
        asked = list(rows)
        wanted = dict.fromkeys(asked)
        missing = [row for row in wanted if row not in self._kept]
        found = {row: self._kept.pop(row) for row in wanted if row in self._kept}
        new = self._model.encode_items([self._tokens.candidates[row] for row in missing])
        found.update(zip(missing, new, strict=True))
        self._kept.update(found)
        self._kept_bytes += sum(state.nbytes for state in new)
        self._forget()
        return [found[row] for row in asked]

    def vectors(self) -> NDArray[np.float32]:
        """Of all items of the corpus, [items, width], of length 1; only a two-tower model has any."""
        return self._model.vectors(self.states(range(len(self._tokens.candidates))))

    def _forget(self) -> None:
        while self._kept_bytes > self._most_bytes:
            oldest = next(iter(self._kept))
            self._kept_bytes -= self._kept.pop(oldest).nbytes

    def _groups(self, examples: Sequence[Example]) -> Iterator[list[Group]]:
        """One for each example, a few examples at a time."""
        step = _EXAMPLES_AT_ONCE[self._model.bert.device.type]
        for start in range(0, len(examples), step):
            yield self._encoded(examples[start : start + step])

    def _encoded(self, examples: Sequence[Example]) -> list[Group]:
        texts = [self._tokens.context(example.history) for example in examples]
        different = [text for text in dict.fromkeys(texts) if text]
        contexts = dict(zip(different, self._model.encode_contexts(different), strict=True))
        bounds = np.cumsum([len(example.candidates) for example in examples])
        states = self.states(np.concatenate([example.candidates for example in examples]).tolist())
        return [
            Group(contexts.get(text), states[end - len(example.candidates) : end])
            for text, example, end in zip(texts, examples, bounds.tolist(), strict=True)
        ]
