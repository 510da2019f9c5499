"""`homepage tune`: searches hyper-parameters and writes the best trial as a recipe for `homepage train`."""

import json
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from services.cli.train import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    FOR_THE_CALLER,
    DeviceChoice,
    TrainOptions,
    read_corpus,
    refused,
)
from services.trainer.distributed import Processes
from services.trainer.recipe import RecipeError
from services.trainer.recipes import QUICK, recipe_of
from services.trainer.search_space import default_space, read_space
from services.trainer.tuning import Limits, NothingFoundError, Surroundings, Task, TrialEnd, tune, write_tuned
from shared.model.base import PACKAGED_ID, load_base
from shared.model.placement import chosen_device

_FORMATS = (".toml", ".json")


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """What was asked for; None means the default."""

    data: Path | None
    out: Path
    trials: int = 20
    minutes: float | None = None
    """None = as long as it takes."""
    space: Path | None = None
    recipe: str = QUICK
    """A file, or a name of services.trainer.recipes."""
    rows: Path | None = None
    label_action: str = "click"
    same_second: bool = False
    base: str = PACKAGED_ID
    device: DeviceChoice = "auto"


def run(options: TuneOptions, out: Console, told: Console) -> int:
    """Searches, one line for each trial; the process's status: 0, or 1 when it cannot be done."""
    try:
        device = chosen_device(options.device)
    except ValueError as error:
        return refused(error, told)
    try:
        _tune(options, Processes(device=device), out, told)
    except KeyboardInterrupt:
        told.print("\nInterrupted; the same command goes on where it was.")
        return EXIT_INTERRUPTED
    except (*FOR_THE_CALLER, NothingFoundError) as error:
        return refused(error, told)
    return EXIT_OK


def _tune(options: TuneOptions, processes: Processes, out: Console, told: Console) -> None:
    if options.out.suffix not in _FORMATS:
        raise RecipeError(f"--out is {options.out}; name a file that ends in .toml or .json")
    if any(given is not None and _same(options.out, given) for given in (Path(options.recipe), options.space)):
        raise RecipeError(f"--out is {options.out}, which the search starts from; name another file")
    base = load_base(options.base)
    recipe = recipe_of(options.recipe, base)
    space = read_space(options.space, recipe) if options.space else default_space(recipe, base)
    reading = TrainOptions(
        data=options.data,
        out=options.out.parent,
        rows=options.rows,
        label_action=options.label_action,
        same_second=options.same_second,
    )
    corpus = read_corpus(reading, told)
    limits = Limits(options.trials, 60 * options.minutes if options.minutes is not None else float("inf"))
    work = options.out.parent / f".tuning-{options.out.stem}"

    def tell(end: TrialEnd) -> None:
        out.print(trial_line(end, recipe.metric), markup=False, soft_wrap=True)

    tuned = tune(Task(corpus, base, recipe, space), limits, Surroundings(work, tell, processes))
    write_tuned(options.out, tuned)
    out.print(
        f"Best: trial {tuned.number} of {tuned.trials}, {recipe.metric} {tuned.metric:.4f} on valid.\n"
        f"Written: {options.out}; train with --recipe {options.out}",
        markup=False,
        soft_wrap=True,
    )


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def trial_line(end: TrialEnd, metric: str) -> str:
    """One line: how the trial ended, the best so far, rate and time left, and what was tried."""
    measured = f"{metric} {end.metric:.4f}" if end.metric is not None else f"no {metric}"
    best = f"best {end.best:.4f} (trial {end.best_number})" if end.best is not None else "no best yet"
    tried = " ".join(f"{name}={json.dumps(value)}" for name, value in end.values.items())
    return (
        f"trial {end.number}/{end.trials}  {measured}  {end.outcome}  {best}  "
        f"{_time(end.seconds)}, {end.per_hour:.0f} trials/h, {_time(end.seconds_left)} left  {tried}"
    )


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
