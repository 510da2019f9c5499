"""How long a model takes for one slate, which the gate limits; for the cost under load there are benchmarks."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import numpy as np
import torch

from services.trainer.corpus import Corpus, Example
from services.trainer.evaluation import ExampleScorer
from services.trainer.gate import LATENCY_MS
from shared.clock import Clock
from shared.model.manifest import Metric

CANDIDATES = 200
"""Of a slate, as retrieval hands them to the ranker."""
_SLATES = 20


def slate_latency(scorer: ExampleScorer, corpus: Corpus, split: str, clock: Clock, seed: int = 0) -> Metric:
    """The median time in milliseconds of scoring 200 items for one user of the split, on one thread.

    Item states are kept by then, as they are in a ranker that has run for a while; the user's context is encoded
    each time.
    """
    slates = _slates(corpus, split, np.random.default_rng(seed))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        scorer.scores(slates)
        seconds = [_seconds(scorer, slate, clock) for slate in slates]
    finally:
        torch.set_num_threads(threads)
    return Metric(LATENCY_MS, 1000 * median(seconds), count=len(seconds), data=corpus.fingerprint)


def _slates(corpus: Corpus, split: str, generator: np.random.Generator) -> Sequence[Example]:
    """The same items for users with a history, where there are such; few items are shown more than once."""
    examples = corpus.splits[split]
    users = [example for example in examples if example.history] or examples
    items = len(corpus.items)
    shown = generator.choice(items, CANDIDATES, replace=items < CANDIDATES).astype(np.int32)
    return [replace(users[row], candidates=shown) for row in generator.integers(len(users), size=_SLATES).tolist()]


def _seconds(scorer: ExampleScorer, slate: Example, clock: Clock) -> float:
    began = clock.monotonic()
    scorer.scores([slate])
    return clock.monotonic() - began
