"""Who stands in a table beside the models: what they must beat, and what may be blended with them.

A blend is fitted on validation slates, so its signals are counted on what was before them: none knows their answers.
What scores the test is counted again up to the test, as the tables of a shipped fusion are: of all in the table nobody
knows more than another.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from services.trainer.attention_tower import AttentionTowerOptions, fit_attention_tower
from services.trainer.baselines import CosineScorer, RandomScorer, fit_popularity, fit_recent_popularity
from services.trainer.category_affinity import CategoryAffinity
from services.trainer.corpus import TRAIN, VALID, Corpus
from services.trainer.evaluation import ExampleScorer
from services.trainer.item_knn import fit_item_knn
from services.trainer.scored_once import ScoredOnce
from services.trainer.served_scorer import ServedScorer
from services.trainer.shipped_fusion import counted_to_the_test
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
    """What blends are fitted on; empty = nothing is blended."""
    late_signals: tuple[ExampleScorer, ...] = ()
    """The same in that order, counted up to what is measured: what blends then read. Rows are among them."""
    vectors: NDArray[np.float32] | None = None
    """[items, width], of length 1, where they were made: what a library is searched by."""
    tower_over: Callable[[NDArray[np.float32]], tuple[ExampleScorer, ...]] | None = None
    """Fits the attention tower on the vectors of another model; None = no towers are asked for."""


def known_in_training(split: str) -> bool:
    """Whether a version may have been fitted to the answers of a split: its weights, calibration or fusion."""
    return split.startswith((TRAIN, VALID))


def counted_for(corpus: Corpus, split: str) -> Corpus:
    """With the events that all may count whose scores of `split` are compared: those before the first test, or before
    validation where the split is no test."""
    return corpus if known_in_training(split) else counted_to_the_test(corpus)


def lineup_of(
    corpus: Corpus, counted: Corpus, which: Baselines, zero_shot: Callable[[], RankingModel], seed: int
) -> Lineup:
    """The baselines of a corpus; all of them take minutes for 10,000 items on a CPU.

    Args:
        corpus: what signals are counted on where blends are fitted, and what the tower learns from.
        counted: see `counted_for`; what the rows are counted on.
        which: all, or fewer.
        zero_shot: makes the untrained two-tower model; not called where nothing reads it.
        seed: of the random one and of the tower.
    """
    if which == "none":
        return Lineup()
    late, categories = _counts(counted), CategoryAffinity(corpus)
    if which == "quick":
        return Lineup((RandomScorer(seed), *late, categories))
    early = late if counted.events is corpus.events else _counts(corpus)
    model = zero_shot()
    served = ServedScorer(corpus, model, "zero-shot served")
    vectors = served.vectors()
    # The next baseline that reads item vectors belongs here.
    compared = tuple(map(ScoredOnce, (CosineScorer(vectors), *_towers(corpus, vectors, seed))))
    # What was disliked means one thing among films seen and another among the rest: a blend weighs both sides.
    likes = ScoredOnce(CosineScorer(vectors, dislike_weight=0.0, name="cosine to likes"))
    rows = (RandomScorer(seed), *late, categories, *compared, served)
    personal: tuple[ExampleScorer, ...] = (categories, *compared, likes)
    return Lineup(rows, (*early, *personal), (*late, *personal), vectors, lambda others: _towers(corpus, others, seed))


def _counts(corpus: Corpus) -> tuple[ExampleScorer, ...]:
    """Those that need the events alone."""
    fitted: tuple[ExampleScorer, ...] = (fit_popularity(corpus), fit_recent_popularity(corpus), fit_item_knn(corpus))
    return tuple(map(ScoredOnce, fitted))


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
    if known_in_training(split):
        return None
    kind = split.partition("-")[2]
    for name in (f"{VALID}-{kind}", VALID):
        labels = [example.labels[:, 0] for example in corpus.splits.get(name, ())]
        if {0.0, 1.0} <= set(np.unique(np.concatenate([*labels, np.empty(0)])).tolist()):
            return name
    return None
