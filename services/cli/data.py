"""`homepage data`: looks at a data set as training would see it, before anything is trained."""

import json as json_format
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from services.cli.terminal import console
from services.trainer.assembly import CorpusOptions
from services.trainer.corpora import open_corpus
from services.trainer.described import Count, Description, Lengths, SplitDescription, describe
from shared.datasets import DatasetError

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")


@app.callback()
def data() -> None:
    """Look at data before anything is trained on it."""


@app.command("describe")
def describe_command(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of a data set: MovieLens, MIND or JSON lines. Without it, the generated world.",
            show_default="generated world",
        ),
    ] = None,
    label_action: Annotated[
        str, typer.Option(help="What a label of 1 says was done. Ratings always have likes.")
    ] = "click",
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON, and nothing else.")] = False,
) -> None:
    """Count what is in a data set: users, items, acts, texts, splits, histories, and what was dropped.

    Acts are those of the training period: the part that a model may learn from.
    Ends with status 1 when the data cannot be read, and says in which line of which file.

    [bold]Examples[/]

        homepage data describe
        homepage data describe ./ml-latest-small
        homepage data describe ./my-data --label-action like --json | jq .splits
    """
    raise typer.Exit(run(path, CorpusOptions(label_action=label_action), json=json))


def run(path: Path | None, options: CorpusOptions, *, json: bool) -> int:
    """Prints the description; the process's status: 0, or 1 when the data cannot be read."""
    told = console(errors=True)
    try:
        with told.status(escape(f"Reading {path or 'the generated world'} …")):
            description = describe(open_corpus(path, options))
    except DatasetError as error:
        told.print(Text.assemble(("✗ ", "red"), str(error)), soft_wrap=True)
        return 1
    if json:
        typer.echo(json_format.dumps(asdict(description), ensure_ascii=False, indent=2))
    else:
        show(description, console())
    return 0


def show(description: Description, on: Console) -> None:
    """The description as tables."""
    on.print(
        f"\n[bold]{escape(description.name)}[/]   [dim]fingerprint {description.fingerprint}[/]\n", highlight=False
    )
    facts = Table.grid(padding=(0, 3))
    facts.add_column(style="dim")
    facts.add_column()
    facts.add_row("Users", f"{description.users:,}")
    facts.add_row("Items", f"{description.items:,}")
    facts.add_row("Time", f"{_moment(description.first)} to {_moment(description.last)}")
    facts.add_row("Acts to learn from", _counts(description.acts))
    facts.add_row("Density", f"{description.density:.3%} of the pairs of an acting user and an item")
    facts.add_row("Title", _lengths(description.title_characters, "characters"))
    facts.add_row("Text a model reads", _lengths(description.text_characters, "characters"))
    facts.add_row("Dropped", _counts(description.dropped))
    on.print(Padding(facts, (0, 0, 1, 2)))
    on.print(Padding(_splits(description.splits), (0, 0, 1, 2)))


def _splits(splits: tuple[SplitDescription, ...]) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    for heading in ("Split", "Slates", "Candidates", "Users", "History kept"):
        table.add_column(heading, justify="left" if heading == "Split" else "right")
    table.add_column("From, to")
    table.add_column("Positives")
    for split in splits:
        table.add_row(
            escape(split.name),
            f"{split.slates:,}",
            f"{split.candidates:,}",
            f"{split.users:,}",
            f"{split.history.median:g} (p90 {split.history.p90})",
            f"{_moment(split.first)}\n{_moment(split.last)}",
            _counts(split.positives),
        )
    return table


def _counts(counts: tuple[Count, ...]) -> str:
    return escape(", ".join(f"{each.name} {each.count:,}" for each in counts)) or "none"


def _lengths(lengths: Lengths, unit: str) -> str:
    return f"median {lengths.median:g}, 90 % up to {lengths.p90:,}, longest {lengths.longest:,} {unit}"


def _moment(seconds: float | None) -> str:
    return "not known" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
