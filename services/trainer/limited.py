"""A corpus of which fewer slates are measured, for whoever has minutes, not hours; what is learnt from stays whole."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

import numpy as np

from services.trainer.corpus import TRAIN, Corpus, Example


def limited(corpus: Corpus, most: int, seed: int) -> Corpus:
    """The corpus with at most `most` examples in every split but "train", drawn evenly, in their order.

    Its name says so, and its fingerprint is another one: figures of a part are not those of the whole.

    Raises:
        ValueError: when nothing would be left.
    """
    if most < 1:
        raise ValueError(f"the limit is {most}; make it at least 1")
    splits = {
        name: examples if name == TRAIN else _drawn(examples, most, seed) for name, examples in corpus.splits.items()
    }
    if all(len(splits[name]) == len(examples) for name, examples in corpus.splits.items()):
        return corpus
    fingerprint = blake2b(f"{corpus.fingerprint} {most} {seed}".encode(), digest_size=16).hexdigest()
    return replace(corpus, name=f"{corpus.name} (at most {most} of a split)", splits=splits, fingerprint=fingerprint)


def _drawn(examples: Sequence[Example], most: int, seed: int) -> tuple[Example, ...]:
    if len(examples) <= most:
        return tuple(examples)
    rows = np.random.default_rng((seed, len(examples))).choice(len(examples), most, replace=False)
    return tuple(examples[row] for row in np.sort(rows).tolist())
