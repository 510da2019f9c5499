"""`homepage train`: from behaviour to model versions that the ranker can serve.

Started by torchrun it is one of several processes that train one model; only the leading one shows and writes.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import typer
from rich.console import Console
from rich.text import Text

from services.cli.references import place_of
from services.trainer.assembly import CorpusOptions
from services.trainer.checkpoints import CheckpointError
from services.trainer.corpus import Corpus
from services.trainer.distributed import Processes, processes
from services.trainer.evaluation import Evaluation
from services.trainer.fitting import Around, DivergedError, NothingToLearnError
from services.trainer.optional import MissingPackageError, require
from services.trainer.recipe import RecipeError, TrainRecipe
from services.trainer.recipes import NAMES, QUICK, recipe_of
from services.trainer.remarks import remarks_on
from services.trainer.reports import LearningStep, Report, html_page, markdown_table
from services.trainer.seeds import seed_runs
from services.trainer.sources import open_source
from services.trainer.starts import Start, start_at
from services.trainer.tracking import Observers, ProgressBar, tensorboard_if_installed
from services.trainer.training import Target, Trained, train
from shared.datasets import DatasetError
from shared.model.base import PACKAGED_ID, Base, BaseModelError, load_base
from shared.model.folders import NAME_RULE, is_safe_name
from shared.model.object_store import StorageError
from shared.model.placement import chosen_device
from shared.model.registry import RegistryError
from shared.model.versions import VersionError

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
FOR_THE_CALLER = (
    *(DatasetError, RecipeError, NothingToLearnError, CheckpointError, DivergedError),
    *(BaseModelError, VersionError, RegistryError, StorageError, MissingPackageError, OSError),
)
"""Their texts say what to change; whatever else goes wrong is a defect and shows where."""

DeviceChoice = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What was asked for; None and "" mean the default."""

    data: Path | None
    out: Path
    name: str = "default"
    version: str = ""
    recipe: str = QUICK
    """A file, or a name of services.trainer.recipes."""
    rows: Path | None = None
    label_action: str = "click"
    same_second: bool = False
    base: str = PACKAGED_ID
    seeds: str = ""
    """Whole numbers with commas between them: a version for each. Empty: one version, of the recipe's seed."""
    html: Path | None = None
    device: DeviceChoice = "auto"
    start: str = ""
    """A version to go on from; empty = the base."""


def run(options: TrainOptions, out: Console, told: Console) -> int:
    """Trains and prints the tables; the process's status: 0, or 1 when it cannot be done."""
    try:
        device = chosen_device(options.device)
    except ValueError as error:
        return refused(error, told)
    with processes(device) as group:
        try:
            session = _Session(options, group, out if group.leads else _silent(), told if group.leads else _silent())
            session.run()
        except KeyboardInterrupt:
            if group.leads:
                told.print("\nInterrupted; the same command goes on from the last checkpoint.")
            return EXIT_INTERRUPTED
        except FOR_THE_CALLER as error:
            return refused(error, told)
    return EXIT_OK


def refused(error: Exception, told: Console) -> int:
    """Says what to change; the status of a command that could not do its work."""
    told.print(Text.assemble(("✗ ", "red"), str(error)), soft_wrap=True)
    return EXIT_FAILED


class _Session:
    """One call of the command, in one process."""

    def __init__(self, options: TrainOptions, group: Processes, out: Console, told: Console) -> None:
        self._options = options
        self._group = group
        self._out = out
        self._told = told
        self._version = options.version or f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
        self._work = options.out / f".training-{options.name}-{options.version or 'next'}"

    def run(self) -> None:
        for name in (self._options.name, self._version):
            if not is_safe_name(name):
                raise RecipeError(f"the names of model and version must be {NAME_RULE}")
        if self._options.html is not None:
            require("matplotlib")
        base = load_base(self._options.base)
        start = self._start(base)
        trainings = list(self._trainings(self._recipe(base, start)))
        corpus = read_corpus(self._options, self._told)
        done = []
        for target, of_seed in trainings:
            around = Around(self._group, self._observers(target.version), start=start)
            done.append(train(corpus, base, of_seed, target, around))
            self._show(target, done[-1])
        if len(done) > 1:
            self._show_spread(done)
        if self._options.seeds and self._group.leads:
            shutil.rmtree(self._work, ignore_errors=True)

    def _recipe(self, base: Base, start: Start | None) -> TrainRecipe:
        recipe = recipe_of(self._options.recipe, base)
        if start is not None and self._options.recipe in NAMES:
            recipe = start.shaping(recipe)
        if self._options.rows is not None and recipe.fusion:
            self._told.print("Few rows are to be learnt from, so no fusion is fitted on all of validation.")
            recipe = replace(recipe, fusion=False)
        return recipe

    def _start(self, base: Base) -> Start | None:
        if not self._options.start:
            return None
        return start_at(place_of(self._options.start, str(self._options.out)), base.layers)

    def _trainings(self, recipe: TrainRecipe) -> Iterator[tuple[Target, TrainRecipe]]:
        """What to train, and where it goes."""
        registry, name = self._options.out, self._options.name
        if not self._options.seeds:
            yield Target(registry, name, self._version, self._work), recipe
        for seed in _seeds(self._options.seeds):
            target = Target(registry, name, f"{self._version}-seed{seed}", self._work / f"seed{seed}", True)
            yield target, replace(recipe, seed=seed)

    def _observers(self, version: str) -> Observers:
        if not self._group.leads:
            return Observers()
        logs = self._options.out / ".tensorboard" / self._options.name / version
        return Observers([ProgressBar(self._told), *tensorboard_if_installed(logs)])

    def _show(self, target: Target, trained: Trained) -> None:
        for split, evaluations in _by_split(trained.evaluations):
            self._table(split, markdown_table(evaluations))
            if self._options.html is not None and self._group.leads:
                self._options.html.mkdir(parents=True, exist_ok=True)
                page = self._options.html / f"{target.version}.{split}.html"
                page.write_text(html_page(_report(target, trained, evaluations)), encoding="utf-8")
                self._out.print(f"Report: {page}", markup=False, soft_wrap=True)
        self._out.print(f"Written: {trained.folder}", markup=False, soft_wrap=True)

    def _show_spread(self, done: Sequence[Trained]) -> None:
        """Of the model; popularity knows no seed."""
        for split, evaluations in _by_split([each for one in done for each in one.of_version]):
            self._table(f"{split}, all seeds", markdown_table(evaluations, seeds=(seed_runs(evaluations),)))

    def _table(self, title: str, table: str) -> None:
        self._out.print(f"\n{title}\n", markup=False, style="bold")
        if self._group.leads:
            typer.echo(table)


def read_corpus(options: TrainOptions, told: Console) -> Corpus:
    """The data that were asked for; says what one should know of them.

    Raises:
        DatasetError: when they cannot be read.
        NothingToLearnError: when there are no slates.
    """
    with told.status("Reading the data …"):
        reading = CorpusOptions(
            label_action=options.label_action, same_second=options.same_second, train_rows=_rows(options)
        )
        corpus = open_source(options.data, reading)
    if not corpus.splits:
        raise NothingToLearnError(f"the data set {corpus.name} has no slates")
    for remark in remarks_on(corpus):
        told.print(remark, markup=False, highlight=False, soft_wrap=True)
    return corpus


def _by_split(evaluations: Sequence[Evaluation]) -> Iterator[tuple[str, list[Evaluation]]]:
    for split in dict.fromkeys(each.split for each in evaluations):
        yield split, [each for each in evaluations if each.split == split]


def _report(target: Target, trained: Trained, evaluations: Sequence[Evaluation]) -> Report:
    return Report(
        title=f"{target.name}/{target.version}",
        evaluations=tuple(evaluations),
        learning=tuple(LearningStep(point.step, point.loss, point.metric) for point in trained.fitted.history),
        valid_metric=trained.fitted.recipe.metric,
    )


def _seeds(text: str) -> tuple[int, ...]:
    """Raises RecipeError when the text is no list of different seeds."""
    numbers = [each.strip() for each in text.split(",")] if text else []
    if not all(each.isascii() and each.isdigit() for each in numbers) or len(set(map(int, numbers))) < len(numbers):
        raise RecipeError(f"--seeds is {text!r}; write different whole numbers with commas between them, e.g. 0,1,2")
    return tuple(map(int, numbers))


def _silent() -> Console:
    return Console(quiet=True)


def _rows(options: TrainOptions) -> tuple[int, ...] | None:
    """Numbers of the training rows to keep.

    Raises:
        DatasetError: when the file is no list of them.
    """
    if options.rows is None:
        return None
    try:
        rows = json.loads(options.rows.read_text())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{options.rows}: cannot be read; write a JSON list of row numbers") from error
    if not isinstance(rows, list) or not all(isinstance(row, int) and not isinstance(row, bool) for row in rows):
        raise DatasetError(f"{options.rows}: not a list of row numbers; write e.g. [0, 5, 17]")
    return tuple(rows)
