"""The terminal: consoles of a width that can be read, and progress bars that tell rate and time left."""

import os
import sys

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

PLAIN_WIDTH = 116
"""Columns when the output is no terminal: rich would take 80 and cut the titles."""
WIDEST = 140


def console(*, errors: bool = False) -> Console:
    """A console on standard output (or error). Long lines are easier lost than read, so it ends at 140 columns."""
    stream = sys.stderr if errors else sys.stdout
    if "COLUMNS" in os.environ or not stream.isatty():
        width = None if "COLUMNS" in os.environ else PLAIN_WIDTH
        return Console(stderr=errors, width=width, highlight=False)
    made = Console(stderr=errors, highlight=False)
    return Console(stderr=errors, width=WIDEST, highlight=False) if made.width > WIDEST else made


class RateColumn(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        """The speed, of the whole task once it is finished; nothing for tasks without a unit."""
        speed = task.finished_speed or task.speed
        unit = task.fields.get("unit")
        return Text(f"{speed:,.0f} {unit}/s" if speed and unit else "", style="dim")


def progress(on: Console) -> Progress:
    """Bars with count, rate, time so far and time left. A task's field `unit` names what is counted."""
    return Progress(
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description:<15}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]left[/]"),
        TimeRemainingColumn(),
        console=on,
    )
