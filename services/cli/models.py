"""`homepage models`: what is in a registry, which version answers, and how that is changed.

A version is written "news/v2"; "news" stands for the one that answers under that name, "news@challenger" likewise.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from services.cli.references import named_place
from services.cli.terminal import console
from services.trainer.comparison import Row, compare
from services.trainer.gate import AUC, NDCG, Evidence, Gate, Outcome, Verdict, shown
from services.trainer.mirror import copy_version, pull
from services.trainer.promotion import Channel, Promotion, RefusedError, promote, rollback
from shared.model.manifest import Metric, ModelManifest
from shared.model.object_store import StorageError, storage_at
from shared.model.records import RecordError, decoded, encoded, parsed
from shared.model.registry import RegistryError, Serving, label_of, model_of, read_serving
from shared.model.version_files import Place, VersionError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Versions of models: list, show, compare, promote, roll back.",
)
Registry = Annotated[
    str,
    typer.Option(
        envvar="HOMEPAGE_RANKER_REGISTRY",
        help="Folder of the versions, or a URL that fsspec knows, e.g. s3://bucket/models.",
    ),
]
_HERE = "models"
"""Where `homepage train` writes."""
_VERSION_HELP = "A version, news/v2; or a name, for the one that answers under it."
Version = Annotated[str, typer.Argument(help=_VERSION_HELP, metavar="VERSION", show_default=False)]
ModelName = Annotated[str, typer.Argument(help="Name of the model.", metavar="NAME", show_default=False)]
ChannelOption = Annotated[Channel, typer.Option(help="Under which name it answers.")]

Record = TypeVar("Record")
_SPLIT = Gate().split
_COLOURS = {Outcome.PASSED: "green", Outcome.FAILED: "bold red", Outcome.NOT_JUDGED: "dim"}


@app.command("list")
def list_versions(registry: Registry = _HERE) -> None:
    """All versions of all models, the newest first, and which of them answer.

    [bold]Example[/]

        homepage models list --registry ./models
    """
    with _told():
        storage = storage_at(registry)
        serving = read_serving(storage) or Serving()
        table = Table(
            "model", "version", "channel", f"{NDCG} ({_SPLIT})", f"{AUC} ({_SPLIT})", "size", "made", box=None
        )
        for model in storage.models():
            for version in reversed(storage.versions(model)):
                table.add_row(*map(escape, _listed(Place(storage, model, version), serving)))
        if not table.row_count:
            console().print("No version is there yet; train one.")
            return
        console().print(table)


@app.command()
def show(version: Version, registry: Registry = _HERE) -> None:
    """All that a version says of itself, as JSON.

    [bold]Examples[/]

        homepage models show news/v2
        homepage models show news | jq .origin
    """
    with _told():
        typer.echo(encoded(named_place(storage_at(registry), version).manifest()).decode(), nl=False)


@app.command("compare")
def compare_versions(first: Version, second: Version, registry: Registry = _HERE) -> None:
    """The figures of two versions side by side, and which is better.

    Better is what the intervals leave no doubt about, taken as if both were independent.

    [bold]Examples[/]

        homepage models compare news/v1 news/v2
        homepage models compare news news@challenger
    """
    with _told():
        storage = storage_at(registry)
        places = (named_place(storage, first), named_place(storage, second))
        rows = compare(places[0].manifest(), places[1].manifest())
        names = tuple(f"{place.model}/{place.version}" for place in places)
        table = Table("metric", "split", "slice", *map(escape, names), "difference", "better", box=None)
        for row in rows:
            table.add_row(*map(escape, _compared(row, names)))
        console().print(table if rows else "Neither has any figures; evaluate both.")
        if any(row.first and row.second and not row.same_data for row in rows):
            console().print(
                "[yellow]Some figures are of different data, or do not say of which; evaluate both on the same data.[/]"
            )


@app.command("promote")
def promote_version(  # noqa: PLR0913  # one parameter per option is how typer reads them
    *,
    name: ModelName,
    version: Annotated[str, typer.Argument(help="Its new version, e.g. v2.", metavar="VERSION", show_default=False)],
    registry: Registry = _HERE,
    channel: ChannelOption = Channel.CHAMPION,
    gate: Annotated[Path | None, typer.Option(help="JSON file of the gate's limits.", show_default="built-in")] = None,
    evidence: Annotated[
        Path | None, typer.Option(help="JSON file of figures measured afterwards.", show_default="the manifests'")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Promote whatever the gate says.")] = False,
) -> None:
    """Let a version answer, if the gate holds; else say which check failed and end with status 1.

    [bold]Examples[/]

        homepage models promote news v2
        homepage models promote news v3 --channel challenger
    """
    with _told():
        limits = _record(gate, Gate) if gate else Gate()
        measured = _record(evidence, Evidence) if evidence else None
        wanted = Promotion(name, version, channel, force)
        try:
            verdict = promote(storage_at(registry), wanted, limits, measured)
        except RefusedError as refusal:
            _print(refusal.verdict)
            failed = ", ".join(line.check for line in refusal.verdict.failed)
            _fail(f"Not promoted: {failed}. Nothing has changed.")
        _print(verdict)
        forced = "" if verdict.passed else ", by force"
        console().print(f"{name}/{version} answers as {channel.of(name)}{forced}.", markup=False)


@app.command("rollback")
def roll_back(name: ModelName, registry: Registry = _HERE, channel: ChannelOption = Channel.CHAMPION) -> None:
    """Let the version answer that did before the last promotion; again, the one before that.

    [bold]Example[/]

        homepage models rollback news
    """
    with _told():
        version = rollback(storage_at(registry), name, channel)
        console().print(f"{name}/{version} answers as {channel.of(name)} again.", markup=False)


@app.command()
def copy(
    version: Version,
    to: Annotated[str, typer.Option(help="Registry that gets it: a folder or a URL.", show_default=False)],
    registry: Registry = _HERE,
) -> None:
    """Copy a version to another registry, verified on the way.

    [bold]Example[/]

        homepage models copy news/v2 --registry ./models --to s3://bucket/models
    """
    with _told():
        place = copy_version(named_place(storage_at(registry), version), storage_at(to))
        console().print(f"{place.model}/{place.version} is copied.", markup=False)


@app.command("pull")
def pull_serving(
    source: Annotated[str, typer.Option("--from", help="Registry to follow: a folder or a URL.", show_default=False)],
    registry: Annotated[Path, typer.Option(envvar="HOMEPAGE_RANKER_REGISTRY", help="Folder of the ranker.")],
) -> None:
    """Make a ranker's folder serve what another registry serves. Run it again to follow.

    [bold]Example[/]

        homepage models pull --from s3://bucket/models --registry ./models
    """
    with _told():
        copied = pull(storage_at(source), registry)
        names = ", ".join(f"{place.model}/{place.version}" for place in copied) or "nothing"
        console().print(f"Copied {names}; {registry} serves what {source} serves.", markup=False)


@contextmanager
def _told() -> Iterator[None]:
    """Whatever is wrong with what was asked for is one sentence and status 1."""
    try:
        yield
    except (RegistryError, VersionError, StorageError) as error:
        _fail(f"{str(error)[:1].upper()}{str(error)[1:]}.")
    except OSError as error:
        why = error.strerror or type(error).__name__
        _fail(f"The registry cannot be read or written: {why}; check the address, your rights and the disk.")


def _fail(text: str) -> NoReturn:
    console(errors=True).print(text, markup=False, soft_wrap=True, style="red")
    raise typer.Exit(1)


def _record(path: Path, kind: type[Record]) -> Record:
    try:
        return decoded(kind, parsed(path.read_bytes()))
    except OSError as error:
        raise RegistryError(f"the file {path} cannot be read; correct its path") from error
    except RecordError as error:
        raise RegistryError(f"the file {path} is no {kind.__name__.lower()}, {error}; correct it") from error


def _listed(place: Place, serving: Serving) -> tuple[str, ...]:
    """Cells of one version; what is wrong with it where it cannot be read."""
    called = [name for name, version in serving.current.items() if (model_of(name), version) == _named(place)]
    channels = ", ".join(label_of(name) or Channel.CHAMPION for name in called)
    try:
        manifest = place.manifest()
    except VersionError as error:
        return place.model, place.version, channels, str(error).partition(": ")[2]
    figures = [_main_figure(manifest, name) for name in (NDCG, AUC)]
    return place.model, place.version, channels, *figures, _size(place), _made(manifest)


def _named(place: Place) -> tuple[str, str]:
    return place.model, place.version


def _main_figure(manifest: ModelManifest, name: str) -> str:
    found = [each for each in manifest.metrics if (each.name, each.split, each.slice) == (name, _SPLIT, "")]
    return shown(found[0]) if found else "–"


def _size(place: Place) -> str:
    return f"{place.storage.size(place.model, place.version) / 2**20:,.2f} MiB"


def _made(manifest: ModelManifest) -> str:
    if manifest.origin is None:
        return "–"
    return f"{datetime.fromtimestamp(manifest.origin.started_at, UTC):%Y-%m-%d %H:%M} UTC"


def _compared(row: Row, names: tuple[str, ...]) -> tuple[str, ...]:
    better = ""
    if row.difference is not None:
        better = "not clear" if row.better is None else names[row.better is row.second]
    difference = shown(row.difference, signed=True) if row.difference else "–"
    return row.name, row.split, row.slice, _figure(row.first), _figure(row.second), difference, better


def _figure(metric: Metric | None) -> str:
    return shown(metric) if metric else "–"


def _print(verdict: Verdict) -> None:
    table = Table("check", "", "figures", box=None)
    for line in verdict.lines:
        colour = _COLOURS[line.outcome]
        table.add_row(escape(line.check), f"[{colour}]{line.outcome}[/]", escape(line.figures))
    console().print(table)
