"""Who stands in a table beside the models: what they must beat, and what may be blended with them.

All that is counted or fitted here is so on the training period, so that a blend may be fitted on validation slates:
no signal of it was fitted to their answers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from services.trainer.attention_tower import AttentionTowerOptions, fit_attention_tower
from services.trainer.baselines import CosineScorer, RandomScorer, fit_popularity, fit_recent_popularity
from services.trainer.corpus import TRAIN, VALID, Corpus
from services.trainer.evaluation import ExampleScorer
from services.trainer.item_knn import fit_item_knn
from services.trainer.scored_once import ScoredOnce
from services.trainer.served_scorer import ServedScorer
from shared.model.ranking_model import RankingModel

Baselines = Literal["all", "quick", "none"]
"""Which of them; quick is without those that read item vectors or are fitted, blends among them."""
_MOST_PASSES = 20
"""Of the attention tower over the training positives: of few it learns nothing more by then."""


@dataclass(frozen=True, slots=True, eq=False)
class Lineup:
    """Baselines in the order of the table."""

    rows: tuple[ExampleScorer, ...] = ()
    signals: tuple[ExampleScorer, ...] = ()
    """What blends read, some of the rows among them; empty = nothing is blended."""
    vectors: NDArray[np.float32] | None = None
    """[items, width], of length 1, where they were made: what a library is searched by."""


def lineup_of(corpus: Corpus, which: Baselines, zero_shot: Callable[[], RankingModel], seed: int) -> Lineup:
    """The baselines of a corpus; all of them take minutes for 10,000 items on a CPU.

    Args:
        corpus: what they are counted and fitted on.
        which: all, or fewer.
        zero_shot: makes the untrained two-tower model; not called where nothing reads it.
        seed: of the random one and of the tower.
    """
    if which == "none":
        return Lineup()
    counted: tuple[ExampleScorer, ...] = (
        fit_popularity(corpus),
        fit_recent_popularity(corpus),
        fit_item_knn(corpus),
    )
    if which == "quick":
        return Lineup((RandomScorer(seed), *map(ScoredOnce, counted)))
    model = zero_shot()
    served = ServedScorer(corpus, model, "zero-shot served")
    vectors = model.vectors(served.states(range(len(corpus.items))))
    # The next baseline that reads item vectors belongs here.
    compared = (CosineScorer(vectors), *_towers(corpus, vectors, seed))
    signals = tuple(map(ScoredOnce, (*counted, *compared)))
    # What was disliked means one thing among films seen and another among the rest: a blend weighs both sides.
    likes = ScoredOnce(CosineScorer(vectors, dislike_weight=0.0, name="cosine to likes"))
    return Lineup((RandomScorer(seed), *signals, served), (*signals, likes), vectors)


def _towers(corpus: Corpus, vectors: NDArray[np.float32], seed: int) -> tuple[ExampleScorer, ...]:
    """One, or none where no positive of train has a history to attend to."""
    train = corpus.splits.get(TRAIN, ())
    positives = sum(int((example.labels[:, 0] == 1).sum()) for example in train if example.history)
    options = AttentionTowerOptions(seed=seed)
    steps = min(options.steps, math.ceil(_MOST_PASSES * positives / options.batch))
    return (fit_attention_tower(corpus, vectors, replace(options, steps=steps)),) if positives else ()


def blend_split(corpus: Corpus, split: str) -> str | None:
    """Where blends for `split` are fitted: on validation slates of the same kind ("valid-popular" for "test-popular"),
    else on all of them. None where there are none with both labels, or they come after or are what is measured."""
    if split.startswith((TRAIN, VALID)):
        return None
    kind = split.partition("-")[2]
    for name in (f"{VALID}-{kind}", VALID):
        labels = [example.labels[:, 0] for example in corpus.splits.get(name, ())]
        if {0.0, 1.0} <= set(np.unique(np.concatenate([*labels, np.empty(0)])).tolist()):
            return name
    return None
