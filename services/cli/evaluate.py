"""`homepage evaluate`: how good models are on a split, beside what they must beat."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import typer
from rich.console import Console

from services.cli.references import place_of
from services.cli.report import write_atomically
from services.cli.train import EXIT_INTERRUPTED, EXIT_OK, DeviceChoice, refused
from services.trainer.assembly import CorpusOptions
from services.trainer.assessment import AssessedModel, Assessment, Entrant, Extras, NoSuchSplitError
from services.trainer.corpus import Corpus
from services.trainer.evaluation import Evaluation
from services.trainer.gate import Evidence
from services.trainer.limited import limited
from services.trainer.lineup import Baselines, counted_for, known_in_training, lineup_of
from services.trainer.mirror import copy_version
from services.trainer.optional import MissingPackageError, require
from services.trainer.reports import Report, Robustness, as_json, data_line, html_page, markdown_table, slices_table
from services.trainer.robustness import robustness_markdown
from services.trainer.seeds import SeedRuns, same_but_seed, seed_runs
from services.trainer.sources import open_source
from shared.clock import SystemClock
from shared.datasets import DatasetError
from shared.model.base import PACKAGED_ID, Base, BaseModelError, load_base
from shared.model.manifest import ModelManifest
from shared.model.object_store import StorageError
from shared.model.packed import PackedBert
from shared.model.placement import Placement, chosen_device
from shared.model.ranking_model import RankingModel
from shared.model.records import encoded
from shared.model.registry import RegistryError, read_serving
from shared.model.storage import LocalStorage
from shared.model.version_files import Place, VersionError
from shared.model.versions import load_blend, load_version
from shared.model.zero_shot import ZERO_SHOT, zero_shot_model


class EvaluateError(ValueError):
    """What was asked for cannot be done; the text is one sentence."""


_FOR_THE_CALLER = (
    *(EvaluateError, DatasetError, NoSuchSplitError, MissingPackageError),
    *(BaseModelError, VersionError, RegistryError, StorageError, OSError),
)
"""Their texts say what to change; whatever else goes wrong is a defect and shows where."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Files to write, and what else to print."""

    json: Path | None = None
    html: Path | None = None
    evidence: Path | None = None
    slices: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that were asked for."""
        return tuple(path for path in (self.json, self.html, self.evidence) if path is not None)


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What was asked for."""

    data: Path | None = None
    split: str = "test"
    models: tuple[str, ...] = ()
    registry: str = "models"
    against: str = ""
    """Whom the evidence compares with; empty = who answers under the model's name."""
    base: str = PACKAGED_ID
    device: DeviceChoice = "auto"
    baselines: Baselines = "all"
    label_action: str = "click"
    same_second: bool = False
    max_history: int = 1000
    """So long that item-kNN reads nearly all; models read the newest that their context holds."""
    limit: int | None = None
    robustness: bool = False
    seed: int = 0
    """Of intervals, and of all that is drawn."""
    outputs: Outputs = field(default_factory=Outputs)


@dataclass(frozen=True, slots=True)
class _Contestants:
    """Versions to be measured; None = the zero-shot model."""

    models: tuple[Place | None, ...]
    champion: int | None = None
    """Which of them the evidence compares the first one with; None = nobody serves."""


def run(options: EvaluateOptions, out: Console, told: Console) -> int:
    """Measures and prints; the process's status: 0, or 1 when it cannot be done."""
    try:
        _evaluate(options, out, told)
    except KeyboardInterrupt:
        told.print("\nInterrupted; what was asked for is not all there.")
        return EXIT_INTERRUPTED
    except _FOR_THE_CALLER as error:
        return refused(error, told)
    return EXIT_OK


def _evaluate(options: EvaluateOptions, out: Console, told: Console) -> None:
    _check(options)
    contestants = _contestants(options)
    with told.status("Reading the data …"):
        whole = _corpus(options)
    # The limit is on what is measured, not on what is counted.
    corpus = whole if options.limit is None else limited(whole, options.limit, options.seed)
    counted = counted_for(whole, options.split)
    models = _Models(options.base, _placement(options.device))
    assessment = Assessment(corpus, counted, options.split, models.zero_shot, options.seed)
    with told.status("Preparing the baselines …") as status:
        lineup = lineup_of(corpus, counted, options.baselines, models.zero_shot, options.seed)
        assessment.add_baselines(lineup, lambda name: status.update(f"Scoring {name} …"))
        extras = Extras(options.robustness, options.outputs.evidence is not None)
        assessed: list[AssessedModel] = []
        manifests: list[ModelManifest] = []
        for place in contestants.models:
            entrant = models.read(place)
            status.update(f"Scoring {entrant.name} …")
            assessed.append(assessment.add_model(entrant, extras, SystemClock()))
            manifests.append(entrant.model.manifest)
    report = Report(
        title=f"{corpus.name}, split {options.split}",
        evaluations=tuple(assessment.evaluations),
        seeds=_over_seeds(manifests, assessed, assessment.evaluations),
        robustness=tuple(Robustness(each.measured.scorer, each.shifts) for each in assessed if each.shifts),
    )
    _print(report, options.outputs, out)
    if options.outputs.evidence is not None:
        champion = None if contestants.champion is None else assessed[contestants.champion]
        _write_evidence(assessment.evidence(assessed[0], champion), options.outputs.evidence, out)
    _write(report, options.outputs, out)


def _check(options: EvaluateOptions) -> None:
    """What can be known to go wrong before any work is done."""
    if not options.models and options.baselines == "none":
        raise EvaluateError("there is nothing to measure; name a model with --model, or baselines")
    if options.outputs.evidence is not None and len(options.models) != 1:
        raise EvaluateError("evidence is of one model; name it with one --model")
    if options.outputs.evidence is not None and known_in_training(options.split):
        raise EvaluateError(f"versions are fitted to answers of the split {options.split!r}; take evidence on a test")
    if options.against and options.outputs.evidence is None:
        raise EvaluateError("--against says what evidence compares with; write some with --evidence")
    for path in options.outputs.files:
        if not path.parent.is_dir():
            raise EvaluateError(f"{path}: its folder does not exist; make it")
    if options.baselines != "none":
        require("scipy")
    if options.baselines == "all":
        require("sklearn")
    if options.outputs.html is not None:
        require("matplotlib")


def _contestants(options: EvaluateOptions) -> _Contestants:
    """Reads their manifests, so that what is misspelt is told at once; a version named twice is one row."""
    models = _different([_place(reference, options.registry) for reference in options.models])
    if options.outputs.evidence is None:
        return _Contestants(tuple(models))
    rivals = [_place(options.against, options.registry)] if options.against else _serving(models[0])
    models = _different([*models, *rivals])
    return _Contestants(tuple(models), len(models) - 1 if rivals else None)


def _different(places: Sequence[Place | None]) -> list[Place | None]:
    found: dict[str, Place | None] = {}
    for place in places:
        other = found.setdefault(_label(place), place)
        if place is not None and other is not None and place.manifest() != other.manifest():
            raise EvaluateError(f"two different versions are called {_label(place)}; give one of them another name")
    return list(found.values())


def _place(reference: str, registry: str) -> Place | None:
    return None if reference == ZERO_SHOT else place_of(reference, registry)


def _label(place: Place | None) -> str:
    return ZERO_SHOT if place is None else f"{place.model}/{place.version}"


def _serving(candidate: Place | None) -> list[Place | None]:
    """Who answers under the candidate's name, if anybody does."""
    serving = None if candidate is None else read_serving(candidate.storage)
    if candidate is None or serving is None or candidate.model not in serving.current:
        return []
    return [replace(candidate, version=serving.current[candidate.model])]


def _corpus(options: EvaluateOptions) -> Corpus:
    reading = CorpusOptions(
        label_action=options.label_action, same_second=options.same_second, max_history=options.max_history
    )
    return open_source(options.data, reading)


def _placement(device: DeviceChoice) -> Placement:
    try:
        return Placement(chosen_device(device))
    except ValueError as error:
        raise EvaluateError(str(error)) from error


class _Models:
    """Reads versions; their base is read once, when the first is wanted."""

    def __init__(self, base: str, placement: Placement) -> None:
        self._source, self._placement = base, placement

    @cached_property
    def _base(self) -> Base:
        return load_base(self._source)

    @cached_property
    def _packed(self) -> PackedBert:
        return PackedBert(self._base.bert, self._placement)

    def zero_shot(self) -> RankingModel:
        return zero_shot_model(self._base, self._packed)

    def read(self, place: Place | None) -> Entrant:
        """A version, wherever its registry lies; None = zero-shot."""
        if place is None:
            return Entrant(self.zero_shot())
        with tempfile.TemporaryDirectory() as registry:
            copy_version(place, LocalStorage(Path(registry)))
            folder = Path(registry, place.model, place.version)
            return Entrant(load_version(folder, self._base, self._packed), load_blend(folder))


def _over_seeds(
    manifests: Sequence[ModelManifest], assessed: Sequence[AssessedModel], evaluations: Sequence[Evaluation]
) -> tuple[SeedRuns, ...]:
    """Versions that differ in their seed alone, and, where they were blended, their blends."""
    of_version = {(each.name, each.version): found for each, found in zip(manifests, assessed, strict=True)}
    rows = {each.scorer: each for each in evaluations}
    groups = [[of_version[each.name, each.version] for each in group] for group in same_but_seed(manifests)]
    measured = [[each.measured for each in group] for group in groups]
    measured += [[each.blended for each in group if each.blended is not None] for group in groups]
    return tuple(seed_runs([rows[each.scorer] for each in group]) for group in measured if group)


def _print(report: Report, outputs: Outputs, out: Console) -> None:
    out.print(f"\n{data_line(report.evaluations[0])}\n", highlight=False, markup=False, soft_wrap=True)
    typer.echo(markdown_table(report.evaluations, seeds=report.seeds))
    if outputs.slices:
        typer.echo(slices_table(report.evaluations))
    for each in report.robustness:
        out.print(f"Robustness of {each.scorer}\n", highlight=False, markup=False, soft_wrap=True)
        typer.echo(robustness_markdown(each.shifts))


def _write(report: Report, outputs: Outputs, out: Console) -> None:
    if outputs.json is not None:
        write_atomically(outputs.json, as_json(report).decode())
    if outputs.html is not None:
        write_atomically(outputs.html, html_page(report))
    for path in (outputs.json, outputs.html):
        if path is not None:
            out.print(f"Written: {path}", highlight=False, markup=False, soft_wrap=True)


def _write_evidence(evidence: Evidence, path: Path, out: Console) -> None:
    write_atomically(path, encoded(evidence).decode())
    rival = "nobody, since nothing serves" if evidence.champion is None else evidence.champion.version
    wording = f"Evidence of {evidence.candidate.version} against {rival}: {path}"
    out.print(wording, highlight=False, markup=False, soft_wrap=True)
