"""Slates as tensors: what repeats in a batch is there once, and nothing is padded but attention.

Texts are tokenised once per corpus. A batch holds its different user contexts and its different items, each as one
packed sequence, and says which candidate is which item for which context; so lower layers encode an item once however
many slates show it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from services.trainer.corpus import Corpus, Example, Past
from shared.datasets import Item
from shared.model.manifest import InputLayout
from shared.model.packing import Packing, pack_segments
from shared.model.text import NEGATIVE_ACTIONS, HistoryText, ItemText, text_of_history, text_of_item
from shared.model.tokens import TokenIds, Tokeniser

_TOKENISED_AT_ONCE = 4096
_ROW_CANDIDATES = 16
"""Candidates that share a row of the attention's grid; longer slates take several rows, shorter ones pad less."""


@dataclass(frozen=True, slots=True, eq=False)
class CorpusTokens:
    """Token ids of a corpus' items, by row: as a candidate, and as a plain entry of a history."""

    candidates: tuple[TokenIds, ...]
    entries: tuple[TokenIds, ...]
    tokeniser: Tokeniser

    def context(self, history: Sequence[Past]) -> TokenIds:
        """The user context of a history, newest first; empty when there is nothing to read."""
        return self.tokeniser.context(
            self.entries[past.item] for past in history if past.action not in NEGATIVE_ACTIONS
        )


def tokenise(corpus: Corpus, tokenizer: PreTrainedTokenizerBase, layout: InputLayout) -> CorpusTokens:
    """Tokenises every item once, in the template that is served."""
    tokeniser = Tokeniser(tokenizer, layout)
    plain = _plain(tokeniser, [_item_text(item) for item in corpus.items])
    entries = _plain(tokeniser, [text_of_history(HistoryText(item.title, item.category)) for item in corpus.items])
    return CorpusTokens(tuple(tokeniser.candidate(ids) for ids in plain), tuple(entries), tokeniser)


def _item_text(item: Item) -> str:
    return text_of_item(ItemText(item.title, item.category, item.publisher))


def _plain(tokeniser: Tokeniser, texts: Sequence[str]) -> list[TokenIds]:
    different = list(dict.fromkeys(texts))
    found: dict[str, TokenIds] = {}
    for start in range(0, len(different), _TOKENISED_AT_ONCE):
        part = different[start : start + _TOKENISED_AT_ONCE]
        found.update(zip(part, tokeniser.plain(part), strict=True))
    return [found[text] for text in texts]


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """Texts as one packed sequence: `ids` int64 [tokens]."""

    ids: Tensor
    packing: Packing

    def to(self, device: torch.device) -> "Texts":
        """The same on a device."""
        return Texts(self.ids.to(device, non_blocking=True), _moved(self.packing, device))


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Candidates' tokens laid out for attention: [rows, columns, longest], each row reading one context."""

    item_tokens: Tensor
    """[tokens] int64: which token of the batch's items each token of the candidates is."""
    packing: Packing
    """Of the candidates."""
    places: Tensor
    """[tokens] int64: where each token lies in the grid."""
    context_of_row: Tensor
    """[rows] int64; the number after the last context = the user has none."""
    columns: int

    def to(self, device: torch.device) -> "Grid":
        """The same on a device."""
        return replace(
            self,
            item_tokens=self.item_tokens.to(device, non_blocking=True),
            packing=_moved(self.packing, device),
            places=self.places.to(device, non_blocking=True),
            context_of_row=self.context_of_row.to(device, non_blocking=True),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some slates, their candidates one after another; index tensors are int64."""

    contexts: Texts | None
    """Different user contexts; None = no user here has any."""
    items: Texts
    """Different items, in the order of `item_rows`."""
    item_rows: Tensor
    """[items], rows of Corpus.items."""
    grid: Grid
    item_of: Tensor
    """[candidates], into `items`."""
    context_of: Tensor
    """[candidates], into `contexts`; the number after the last = none."""
    slate_of: Tensor
    """[candidates], counted from 0."""
    labels: Tensor
    """[candidates, actions], float32: 1, 0, or not a number."""
    positions: Tensor
    """[candidates], counted from 1; 0 = not known."""
    slates: int

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        moved: dict[str, Any] = {
            each.name: value.to(device)
            for each in fields(self)
            if isinstance(value := getattr(self, each.name), Tensor | Texts | Grid)
        }
        return replace(self, **moved)


def make_batch(examples: Sequence[Example], tokens: CorpusTokens) -> Batch:
    """The batch of these slates, one at least, on the CPU."""
    contexts: dict[TokenIds, int] = {}
    context_of = []
    for example in examples:
        ids = tokens.context(example.history)
        context_of.append(contexts.setdefault(ids, len(contexts)) if ids else -1)
    context_of_slate = np.asarray(context_of, dtype=np.int64)
    context_of_slate[context_of_slate < 0] = len(contexts)
    sizes = np.asarray([len(example.candidates) for example in examples], dtype=np.int64)
    item_rows, item_of = np.unique(np.concatenate([example.candidates for example in examples]), return_inverse=True)
    items = _texts([tokens.candidates[row] for row in item_rows])
    return Batch(
        contexts=_texts(list(contexts)) if contexts else None,
        items=items,
        item_rows=torch.from_numpy(item_rows.astype(np.int64)),
        grid=_grid(items.packing, item_of, sizes, context_of_slate),
        item_of=torch.from_numpy(item_of.astype(np.int64)),
        context_of=torch.from_numpy(np.repeat(context_of_slate, sizes)),
        slate_of=torch.from_numpy(np.repeat(np.arange(len(examples)), sizes)),
        labels=torch.from_numpy(np.concatenate([example.labels for example in examples]).astype(np.float32)),
        positions=torch.from_numpy(np.concatenate([_positions(example) for example in examples])),
        slates=len(examples),
    )


def _positions(example: Example) -> NDArray[np.int64]:
    if example.positions is None:
        return np.zeros(len(example.candidates), dtype=np.int64)
    return example.positions.astype(np.int64)


def _texts(texts: Sequence[TokenIds]) -> Texts:
    flat = np.concatenate([np.asarray(text, dtype=np.int64) for text in texts])
    return Texts(torch.from_numpy(flat), pack_segments([len(text) for text in texts], torch.device("cpu")))


def _grid(
    items: Packing, item_of: NDArray[np.int64], sizes: NDArray[np.int64], context_of_slate: NDArray[np.int64]
) -> Grid:
    """`sizes`: candidates of each slate."""
    lengths = np.asarray(items.lengths)[item_of]
    packing = pack_segments(lengths.tolist(), torch.device("cpu"))
    starts = items.bounds.numpy()[:-1].astype(np.int64)[item_of]
    segment_of, place_of = packing.segment_of.numpy(), packing.place_of.numpy()
    columns = int(min(_ROW_CANDIDATES, sizes.max()))
    rows_of_slate = -(-sizes // columns)
    first_row = np.cumsum(rows_of_slate) - rows_of_slate
    within = np.arange(len(item_of)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    cell = (np.repeat(first_row, sizes) + within // columns) * columns + within % columns
    return Grid(
        item_tokens=torch.from_numpy(starts[segment_of] + place_of),
        packing=packing,
        places=torch.from_numpy(cell[segment_of] * packing.longest + place_of),
        context_of_row=torch.from_numpy(np.repeat(context_of_slate, rows_of_slate)),
        columns=columns,
    )


def _moved(packing: Packing, device: torch.device) -> Packing:
    names = ("bounds", "firsts", "lasts", "segment_of", "place_of")
    return replace(packing, **{name: getattr(packing, name).to(device, non_blocking=True) for name in names})


class Order:
    """Which examples each step learns from: permutations of all of them, one after another without a gap.

    So every step has as many slates as any other, and the place in the training is its step number alone.
    """

    def __init__(self, examples: Sequence[Example], batch_slates: int, most_candidates: int, seed: int) -> None:
        self._examples = examples
        self._batch_slates = batch_slates
        self._most_candidates = most_candidates
        self._seed = seed
        self._permutation: tuple[int, NDArray[np.int64]] | None = None

    def of_step(self, step: int) -> list[Example]:
        """The slates of step number `step`, counted from 0."""
        count = len(self._examples)
        found = []
        for place in range(step * self._batch_slates, (step + 1) * self._batch_slates):
            row = int(self._of_epoch(place // count)[place % count])
            found.append(self._cut(self._examples[row], place))
        return found

    def _of_epoch(self, epoch: int) -> NDArray[np.int64]:
        if self._permutation is None or self._permutation[0] != epoch:
            drawn = np.random.default_rng([self._seed, epoch]).permutation(len(self._examples))
            self._permutation = (epoch, drawn)
        return self._permutation[1]

    def _cut(self, example: Example, place: int) -> Example:
        """At most `most_candidates` candidates, as many positives of the first action as fit, in their old order."""
        most = self._most_candidates
        if most == 0 or len(example.candidates) <= most:
            return example
        drawn = np.random.default_rng([self._seed, place, 1]).permutation(len(example.candidates))
        positive = example.labels[drawn, 0] == 1
        # One place at least stays for something to compare with.
        first = np.concatenate([drawn[positive][: most - 1], drawn[~positive], drawn[positive][most - 1 :]])
        kept = np.sort(first[:most])
        positions = None if example.positions is None else example.positions[kept]
        return replace(example, candidates=example.candidates[kept], labels=example.labels[kept], positions=positions)
