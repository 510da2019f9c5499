"""Searches a good recipe: trials that learn from those before them, and end early when they fall behind.

What a trial draws follows from its place and from the finished trials before it, and a trial that was killed goes on
from its checkpoint; so a search that was killed and started again finds what an uninterrupted one would have found.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from services.trainer.corpus import VALID, Corpus
from services.trainer.distributed import Processes
from services.trainer.fitting import Around, DivergedError, NothingToLearnError, fit
from services.trainer.optional import require
from services.trainer.recipe import RecipeError, TrainRecipe, write_recipe
from services.trainer.search_space import Between, OneOf, Space, Value, value_in, with_values
from services.trainer.tracking import Observers, Point
from shared.clock import Clock, SystemClock
from shared.model.base import Base
from shared.model.folders import flush_folder, temporary_sibling, write_flushed
from shared.model.records import RecordError, encoded

if TYPE_CHECKING:
    import optuna

_STUDY = "study.db"
_NUMBER, _VALUES = "number", "values"
_SEEDS_APART = 100_003
"""So that searches of neighbouring seeds share no draws."""
_DIGITS = 4
"""That drawn numbers are rounded to: a recipe is read by people."""

Outcome = Literal["finished", "fell behind", "cannot be trained"]
"""The last: its values do not go together, its loss is not finite, or it does not fit into the device's memory."""


class NothingFoundError(RuntimeError):
    """No trial came to an end; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is searched: the recipe of `space` that does best on the corpus' split "valid", by the recipe's metric."""

    corpus: Corpus
    base: Base
    recipe: TrainRecipe
    """Where the search starts, and what stays as it is."""
    space: Space


@dataclass(frozen=True, slots=True)
class Limits:
    """When the search ends; no trial begins after either."""

    trials: int
    """Over all calls of the search."""
    seconds: float = float("inf")
    """Of this call."""


@dataclass(frozen=True, slots=True)
class TrialEnd:
    """How a trial ended."""

    number: int
    """From 1."""
    trials: int
    outcome: Outcome
    values: Mapping[str, Value]
    metric: float | None
    """The best that was measured; None = it never was."""
    best: float | None
    """Of all that finished."""
    best_number: int
    seconds: float
    per_hour: float
    """Trials of this call."""
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a search does not depend on."""

    work: Path
    """Folder of the study and the running trial's checkpoints: what a killed search goes on from."""
    tell: Callable[[TrialEnd], None]
    """Called after each trial."""
    processes: Processes = field(default_factory=Processes)
    clock: Clock = field(default_factory=SystemClock)


@dataclass(frozen=True, slots=True)
class Tuned:
    """The best recipe, and how it was found."""

    recipe: TrainRecipe
    number: int
    trials: int
    """Finished or fallen behind, over all calls."""
    metric: float
    corpus: str
    fingerprint: str


def tune(task: Task, limits: Limits, around: Surroundings) -> Tuned:
    """Runs the trials that are still missing and returns the best of all.

    Values are drawn by a tree-structured Parzen estimator (Bergstra et al., 2011), the first trial being the recipe
    itself where the space has it. A trial ends early when its best metric so far is below the median of the others
    after as many slates (Golovin et al., 2017).

    Raises:
        MissingPackageError: when optuna is not installed.
        NothingToLearnError: when the corpus has nothing to train on, or to choose by.
        NothingFoundError: when no trial was finished.
    """
    require("optuna")
    if not task.corpus.splits.get(VALID):
        raise NothingToLearnError(f"the data set {task.corpus.name} has no split {VALID!r} to choose a recipe by")
    return _Search(task, limits, around).run()


def write_tuned(path: Path, tuned: Tuned) -> None:
    """Writes the recipe as `homepage train` reads it; in TOML with a line that says where it comes from.

    The file appears, or is replaced, whole or not at all.

    Raises:
        OSError: when the disk fails or is full.
    """
    unfinished = Path(f"{temporary_sibling(path)}{path.suffix}")  # the suffix says in which format
    try:
        write_recipe(unfinished, tuned.recipe)
        origin = _origin(tuned) if path.suffix == ".toml" else ""
        write_flushed(unfinished, origin.encode() + unfinished.read_bytes())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def _origin(tuned: Tuned) -> str:
    found = f"trial {tuned.number} of {tuned.trials}, {tuned.recipe.metric} {tuned.metric:.4f} on {VALID}"
    return f"# {found}; data {json.dumps(tuned.corpus)}, fingerprint {tuned.fingerprint}\n"


class _Watch(Observers):
    """Tells the study how a trial gets on, and ends it when it falls behind."""

    def __init__(self, trial: "optuna.Trial", batch_slates: int, reported: Mapping[int, float]) -> None:
        super().__init__()
        self._trial = trial
        self._batch_slates = batch_slates
        self._reported = set(reported)
        for slates, metric in reported.items():
            trial.report(metric, slates)

    def measured(self, point: Point) -> None:
        """By slates seen, so that batches of any size compare."""
        import optuna

        slates = point.step * self._batch_slates
        if point.metric is None or slates in self._reported:
            return
        self._reported.add(slates)
        self._trial.report(point.metric, slates)
        if self._trial.should_prune():
            raise optuna.TrialPruned


class _Search:
    """One call of `tune`."""

    def __init__(self, task: Task, limits: Limits, around: Surroundings) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._task = task
        self._limits = limits
        self._around = around
        around.work.mkdir(parents=True, exist_ok=True)
        self._study = optuna.create_study(
            storage=_database(around.work / _STUDY),
            study_name=_fingerprint(task),
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(),
            load_if_exists=True,
        )
        self._began = around.clock.monotonic()
        self._ended_here = 0

    def run(self) -> Tuned:
        from optuna.trial import TrialState

        for killed in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._study.tell(killed.number, state=TrialState.FAIL)
        while (done := len(self._ended())) < self._limits.trials and self._passed() < self._limits.seconds:
            self._try(done)
        return self._best()

    def _try(self, done: int) -> None:
        """The trial after `done` others."""
        import optuna
        from optuna.trial import TrialState

        seed = (self._task.recipe.seed * _SEEDS_APART + done) % 2**32
        self._study.sampler = optuna.samplers.TPESampler(seed=seed)
        if not done:
            self._begin_with_the_recipe()
        trial = self._study.ask()
        trial.set_user_attr(_NUMBER, done + 1)
        values = {name: self._drawn(trial, name, part) for name, part in self._task.space.items()}
        trial.set_user_attr(_VALUES, values)
        folder = self._around.work / f"trial-{self._study.study_name}-{_digest(values)}"
        started = self._around.clock.monotonic()
        metric, outcome = self._fitted(trial, values, folder)
        # What does not finish is one thing to the next trials: they learn from it.
        self._study.tell(trial, metric, TrialState.COMPLETE if outcome == "finished" else TrialState.PRUNED)
        shutil.rmtree(folder, ignore_errors=True)
        self._ended_here += 1
        self._tell(done + 1, outcome, values, self._around.clock.monotonic() - started)

    def _fitted(self, trial: "optuna.Trial", values: Mapping[str, Value], folder: Path) -> tuple[float | None, Outcome]:
        """The metric where the trial came to its end, and how it ended."""
        import optuna

        try:
            recipe = with_values(self._task.recipe, values)
            watch = _Watch(trial, recipe.batch_slates, self._before_it_was_killed(trial))
            around = Around(self._around.processes, watch, self._around.clock)
            return fit(self._task.corpus, self._task.base, recipe, folder, around).best_metric, "finished"
        except optuna.TrialPruned:
            return None, "fell behind"
        except (RecordError, RecipeError, DivergedError, torch.OutOfMemoryError):
            return None, "cannot be trained"

    def _before_it_was_killed(self, trial: "optuna.Trial") -> Mapping[int, float]:
        """What a trial of the same place and values had reported."""
        from optuna.trial import TrialState

        for old in self._study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
            if old.user_attrs == trial.user_attrs:
                return dict(old.intermediate_values)
        return {}

    def _begin_with_the_recipe(self) -> None:
        own = {name: _known_as(part, value_in(self._task.recipe, name)) for name, part in self._task.space.items()}
        if None not in own.values():
            self._study.enqueue_trial(own)

    def _drawn(self, trial: "optuna.Trial", name: str, part: Between | OneOf) -> Value:
        if isinstance(part, OneOf):
            return json.loads(trial.suggest_categorical(name, [json.dumps(choice) for choice in part.choices]))
        if isinstance(value_in(self._task.recipe, name), int):
            return trial.suggest_int(name, int(part.low), int(part.high), log=part.log)
        drawn = trial.suggest_float(name, part.low, part.high, log=part.log)
        return min(max(float(f"{drawn:.{_DIGITS}g}"), part.low), part.high)

    def _tell(self, number: int, outcome: Outcome, values: Mapping[str, Value], seconds: float) -> None:
        trial = self._ended()[-1]
        seen = trial.intermediate_values.values()
        best = self._best_trial()
        each = self._passed() / self._ended_here
        left = min((self._limits.trials - number) * each, self._limits.seconds - self._passed())
        self._around.tell(
            TrialEnd(
                number=number,
                trials=self._limits.trials,
                outcome=outcome,
                values=values,
                metric=trial.value if outcome == "finished" else max(seen, default=None),
                best=best.value if best else None,
                best_number=best.user_attrs[_NUMBER] if best else 0,
                seconds=seconds,
                per_hour=3600 / max(each, 1e-9),
                seconds_left=max(0.0, left),
            )
        )

    def _best(self) -> Tuned:
        best = self._best_trial()
        if best is None or best.value is None:
            raise NothingFoundError(
                "no trial was finished; give the search more time, lower learning rates or smaller batches"
            )
        recipe = with_values(self._task.recipe, best.user_attrs[_VALUES])
        corpus = self._task.corpus
        return Tuned(recipe, best.user_attrs[_NUMBER], len(self._ended()), best.value, corpus.name, corpus.fingerprint)

    def _ended(self) -> "list[optuna.trial.FrozenTrial]":
        """All that count, of all calls, the last one last."""
        from optuna.trial import TrialState

        return self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))

    def _best_trial(self) -> "optuna.trial.FrozenTrial | None":
        """The first of those that finished with the greatest metric: what ended early has its last report for one."""
        from optuna.trial import TrialState

        finished = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return max(finished, key=lambda trial: trial.value or 0.0, default=None)

    def _passed(self) -> float:
        return self._around.clock.monotonic() - self._began


def _known_as(part: Between | OneOf, value: Value) -> Value:
    """What the study calls a recipe's value; None where the space does not have it."""
    if isinstance(part, OneOf):
        # Of equals the choice is the name: 3 and 3.0 are written differently.
        return next((json.dumps(choice) for choice in part.choices if choice == value), None)
    return value if part.low <= value <= part.high else None


def _database(path: Path) -> str:
    """The URL of an SQLite file, whatever letters its path has."""
    from sqlalchemy import URL

    return URL.create("sqlite", database=str(path.resolve())).render_as_string()


def _fingerprint(task: Task) -> str:
    """Of all that makes trials comparable; a search of anything else is another study."""
    return _digest(
        {
            "data": task.corpus.fingerprint,
            "base": task.base.sha256,
            "recipe": encoded(task.recipe).decode(),
            "space": repr(sorted(task.space.items())),
        }
    )


def _digest(values: Mapping[str, Value]) -> str:
    return hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=8).hexdigest()
