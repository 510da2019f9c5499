"""Who watches a training: TensorBoard files, a progress bar on a console, both or nobody.

Observers are told what happened and change nothing, so a training comes out the same whoever watches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, slots=True)
class Point:
    """Of the learning curve, after `step` steps: the mean loss since the point before, and the validation metric
    (greater is better; None = nothing to validate on)."""

    step: int
    loss: float
    metric: float | None


@dataclass(frozen=True, slots=True)
class Stepped:
    """One step is done."""

    step: int
    """How many are done."""
    steps: int
    """How many there are at most."""
    loss: float
    learning_rate: float
    slates_per_s: float


class Observer(Protocol):
    """Told as training goes on, by the leading process alone."""

    def stepped(self, done: Stepped) -> None:
        """After each step."""

    def measured(self, point: Point) -> None:
        """After each evaluation."""

    def close(self) -> None:
        """At the end, also of a training that failed."""


class Observers:
    """Several; without any, nobody watches."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = tuple(observers)

    def stepped(self, done: Stepped) -> None:
        """See Observer."""
        for observer in self._observers:
            observer.stepped(done)

    def measured(self, point: Point) -> None:
        """See Observer."""
        for observer in self._observers:
            observer.measured(point)

    def close(self) -> None:
        """See Observer."""
        for observer in self._observers:
            observer.close()


class TensorBoard:
    """Event files in a folder: loss, learning rate, slates a second, and the validation metric by step."""

    def __init__(self, folder: Path) -> None:
        """Raises ImportError where the package tensorboard is missing; see `tensorboard_if_installed`."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))

    def stepped(self, done: Stepped) -> None:
        """See Observer."""
        self._writer.add_scalar("train/loss", done.loss, done.step)
        self._writer.add_scalar("train/learning_rate", done.learning_rate, done.step)
        self._writer.add_scalar("train/slates_per_s", done.slates_per_s, done.step)

    def measured(self, point: Point) -> None:
        """See Observer."""
        if point.metric is not None:
            self._writer.add_scalar("valid/metric", point.metric, point.step)

    def close(self) -> None:
        """See Observer."""
        self._writer.close()


def tensorboard_if_installed(folder: Path) -> tuple[Observer, ...]:
    """One observer, or none."""
    try:
        return (TensorBoard(folder),)
    except ImportError:
        return ()


class ProgressBar:
    """A bar with the loss, the last metric, slates a second and the time left."""

    def __init__(self, console: "Console") -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}"))
        self._progress = Progress(*columns, TimeRemainingColumn(), console=console)
        self._task = self._progress.add_task("training", total=None, told="")
        self._metric = ""
        self._progress.start()

    def stepped(self, done: Stepped) -> None:
        """See Observer."""
        told = f"loss {done.loss:.4f}{self._metric} · {done.slates_per_s:.0f} slates/s"
        self._progress.update(self._task, completed=done.step, total=done.steps, told=told)

    def measured(self, point: Point) -> None:
        """See Observer."""
        if point.metric is not None:
            self._metric = f" · metric {point.metric:.4f}"

    def close(self) -> None:
        """See Observer."""
        self._progress.stop()
