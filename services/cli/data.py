"""`homepage data`: looks at a data set as training would see it, and makes one of the event log."""

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

from services.cli import log_export
from services.cli.fleet import default_fleet
from services.cli.terminal import console
from services.trainer.assembly import CorpusOptions
from services.trainer.described import Count, Description, Lengths, SplitDescription, describe
from services.trainer.sources import open_source
from shared.datasets import DatasetError

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
_DEFAULTS = default_fleet()


@app.callback()
def data() -> None:
    """Look at data before anything is trained on it; export the event log to train on."""


@app.command("describe")
def describe_command(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of data: MovieLens, MIND, JSON lines or an exported log. Without it, the generated world.",
            show_default="generated world",
        ),
    ] = None,
    label_action: Annotated[
        str, typer.Option(help="What a label of 1 says was done. Ratings always have likes.")
    ] = "click",
    same_second: Annotated[
        bool, typer.Option("--same-second", help="Histories keep acts of the very second of their slate.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON, and nothing else.")] = False,
) -> None:
    """Count what is in a data set: users, items, acts, texts, splits, histories, and what was dropped.

    Acts are those of the training period: the part that a model may learn from. Where slates tell positions, it shows
    how often what stood at each was chosen. What one should know before one believes figures is said at the end.
    Ends with status 1 when the data cannot be read, and says in which line of which file.

    [bold]Examples[/]

        homepage data describe
        homepage data describe ./ml-latest-small
        homepage data describe ./my-data --label-action like --json | jq .splits
    """
    raise typer.Exit(run(path, CorpusOptions(label_action=label_action, same_second=same_second), json=json))


@app.command("export")
def export_command(
    out: Annotated[Path, typer.Argument(help="Folder to write; it must not exist.", show_default=False)],
    profile: Annotated[str, typer.Option(help="Address of the profile service.")] = _DEFAULTS.address("profile"),
    retrieval: Annotated[str, typer.Option(help="Address of the retrieval service.")] = _DEFAULTS.address("retrieval"),
) -> None:
    """Write the running services' event log to a folder that [bold]train[/], [bold]tune[/] and [bold]describe[/] read.

    Pages that were served, what was done on them, and the items. Users are pseudonyms; what users did not allow to be
    trained on is not in it. The folder does not follow the log: delete it when a user in it is erased.
    Only you may open it, until you change its mode.
    To services with TLS set HOMEPAGE_TRAINER_UPSTREAM_TLS_CA, and for mutual TLS …_CERTIFICATE and …_KEY.

    [bold]Examples[/]

        homepage data export ./log-2026-01
        homepage data export ./log --profile profile:50052 --retrieval retrieval:50053
    """
    options = log_export.ExportOptions(out, profile, retrieval)
    raise typer.Exit(log_export.run(options, console(), console(errors=True)))


def run(path: Path | None, options: CorpusOptions, *, json: bool) -> int:
    """Prints the description; the process's status: 0, or 1 when the data cannot be read."""
    told = console(errors=True)
    try:
        with told.status(escape(f"Reading {path or 'the generated world'} …")):
            description = describe(open_source(path, options))
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
    if description.rate_by_position:
        facts.add_row("Chosen by position", _rates(description.rate_by_position))
    on.print(Padding(facts, (0, 0, 1, 2)))
    on.print(Padding(_splits(description.splits), (0, 0, 1, 2)))
    for remark in description.remarks:
        on.print(Padding(Text(remark), (0, 0, 1, 2)))


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


def _rates(rates: tuple[float | None, ...]) -> str:
    told = ", ".join("–" if rate is None else f"{rate:.2f}" for rate in rates)
    meaning = "These are the propensities for a recipe only where the order of slates was random."
    return f"{told} (train; first = 1.00)\n{meaning}"


def _counts(counts: tuple[Count, ...]) -> str:
    return escape(", ".join(f"{each.name} {each.count:,}" for each in counts)) or "none"


def _lengths(lengths: Lengths, unit: str) -> str:
    return f"median {lengths.median:g}, 90 % up to {lengths.p90:,}, longest {lengths.longest:,} {unit}"


def _moment(seconds: float | None) -> str:
    return "not known" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
