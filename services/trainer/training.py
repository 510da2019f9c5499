"""From a corpus to a version in a registry: fine-tuned, calibrated, measured beside popularity, written whole.

What the version says of itself is measured here, on splits that it was not trained on; nothing else is promised.
"""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.trainer.baselines import fit_popularity
from services.trainer.calibration import Calibration, fit_calibration
from services.trainer.code_version import code_version
from services.trainer.corpus import TRAIN, VALID, Corpus, Example
from services.trainer.evaluation import Evaluation, evaluate
from services.trainer.fitting import Around, Fitted, fit
from services.trainer.gate import POPULARITY, of_baseline
from services.trainer.recipe import TrainRecipe
from services.trainer.served_version import manifest_of, write_fitted
from shared.model.base import Base
from shared.model.manifest import Metric, Origin, Platt


@dataclass(frozen=True, slots=True)
class Target:
    """Where the version goes: `registry`/<name>/<version>; the folder `work` keeps the checkpoints until then."""

    registry: Path
    name: str
    version: str
    work: Path


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a training: for each held-out split the model's evaluation, then popularity's."""

    folder: Path
    fitted: Fitted
    evaluations: tuple[Evaluation, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FittedScorer:
    """A trained model as the evaluation reads it: the calibrated probability of the first action."""

    fitted: Fitted
    platt: Platt
    name: str = "model"
    probabilistic: bool = True

    def scores(self, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        """[candidates] of each example."""
        return [self._probabilities(part[:, 0]) for part in self.fitted.predict(examples)]

    def _probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled = self.platt.slope * logits.astype(np.float64) + self.platt.intercept
        return np.asarray(np.exp(-np.logaddexp(0.0, -scaled)), np.float32)


def train(corpus: Corpus, base: Base, recipe: TrainRecipe, target: Target, around: Around | None = None) -> Trained:
    """Trains and writes a version. Killed, it goes on from its last checkpoint when it is called again.

    Raises:
        RecipeError, NothingToLearnError, CheckpointError, DivergedError: as services.trainer.fitting.fit.
        VersionError: when there is such a version already, or its names cannot be names.
        OSError: when the disk fails or is full.
    """
    around = around or Around()
    started_at = around.clock.now()
    fitted = fit(corpus, base, recipe, target.work, around)
    calibration = _calibration(corpus, fitted)
    scorer = FittedScorer(fitted, calibration.platts[0], f"{target.name}/{target.version}")
    evaluations = _evaluations(corpus, scorer)
    origin = Origin(
        data=corpus.name,
        fingerprint=corpus.fingerprint,
        seeds=(recipe.seed,),
        code=code_version(),
        started_at=started_at,
        seconds=fitted.seconds,
        device=around.processes.device,
        settings=_flat(asdict(recipe)),
    )
    manifest = manifest_of(fitted, base, target.name, target.version, calibration)
    manifest = replace(manifest, origin=origin, metrics=_metrics(evaluations))
    folder = write_fitted(target.registry, fitted, base, manifest)
    shutil.rmtree(target.work, ignore_errors=True)  # or the next training would find this one, done
    return Trained(folder, fitted, evaluations)


def _calibration(corpus: Corpus, fitted: Fitted) -> Calibration:
    valid = corpus.splits.get(VALID, ())
    nothing = np.zeros((0, len(corpus.actions)), np.float32)
    logits = np.concatenate([nothing, *fitted.predict(valid)])
    return fit_calibration(logits, np.concatenate([nothing, *(example.labels for example in valid)]))


def _evaluations(corpus: Corpus, scorer: FittedScorer) -> tuple[Evaluation, ...]:
    held_out = [name for name, examples in corpus.splits.items() if name != TRAIN and examples]
    popularity = fit_popularity(corpus)
    return tuple(evaluate(each, corpus, split) for split in held_out for each in (scorer, popularity))


def _metrics(evaluations: Sequence[Evaluation]) -> tuple[Metric, ...]:
    found: list[Metric] = []
    for each in evaluations:
        found += of_baseline(POPULARITY, each.metrics) if each.scorer == POPULARITY else each.metrics
    return tuple(metric for metric in found if math.isfinite(metric.value))


def _flat(settings: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Names of nested settings joined by dots."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value)
    return flat
