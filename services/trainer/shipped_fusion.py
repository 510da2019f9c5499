"""The fusion that goes into a version: fitted on validation by the code that serves it, and only where it helps.

It is fitted on tables of what was known before validation, as a page of that time would have had them. What is shipped
are the same tables counted again up to the test, since popularity ages; shares and shrunk cosines keep their scale, so
the weights still hold.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from services.trainer.assembly import choices
from services.trainer.baselines import positive_counts
from services.trainer.category_affinity import act_of
from services.trainer.corpus import TRAIN, VALID, Corpus, Example
from services.trainer.evaluation import ExampleScorer
from services.trainer.fusion import ALONE, LOGISTIC, TREES, fit_fusion
from services.trainer.item_knn import KnnOptions, fit_item_knn
from services.trainer.nearest_source import NearestSource
from services.trainer.scored_once import ScoredOnce
from shared.logs import FIELDS
from shared.model.blend import OF_THE_CROWD, RETRIEVAL, SIGNALS, Ask, Blend, features_of
from shared.model.crowd import Crowd, log_shares
from shared.model.forest import Floats
from shared.model.fusion import Features

log = logging.getLogger(__name__)

NEIGHBOURS = 100
"""Kept of each item: 0.8 kB."""


@dataclass(frozen=True, slots=True, eq=False)
class BlendedScorer:
    """A version with a fusion, as the ranker answers: the blend's probability of the first action."""

    corpus: Corpus
    model: ExampleScorer
    """What the ranker's model says of the first action."""
    blend: Blend
    nearest: NearestSource | None = None
    name: str = "model + fusion"
    probabilistic: bool = True

    def scores(self, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        """Probabilities [candidates] of each example."""
        asks = asks_of(self.corpus, self.model, examples, self.nearest)
        return [self.blend.probabilities(ask).astype(np.float32) for ask in asks]


def fit_shipped_fusion(
    corpus: Corpus, model: ExampleScorer, vectors: NDArray[np.float32] | None = None
) -> Blend | None:
    """The blend to ship with a model; None where there is nothing to fit on, or nothing gained.

    Gained means: a lower log loss than the model alone on validation's users, each predicted by a fit without them.
    Needs scikit-learn and scipy.

    Args:
        corpus: its split "valid" is what is fitted on; the model may be calibrated on it, not trained.
        model: gives probabilities of the first action.
        vectors: [items, width], of length 1: what the library is searched by. None = no signal of retrieval.
    """
    examples = corpus.splits.get(VALID, ())
    labels = np.concatenate([*(example.labels[:, 0] for example in examples), np.empty(0)]).astype(np.float64)
    if len(np.unique(labels[np.isfinite(labels)])) < 2:
        return None
    users = np.repeat([example.user for example in examples], [len(example.candidates) for example in examples])
    nearest = None if vectors is None else NearestSource(vectors)
    said = ScoredOnce(model)
    features = _telling(_all_features(crowd_of(corpus), asks_of(corpus, said, examples, nearest), nearest))
    if not features.names:
        return None
    fusion = fit_fusion(features, labels, users, alone=np.concatenate(said.scores(examples)).astype(np.float64))
    losses = fusion.log_losses
    log.info("fusion fitted", extra={FIELDS: {"log_losses": dict(losses), "signals": features.names}})
    if not min(losses[LOGISTIC], losses[TREES]) < losses[ALONE]:
        return None
    reads_crowd = OF_THE_CROWD & set(fusion.names)
    return Blend(fusion, crowd_of(counted_to_the_test(corpus)) if reads_crowd else None)


def crowd_of(corpus: Corpus) -> Crowd:
    """The tables of corpus.events; needs scipy. Items that nobody acted on are left out: those score 0 as it is."""
    counts = positive_counts(corpus)
    known = np.flatnonzero(counts)
    likeness = fit_item_knn(corpus, KnnOptions(neighbours=NEIGHBOURS)).likeness[known][:, known]
    return Crowd(
        item_ids=tuple(corpus.items[row].item_id for row in known),
        popularity=log_shares(counts)[known],
        bounds=likeness.indptr.astype(np.int64),
        neighbours=likeness.indices.astype(np.int32),
        likeness=likeness.data.astype(np.float32),
    )


def asks_of(
    corpus: Corpus, model: ExampleScorer, examples: Sequence[Example], nearest: NearestSource | None
) -> Iterator[Ask]:
    """What the ranker would know of each slate when it is asked; one at a time, as all would take much memory."""
    published = np.array([np.nan if item.published_at is None else item.published_at for item in corpus.items])
    for example, probabilities in zip(examples, model.scores(examples), strict=True):
        shown = [corpus.items[row] for row in example.candidates]
        yield Ask(
            history=[act_of(corpus, past) for past in example.history],
            candidates=[item.item_id for item in shown],
            categories=[item.category for item in shown],
            probabilities=probabilities.astype(np.float64),
            published_at=published[example.candidates],
            retrieval=np.full(len(example.candidates), np.nan) if nearest is None else nearest.scores(example),
            now=np.nan if example.time is None else example.time,
        )


def _all_features(crowd: Crowd, asks: Iterable[Ask], nearest: NearestSource | None) -> Features:
    """All candidates' signals, slate after slate."""
    names = tuple(name for name in SIGNALS if name != RETRIEVAL or nearest is not None)
    return Features(names, np.concatenate([features_of(names, crowd, ask).values for ask in asks]))


def _telling(features: Features) -> Features:
    """Without signals that are nowhere known or the same everywhere."""
    tells = [_varies(column) for column in features.values.T]
    return Features(tuple(np.array(features.names)[tells].tolist()), features.values[:, tells])


def _varies(column: Floats) -> bool:
    known = column[np.isfinite(column)]
    return len(known) > 0 and bool(np.ptp(known) > 0)


def counted_to_the_test(corpus: Corpus) -> Corpus:
    """With what was chosen on validation slates from before the first test; where times are not known, as it is.

    For what answers on test slates, and for what it is compared with there.
    """
    tests = [name for name in corpus.splits if name != TRAIN and not name.startswith(VALID)]
    times = [example.time for name in tests for example in corpus.splits[name]]
    known = [time for time in times if time is not None]
    if len(known) < len(times):
        return corpus
    until = min(known, default=np.inf)
    later = [event for event in choices(corpus.splits.get(VALID, ()), corpus.actions[0]) if event.time < until]
    return replace(corpus, events=(*corpus.events, *later))
