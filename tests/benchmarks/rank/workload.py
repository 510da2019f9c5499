"""What every side of the benchmark scores: one user context and its candidates, once as text and once as token ids.

Texts are made of whole words of the vocabulary, one token each, so that lengths are exact and both forms are the same
pairs. All is drawn from a seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from shared.model.manifest import InputLayout
from shared.model.tokens import TokenIds, Tokeniser

_COMMONEST = 5000
"""Words to draw from. BERT's vocabulary is ordered by frequency."""


@dataclass(frozen=True, slots=True)
class WorkloadShape:
    """Lengths in tokens, special tokens included. Candidates spread evenly from shortest to longest: 25 on average."""

    candidates: int = 200
    user_tokens: int = 128
    shortest: int = 18
    longest: int = 32


@dataclass(frozen=True, slots=True)
class Workload:
    """The same pairs for those that read text and for those that read token ids."""

    user: str
    candidates: tuple[str, ...]
    user_ids: TokenIds
    candidate_ids: tuple[TokenIds, ...]


def make_workload(tokenizer: PreTrainedTokenizerBase, layout: InputLayout, shape: WorkloadShape, seed: int) -> Workload:
    """Draws a workload.

    Raises:
        ValueError: when the layout cuts texts of these lengths.
    """
    random = np.random.default_rng(seed)
    words = np.array(_whole_words(tokenizer))

    def text(length: int) -> str:
        return " ".join(random.choice(words, size=length))

    lengths = random.permutation(np.linspace(shape.shortest, shape.longest, shape.candidates).round().astype(int))
    user = text(shape.user_tokens - 2)  # [CLS] and [SEP]
    candidates = tuple(text(length - (2 if layout.candidate_cls else 1)) for length in lengths)
    tokeniser = Tokeniser(tokenizer, layout)
    candidate_ids = tuple(map(tokeniser.candidate, tokeniser.plain(candidates)))
    workload = Workload(user, candidates, tokeniser.context(tokeniser.plain([user])), candidate_ids)
    if [len(workload.user_ids), *map(len, workload.candidate_ids)] != [shape.user_tokens, *lengths]:
        raise ValueError(f"{shape} does not fit into {layout}; make the texts shorter or the layout's limits higher")
    return workload


def _whole_words(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The commonest words that are one token each, commonest first."""

    def words() -> Iterator[str]:
        vocabulary = tokenizer.get_vocab()
        for token in sorted(vocabulary, key=vocabulary.__getitem__):
            if len(token) > 2 and token.isascii() and token.isalpha() and token.islower():
                yield token

    return [word for word, _ in zip(words(), range(_COMMONEST), strict=False)]
