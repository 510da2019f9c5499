"""`homepage train`: from behaviour to a model version that the ranker can serve."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from services.trainer.assembly import CorpusOptions
from services.trainer.checkpoints import CheckpointError
from services.trainer.corpora import open_corpus
from services.trainer.fitting import Around, DivergedError, NothingToLearnError
from services.trainer.recipe import RecipeError, TrainRecipe, read_recipe
from services.trainer.reports import markdown_table
from services.trainer.tracking import Observers, ProgressBar, tensorboard_if_installed
from services.trainer.training import Target, Trained, train
from shared.datasets import DatasetError
from shared.model.base import PACKAGED_ID, BaseModelError, load_base
from shared.model.folders import NAME_RULE, is_safe_name
from shared.model.versions import VersionError

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
_FOR_THE_CALLER = (
    *(DatasetError, RecipeError, NothingToLearnError, CheckpointError, DivergedError),
    *(BaseModelError, VersionError, OSError),
)
"""Their texts say what to change; whatever else goes wrong is a defect and shows where."""


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What was asked for; None and "" mean the default."""

    data: Path | None
    out: Path
    name: str = "default"
    version: str = ""
    recipe: Path | None = None
    rows: Path | None = None
    label_action: str = "click"
    base: str = PACKAGED_ID


def run(options: TrainOptions, out: Console, told: Console) -> int:
    """Trains and prints the tables; the process's status: 0, or 1 when it cannot be done."""
    try:
        trained = _trained(options, told)
    except KeyboardInterrupt:
        told.print("\nInterrupted; the same command goes on from the last checkpoint.")
        return EXIT_INTERRUPTED
    except _FOR_THE_CALLER as error:
        told.print(Text.assemble(("✗ ", "red"), str(error)), soft_wrap=True)
        return EXIT_FAILED
    for split in dict.fromkeys(each.split for each in trained.evaluations):
        out.print(f"\n[bold]{split}[/]\n", highlight=False)
        typer.echo(markdown_table([each for each in trained.evaluations if each.split == split]))
    out.print(f"Written: {trained.folder}", highlight=False, soft_wrap=True)
    return EXIT_OK


def _trained(options: TrainOptions, told: Console) -> Trained:
    version = options.version or f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    for name in (options.name, version):
        if not is_safe_name(name):
            raise RecipeError(f"the names of model and version must be {NAME_RULE}")
    recipe = read_recipe(options.recipe) if options.recipe else TrainRecipe()
    with told.status("Reading the data …"):
        corpus = open_corpus(options.data, CorpusOptions(label_action=options.label_action, train_rows=_rows(options)))
    if not corpus.splits:
        raise NothingToLearnError(f"the data set {corpus.name} has no slates")
    work = options.out / f".training-{options.name}-{options.version or 'next'}"
    observers = Observers(
        [ProgressBar(told), *tensorboard_if_installed(options.out / ".tensorboard" / options.name / version)]
    )
    target = Target(options.out, options.name, version, work)
    return train(corpus, load_base(options.base), recipe, target, Around(observer=observers))


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
