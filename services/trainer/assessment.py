"""One split of one corpus, and a table of all that was measured on it: baselines, models, and blends of both.

Models come one after another and are let go of; what stays of each are its figures and what comparing them needs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from services.trainer.baselines import fit_popularity
from services.trainer.bootstrap import Resampling
from services.trainer.corpus import Corpus
from services.trainer.evaluation import (
    Evaluation,
    EvaluationOptions,
    ExampleScorer,
    Measured,
    differences,
    evaluation_of,
    measure,
)
from services.trainer.fusion import fit_fused
from services.trainer.gate import POPULARITY, UNTRAINED, Evidence, VersionFigures, of_baseline
from services.trainer.lineup import Lineup, blend_split, known_in_training
from services.trainer.nearest_source import NearestSource
from services.trainer.robustness import Shift, robustness
from services.trainer.scored_once import Renamed, ScoredOnce
from services.trainer.served_scorer import ServedScorer, column_of
from services.trainer.shipped_fusion import BlendedScorer
from services.trainer.slate_latency import slate_latency
from shared.clock import Clock
from shared.datasets import Item
from shared.model.blend import RETRIEVAL, Blend
from shared.model.manifest import Metric
from shared.model.ranking_model import RankingModel


class NoSuchSplitError(ValueError):
    """There is nothing to measure on; the text is one sentence for whoever named the split."""


@dataclass(frozen=True, slots=True, eq=False)
class Entrant:
    """A version as it serves: its model, and the fusion that was shipped with it, if any."""

    model: RankingModel
    blend: Blend | None = None

    @property
    def name(self) -> str:
        """E.g. "news/v2"."""
        return f"{self.model.manifest.name}/{self.model.manifest.version}"


@dataclass(frozen=True, slots=True, eq=False)
class AssessedModel:
    """What was measured of a model."""

    measured: Measured
    blended: Measured | None
    """Blended with the baselines; None where nothing is blended."""
    shifts: tuple[Shift, ...]
    """Under changes of texts, where that was asked for."""
    latency: Metric | None
    """Where that was asked for."""


@dataclass(frozen=True, slots=True)
class Extras:
    """What is measured of a model beside its figures; both take time."""

    robustness: bool = False
    latency: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Reading:
    """An entrant, ready to score."""

    served: ServedScorer
    alone: ScoredOnce
    """The same: the model without the fusion."""
    answers: ScoredOnce
    """What is measured as the version's; `alone` where a fusion has no part in it."""


class Assessment:
    """Measures scorers on a split and keeps their figures in the order in which they came."""

    def __init__(
        self, corpus: Corpus, counted: Corpus, split: str, zero_shot: Callable[[], RankingModel], seed: int = 0
    ) -> None:
        """Reads nothing yet.

        Args:
            corpus: has the split.
            counted: see services.trainer.lineup.counted_for; what the evidence's popularity is counted on.
            split: what is measured on.
            zero_shot: makes the untrained two-tower model, by which the library of most versions is searched, and
                which answers where nothing serves; not called where neither is asked for.
            seed: draws intervals, changed texts and the slates of the latency.

        Raises:
            NoSuchSplitError: when there is none of that name, or it is empty.
        """
        if not corpus.splits.get(split):
            there = ", ".join(corpus.splits) or "no splits"
            raise NoSuchSplitError(f"{corpus.name} has no examples in a split {split!r}; it has {there}")
        self._corpus, self._counted, self._split, self._seed = corpus, counted, split, seed
        self._zero_shot = zero_shot
        self._zero_shot_vectors: NDArray[np.float32] | None = None
        """Of the corpus' items; None = not made yet."""
        self._options = EvaluationOptions(resampling=Resampling(seed=seed))
        self._lineup = Lineup()
        self._blend_on: str | None = None
        self._evaluations: list[Evaluation] = []

    @property
    def evaluations(self) -> Sequence[Evaluation]:
        """Of all that was measured so far."""
        return tuple(self._evaluations)

    @staticmethod
    def blend_name(model: str) -> str:
        """What the row of a model's blend is called."""
        return f"{model} + fusion"

    def add_baselines(self, lineup: Lineup, told: Callable[[str], None]) -> None:
        """Measures the lineup and the blend of its signals, with which models that come later are blended, too.

        `told` hears the name of each before.
        """
        self._lineup, self._zero_shot_vectors = lineup, lineup.vectors
        self._blend_on = blend_split(self._corpus, self._split) if lineup.signals else None
        for scorer in lineup.rows:
            told(scorer.name)
            self._measured(scorer)
        if self._blend_on is not None:
            told("fusion")
            self._blended(self._blend_on, (), "fusion")

    def add_model(self, entrant: Entrant, extras: Extras, clock: Clock) -> AssessedModel:
        """Measures a version as it is served, without the fusion that it may have, the attention tower over its item
        vectors where it has any and the lineup has one, and the version blended with the lineup's signals.

        A fusion knows the answers of the splits that versions are fitted on: there the model is measured alone. So it
        is where the corpus' action is not the model's first, which is the one that a fusion answers.
        """
        reading = self._read(self._corpus, entrant)
        measured = self._measured(reading.answers)
        if reading.answers is not reading.alone:
            self._measured(reading.alone)
        if self._lineup.tower_over is not None and entrant.model.two_tower:
            for tower in self._lineup.tower_over(reading.served.vectors()):
                self._measured(Renamed(tower, f"{entrant.name} + {tower.name}"))
        blended = None
        if self._blend_on is not None:
            blended = self._blended(self._blend_on, (reading.alone,), self.blend_name(entrant.name))

        def read(items: Sequence[Item]) -> ExampleScorer:
            if items is self._corpus.items:
                return reading.answers
            return self._read(replace(self._corpus, items=tuple(items)), entrant).answers

        shifts = robustness(read, self._corpus, self._split, self._seed) if extras.robustness else ()
        served = reading.served
        latency = slate_latency(served, self._corpus, self._split, clock, self._seed) if extras.latency else None
        return AssessedModel(measured, blended, shifts, latency)

    def _read(self, corpus: Corpus, entrant: Entrant) -> _Reading:
        blend = entrant.blend if column_of(entrant.model.manifest, corpus) == 0 else None
        name = entrant.name if blend is None else f"{entrant.name} without its fusion"
        served = ServedScorer(corpus, entrant.model, name)
        alone = ScoredOnce(served)
        if blend is None or known_in_training(self._split):
            return _Reading(served, alone, alone)
        nearest = None
        if RETRIEVAL in blend.fusion.names:
            nearest = NearestSource(served.vectors() if entrant.model.two_tower else self._searched_by(corpus))
        return _Reading(served, alone, ScoredOnce(BlendedScorer(corpus, alone, blend, nearest, entrant.name)))

    def _searched_by(self, corpus: Corpus) -> NDArray[np.float32]:
        """The zero-shot model's vectors [items, width]; those of the items as they are, once."""
        if corpus is not self._corpus:
            return ServedScorer(corpus, self._zero_shot()).vectors()
        if self._zero_shot_vectors is None:
            self._zero_shot_vectors = ServedScorer(corpus, self._zero_shot()).vectors()
        return self._zero_shot_vectors

    def _blended(self, fitted_on: str, models: tuple[ExampleScorer, ...], name: str) -> Measured:
        """Signals that are counted are fitted on as they were before validation, and read as they are by now."""
        fused = fit_fused(self._corpus, fitted_on, (*models, *self._lineup.signals), name)
        return self._measured(replace(fused, signals=(*models, *self._lineup.late_signals)))

    def evidence(self, candidate: AssessedModel, champion: AssessedModel | None) -> Evidence:
        """What the gate judges by: both measured here, and the differences between them on the same examples."""
        resampling = self._options.resampling
        rivals: dict[str, ExampleScorer] = {POPULARITY: fit_popularity(self._counted)}
        if champion is None:
            rivals[UNTRAINED] = ServedScorer(self._corpus, self._zero_shot())
        figures = evaluation_of(candidate.measured, resampling).metrics
        theirs: tuple[Metric, ...] = ()
        apart: tuple[Metric, ...] = ()
        for name, rival in rivals.items():
            measured = measure(rival, self._corpus, self._split, self._options)
            theirs += of_baseline(name, evaluation_of(measured, resampling).metrics)
            apart += of_baseline(name, differences(candidate.measured, measured, resampling))
        latency = () if candidate.latency is None else (candidate.latency,)
        if champion is not None:
            apart += differences(candidate.measured, champion.measured, resampling)
        return Evidence(
            candidate=VersionFigures(candidate.measured.scorer, (*figures, *theirs, *latency)),
            champion=None if champion is None else self._figures(champion),
            differences=apart,
        )

    def _figures(self, model: AssessedModel) -> VersionFigures:
        metrics = evaluation_of(model.measured, self._options.resampling).metrics
        return VersionFigures(model.measured.scorer, metrics)

    def _measured(self, scorer: ExampleScorer) -> Measured:
        measured = measure(scorer, self._corpus, self._split, self._options)
        self._evaluations.append(evaluation_of(measured, self._options.resampling))
        return measured
