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
from services.trainer.evaluation import Evaluation, ExampleScorer, evaluate
from services.trainer.fitting import Around, Fitted, fit
from services.trainer.gate import POPULARITY, UNTRAINED, of_baseline
from services.trainer.nearest_source import NearestSource
from services.trainer.optional import require
from services.trainer.recipe import TrainRecipe
from services.trainer.scored_once import ScoredOnce
from services.trainer.served_scorer import ServedScorer
from services.trainer.served_version import manifest_of, served_model, write_fitted
from services.trainer.shipped_fusion import BlendedScorer, counted_to_the_test, fit_shipped_fusion
from services.trainer.slate_latency import slate_latency
from services.trainer.starts import Start
from shared.clock import Clock
from shared.model.base import Base
from shared.model.blend import RETRIEVAL, Blend
from shared.model.manifest import Metric, ModelManifest, Origin, Platt
from shared.model.packed import PackedBert
from shared.model.placement import Placement
from shared.model.versions import VersionError, read_manifest
from shared.model.zero_shot import ZERO_SHOT, zero_shot_model


@dataclass(frozen=True, slots=True)
class Target:
    """Where the version goes: `registry`/<name>/<version>; the folder `work` keeps the checkpoints until then."""

    registry: Path
    name: str
    version: str
    work: Path
    one_of_several: bool = False
    """Others are trained beside it: the checkpoints stay until all are done, and when this training has written the
    version already, it is taken as it is."""

    @property
    def folder(self) -> Path:
        """Of the version."""
        return self.registry / self.name / self.version


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a training."""

    folder: Path
    fitted: Fitted
    of_splits: tuple[tuple[Evaluation, ...], ...]
    """For each held-out split the version's evaluation, then those it is compared with."""

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """All, split after split."""
        return tuple(each for of_split in self.of_splits for each in of_split)

    @property
    def of_version(self) -> tuple[Evaluation, ...]:
        """Those of what the version answers, by split."""
        return tuple(of_split[0] for of_split in self.of_splits)


@dataclass(frozen=True, slots=True, eq=False)
class VersionScorer:
    """The model of a version in the making, as the ranker would answer: the probability of the first action."""

    logits: ExampleScorer
    """Of all actions, [candidates, actions]."""
    platt: Platt
    name: str
    probabilistic: bool = True

    def scores(self, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        """[candidates] of each example."""
        return [self._probabilities(part[:, 0]) for part in self.logits.scores(examples)]

    def _probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled = self.platt.slope * logits.astype(np.float64) + self.platt.intercept
        return np.asarray(np.exp(-np.logaddexp(0.0, -scaled)), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Logits:
    """What a model says before calibration, in the form of scores."""

    served: ServedScorer
    name: str = "logits"
    probabilistic: bool = False

    def scores(self, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
        return self.served.logits(examples)


def train(corpus: Corpus, base: Base, recipe: TrainRecipe, target: Target, around: Around | None = None) -> Trained:
    """Trains and writes a version. Killed, it goes on from its last checkpoint when it is called again.

    Of several processes all train and measure, and the leading one writes.

    Raises:
        RecipeError, NothingToLearnError, CheckpointError, DivergedError: as services.trainer.fitting.fit.
        VersionError: when there is such a version already, or its names cannot be names.
        OSError: when the disk fails or is full.
    """
    around = around or Around()
    if recipe.fusion:
        require("sklearn")
    if target.folder.exists() and not target.one_of_several:
        raise VersionError(f"{target.name}/{target.version} exists already, and versions never change; choose another")
    started_at = around.clock.now()
    fitted = fit(corpus, base, recipe, target.work, around)
    made = _made(corpus, base, fitted, target, around)
    origin = Origin(
        data=corpus.name,
        fingerprint=corpus.fingerprint,
        seeds=(recipe.seed,),
        code=code_version(),
        started_at=started_at,
        seconds=fitted.seconds,
        device=around.processes.device,
        settings={**_flat(asdict(fitted.recipe)), **_began(around.start)},
    )
    manifest = replace(made.manifest, origin=origin, metrics=(*_metrics(made.evaluations), *made.latency))
    if around.processes.leads:
        _write(target, fitted, base, replace(made, manifest=manifest))
    around.processes.meet()  # before the checkpoints go: another may be about to look for them
    if around.processes.leads and not target.one_of_several:
        shutil.rmtree(target.work, ignore_errors=True)  # or the next training would find this one, done
    return Trained(target.folder, fitted, made.evaluations)


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """All of a version but its weights; what it answers was measured with the code that will serve it."""

    manifest: ModelManifest
    blend: Blend | None
    evaluations: tuple[tuple[Evaluation, ...], ...]
    """See _evaluations."""
    latency: tuple[Metric, ...]
    """See _latency."""


def _made(corpus: Corpus, base: Base, fitted: Fitted, target: Target, around: Around) -> _Made:
    device = around.processes.device
    packed = PackedBert(base.bert, Placement("cuda" if device.startswith("cuda") else "cpu"))
    plain = Calibration((Platt(),) * len(fitted.actions), fitted=False)
    model = served_model(fitted, base, manifest_of(fitted, base, target.name, target.version, plain), packed)
    served = ServedScorer(corpus, model)
    logits = ScoredOnce(_Logits(served))
    calibration = _calibration(corpus, logits)
    name = f"{target.name}/{target.version}"
    scorer = VersionScorer(logits, calibration.platts[0], name)
    untrained = ServedScorer(corpus, zero_shot_model(base, packed), ZERO_SHOT)
    blend, blended = None, None
    if fitted.recipe.fusion and corpus.splits.get(VALID):
        compared = served if model.two_tower else untrained
        vectors = compared.vectors()
        blend = fit_shipped_fusion(corpus, scorer, vectors)
        if blend is not None:
            nearest = NearestSource(vectors) if RETRIEVAL in blend.fusion.names else None
            blended = BlendedScorer(corpus, scorer, blend, nearest, name)
            scorer = replace(scorer, name=f"{name} without its fusion")
    manifest = manifest_of(fitted, base, target.name, target.version, calibration)
    return _Made(
        manifest, blend, _evaluations(corpus, scorer, blended, untrained), _latency(corpus, served, around.clock)
    )


def _write(target: Target, fitted: Fitted, base: Base, made: _Made) -> None:
    written = target.one_of_several and target.folder.is_dir()
    if not (written and _same_training(read_manifest(target.folder), made.manifest)):
        write_fitted(target.registry, fitted, base, made.manifest, made.blend)


def _same_training(one: ModelManifest, other: ModelManifest) -> bool:
    """Whether data, recipe and base are the same, so that the weights are."""
    if one.origin is None or other.origin is None:
        return False
    made = [(each.fingerprint, each.seeds, dict(each.settings)) for each in (one.origin, other.origin)]
    return made[0] == made[1] and one.base_sha256 == other.base_sha256


def _calibration(corpus: Corpus, logits: ExampleScorer) -> Calibration:
    valid = corpus.splits.get(VALID, ())
    nothing = np.zeros((0, len(corpus.actions)), np.float32)
    said = np.concatenate([nothing, *logits.scores(valid)])
    return fit_calibration(said, np.concatenate([nothing, *(example.labels for example in valid)]))


def _evaluations(
    corpus: Corpus, scorer: ExampleScorer, blended: ExampleScorer | None, untrained: ExampleScorer
) -> tuple[tuple[Evaluation, ...], ...]:
    """For each split: what the version answers first, popularity last.

    On validation the model alone is measured, since a blend was fitted there and knows the answers.
    """
    before_valid, before_test = fit_popularity(corpus), fit_popularity(counted_to_the_test(corpus))
    found = []
    held_out = [name for name, examples in corpus.splits.items() if name != TRAIN and examples]
    only_valid = all(split.startswith(VALID) for split in held_out)
    for split in held_out:
        scorers = [scorer, *([untrained] if only_valid else []), before_valid]
        if not split.startswith(VALID):
            scorers = [*([] if blended is None else [blended]), scorer, untrained, before_test]
        found.append(tuple(evaluate(each, corpus, split) for each in scorers))
    return tuple(found)


def _latency(corpus: Corpus, served: ExampleScorer, clock: Clock) -> tuple[Metric, ...]:
    """Of one slate, by users held out; nothing where there are none."""
    held_out = next((name for name, examples in corpus.splits.items() if name != TRAIN and examples), None)
    return () if held_out is None else (slate_latency(served, corpus, held_out, clock),)


def _metrics(evaluations: Sequence[Sequence[Evaluation]]) -> tuple[Metric, ...]:
    """Of what the version answers, and of whom the gate holds it against."""
    found: list[Metric] = []
    for of_split in evaluations:
        found += of_split[0].metrics
        for rival in of_split[1:]:
            if rival.scorer in (POPULARITY, UNTRAINED):
                found += of_baseline(rival.scorer, rival.metrics)
    return tuple(metric for metric in found if math.isfinite(metric.value))


def _began(start: Start | None) -> dict[str, str]:
    return {} if start is None else {"start": f"{start.name} ({start.fingerprint})"}


def _flat(settings: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Names of nested settings joined by dots."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value)
    return flat
