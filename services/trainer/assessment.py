"""One split of one corpus, and a table of all that was measured on it: baselines, models, and blends of both.

Models come one after another and are let go of; what stays of each are its figures and what comparing them needs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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
from services.trainer.gate import POPULARITY, Evidence, VersionFigures, of_baseline
from services.trainer.lineup import Lineup, blend_split
from services.trainer.nearest_source import NearestSource
from services.trainer.robustness import Shift, robustness
from services.trainer.scored_once import ScoredOnce
from services.trainer.served_scorer import ServedScorer
from services.trainer.shipped_fusion import BlendedScorer
from services.trainer.slate_latency import slate_latency
from shared.clock import Clock
from shared.datasets import Item
from shared.model.blend import Blend
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


class Assessment:
    """Measures scorers on a split and keeps their figures in the order in which they came."""

    def __init__(self, corpus: Corpus, split: str, seed: int = 0) -> None:
        """`seed` draws intervals, changed texts and the slates of the latency.

        Raises:
            NoSuchSplitError: when there is none of that name, or it is empty.
        """
        if not corpus.splits.get(split):
            there = ", ".join(corpus.splits) or "no splits"
            raise NoSuchSplitError(f"{corpus.name} has no examples in a split {split!r}; it has {there}")
        self._corpus, self._split, self._seed = corpus, split, seed
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
        self._lineup = lineup
        self._blend_on = blend_split(self._corpus, self._split) if lineup.signals else None
        for scorer in lineup.rows:
            told(scorer.name)
            self._measured(scorer)
        if self._blend_on is not None:
            told("fusion")
            self._measured(fit_fused(self._corpus, self._blend_on, lineup.signals))

    def add_model(self, entrant: Entrant, extras: Extras, clock: Clock) -> AssessedModel:
        """Measures a version as it is served, without the fusion that it may have, and blended with the lineup's
        signals."""
        model = self._model(self._corpus, entrant)
        alone = ScoredOnce(model)
        served = ScoredOnce(self._served(self._corpus, entrant, alone))
        measured = self._measured(served)
        if entrant.blend is not None:
            self._measured(alone)
        blended = None
        if self._blend_on is not None:
            signals = (alone, *self._lineup.signals)
            blended = self._measured(fit_fused(self._corpus, self._blend_on, signals, self.blend_name(entrant.name)))

        def reading(items: Sequence[Item]) -> ExampleScorer:
            if items is self._corpus.items:
                return served
            changed = replace(self._corpus, items=tuple(items))
            return self._served(changed, entrant, self._model(changed, entrant))

        shifts = robustness(reading, self._corpus, self._split, self._seed) if extras.robustness else ()
        latency = slate_latency(model, self._corpus, self._split, clock, self._seed) if extras.latency else None
        return AssessedModel(measured, blended, shifts, latency)

    def _model(self, corpus: Corpus, entrant: Entrant) -> ServedScorer:
        name = entrant.name if entrant.blend is None else f"{entrant.name} without its fusion"
        return ServedScorer(corpus, entrant.model, name)

    def _served(self, corpus: Corpus, entrant: Entrant, model: ExampleScorer) -> ExampleScorer:
        """Retrieval's signal is known where item vectors were made; no fusion needs it."""
        if entrant.blend is None:
            return model
        nearest = None if self._lineup.vectors is None else NearestSource(self._lineup.vectors)
        return BlendedScorer(corpus, model, entrant.blend, nearest, entrant.name)

    def evidence(self, candidate: AssessedModel, champion: AssessedModel | None) -> Evidence:
        """What the gate judges by: both measured here, and the differences between them on the same examples."""
        resampling = self._options.resampling
        popularity = measure(fit_popularity(self._corpus), self._corpus, self._split, self._options)
        figures = evaluation_of(candidate.measured, resampling).metrics
        theirs = of_baseline(POPULARITY, evaluation_of(popularity, resampling).metrics)
        latency = () if candidate.latency is None else (candidate.latency,)
        apart = of_baseline(POPULARITY, differences(candidate.measured, popularity, resampling))
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
