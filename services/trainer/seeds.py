"""Versions that differ in their seed alone: their mean is what a recipe reaches, their spread what chance does."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.trainer.evaluation import Evaluation, spread_of
from shared.model.manifest import ModelManifest

_SEED = "seed"
"""The name of the setting."""


@dataclass(frozen=True, slots=True)
class SeedFigure:
    """A figure over seeds."""

    name: str
    slice: str
    mean: float
    deviation: float
    """Sample standard deviation."""
    seeds: int
    """Runs that have the figure."""


@dataclass(frozen=True, slots=True)
class SeedRuns:
    """What such versions reached together."""

    scorers: tuple[str, ...]
    figures: tuple[SeedFigure, ...]

    @property
    def title(self) -> str:
        """As tables call it."""
        return f"mean ± spread of {len(self.scorers)} seeds ({', '.join(self.scorers)})"

    def figure(self, name: str, slice_: str = "") -> SeedFigure | None:
        """The figure of that name, if there is one."""
        return next((each for each in self.figures if (each.name, each.slice) == (name, slice_)), None)


def same_but_seed(manifests: Sequence[ModelManifest]) -> tuple[tuple[ModelManifest, ...], ...]:
    """Groups of two or more, in the order given, one version for each seed; a version that does not tell its origin is
    in none."""
    groups: dict[object, dict[str, ModelManifest]] = {}
    for each in manifests:
        if each.origin is not None and _SEED in each.origin.settings:
            settings = dict(each.origin.settings)
            seed = settings.pop(_SEED)
            made_of = (each.name, each.base_sha256, each.actions, each.origin.fingerprint, *sorted(settings.items()))
            groups.setdefault(made_of, {}).setdefault(seed, each)
    return tuple(tuple(of_seeds.values()) for of_seeds in groups.values() if len(of_seeds) > 1)


def seed_runs(evaluations: Sequence[Evaluation]) -> SeedRuns:
    """Mean and spread of every figure of evaluations that differ in the seed of their scorer alone."""
    names = dict.fromkeys((metric.name, metric.slice) for each in evaluations for metric in each.metrics)
    spreads = [(name, slice_, spread_of(evaluations, name, slice_)) for name, slice_ in names]
    figures = (
        SeedFigure(name, slice_, spread.mean, spread.deviation, spread.seeds)
        for name, slice_, spread in spreads
        if spread is not None
    )
    return SeedRuns(tuple(each.scorer for each in evaluations), tuple(figures))
