"""The command line `homepage`: what each command is called, what it takes, and what its help says."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from homepage.v1 import homepage_pb2

from services.cli import call as calls
from services.cli import data as data_commands
from services.cli import demo as demos
from services.cli import load as loads
from services.cli import models as model_commands
from services.cli import up as ups
from services.cli.fleet import default_fleet
from services.cli.loading import EVENT_CAP
from services.cli.loadtest.entry import loadtest
from services.cli.terminal import console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A personalised homepage, served over gRPC. Begin with [bold]homepage demo[/].",
)
app.add_typer(data_commands.app, name="data")
app.add_typer(model_commands.app, name="models")
_DEFAULTS = default_fleet()
_DATA_HELP = (
    "Folder of a data set: MovieLens (movies.csv, ratings.csv), MIND (news.tsv, behaviors.tsv) or JSON lines "
    "(items.jsonl). Without it, a generated world that needs no download."
)
LearningDataPath = Annotated[
    Path | None,
    typer.Option(
        help=_DATA_HELP.replace("(items.jsonl).", "(items.jsonl); or a log that homepage data export wrote."),
        show_default="generated world",
    ),
]
Recipe = Annotated[str, typer.Option(help="quick, two-tower or deep, or a TOML or JSON file with hyper-parameters.")]
RowsPath = Annotated[
    Path | None, typer.Option(help="JSON list of training rows to keep, for few-shot runs.", show_default="all")
]
LabelAction = Annotated[str, typer.Option(help="What a label of 1 says was done.")]
SameSecond = Annotated[
    bool, typer.Option("--same-second", help="Histories keep acts of the very second of their slate.")
]
BaseModel = Annotated[str, typer.Option(help="Base model: packaged, a folder, or a hub id.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute; auto takes a GPU if any.")]
DataPath = Annotated[Path | None, typer.Option(help=_DATA_HELP, show_default="generated world")]


@app.command()
def demo(  # noqa: PLR0913  # one parameter per option is how typer reads them
    *,
    data: DataPath = None,
    user: Annotated[str, typer.Option(help="Whose page is shown.", show_default="one with a clear taste")] = "",
    json: Annotated[Path | None, typer.Option(help="Also write all that is shown to this file, as JSON.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the services running afterwards; Ctrl-C stops.")] = False,
    ports: Annotated[
        demos.Ports | None,
        typer.Option(help="Ports of the services.", show_default="free; with --keep default if they are free"),
    ] = None,
    model: Annotated[
        str,
        typer.Option(help="A trained version: a folder, news/v2, or news.", show_default="zero-shot, nothing trained"),
    ] = "",
    registry: Annotated[str, typer.Option(help="Where names of versions are looked up.")] = "models",
) -> None:
    """Show it all: start the four services, load data, serve pages, learn from feedback, stop.

    Needs this package with all its extras; no network, no GPU.
    Takes about a minute (larger data: up to three) and leaves no process and no file behind.
    The services listen on 127.0.0.1 only.
    Of a large data set, the newest 60,000 acts are loaded.

    [bold]Examples[/]

        homepage demo
        homepage demo --data ./ml-latest-small --json shown.json
        homepage demo --keep
        homepage train --version v1 && homepage demo --model default/v1
    """
    raise typer.Exit(demos.run(demos.DemoOptions(data, user, json, keep, ports, model, registry), console()))


@app.command()
def up(
    data_dir: Annotated[Path, typer.Option(help="Where the embedded stores lie; made if missing.")] = Path(
        "homepage-data"
    ),
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Show log lines as the services write them.")] = False,
) -> None:
    """Run the four services for development, with their logs in one stream.

    Ctrl-C or SIGTERM drains all, the orchestrator first; a second Ctrl-C kills.
    When a service dies, the set ends with status 1.

    [bold]Ports[/] on 127.0.0.1: service, admin (health), metrics

        orchestrator  50051  50061  9461
        profile       50052  50062  9462
        retrieval     50053  50063  9463
        ranker        50054  50064  9464

    All other settings come from the environment.
    A store named there (HOMEPAGE_PROFILE_DATABASE) wins over --data-dir.

    [bold]Examples[/]

        homepage up
        homepage up --data-dir ./try --json-logs | jq .event
        HOMEPAGE_RANKER_LOG_LEVEL=debug homepage up
    """
    raise typer.Exit(ups.run(ups.UpOptions(data_dir, json_logs), console()))


@app.command()
def load(
    data: DataPath = None,
    retrieval: Annotated[str, typer.Option(help="Address of the retrieval service.")] = _DEFAULTS.address("retrieval"),
    profile: Annotated[str, typer.Option(help="Address of the profile service.")] = _DEFAULTS.address("profile"),
    cap: Annotated[int, typer.Option(min=0, help="Acts loaded at most, the newest.")] = EVENT_CAP,
) -> None:
    """Load a data set into a running set: its items, then its past behaviour.

    Needs a running set ([bold]homepage up[/]).
    Ends when every item is embedded and every act is counted.
    Loading again changes nothing: items and acts are known by their ids.

    [bold]Examples[/]

        homepage load
        homepage load --data ./ml-latest-small --cap 100000
        homepage load --retrieval 10.0.0.5:50053 --profile 10.0.0.6:50052
    """
    raise typer.Exit(loads.run(loads.LoadOptions(data, retrieval, profile, cap), console()))


@app.command()
def call(  # noqa: PLR0913  # one parameter per option is how typer reads them
    *,
    context: typer.Context,
    user: Annotated[str, typer.Option(help="Signed-in user.", show_default=False)] = "",
    visitor: Annotated[str, typer.Option(help="Visitor who is not signed in.", show_default=False)] = "",
    address: Annotated[str, typer.Option(help="Address of the orchestrator.")] = _DEFAULTS.address("orchestrator"),
    page_size: Annotated[int, typer.Option(help="Items on the page, 1 to 100; 0 = 24.")] = 0,
    surface: Annotated[str, typer.Option(help="Page or placement.", show_default="home")] = "",
    page_token: Annotated[str, typer.Option(help="Token of the page before.", show_default="first page")] = "",
    now: Annotated[str, typer.Option(help="The moment the page is for, ISO 8601, UTC.", show_default="now")] = "",
    explain: Annotated[bool, typer.Option("--explain", help="Show the parts of every score.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON, and nothing else.")] = False,
    timeout: Annotated[float, typer.Option(min=0.001, help="Deadline in seconds.")] = 0.5,
) -> None:
    """Ask a running set for one page. Name a user or a visitor.

    Needs a running set ([bold]homepage up[/] or [bold]homepage demo --keep[/]).
    Ends with status 1 when the call fails.

    [bold]Examples[/]

        homepage call --user user-00017
        homepage call --user user-00017 --explain --page-size 12
        homepage call --visitor me --json | jq '.sections[].title'
    """
    if not user and not visitor:
        raise typer.BadParameter("name a user with --user or a visitor with --visitor", ctx=context)
    request = homepage_pb2.RecommendRequest(
        user_id=user,
        visitor_id=visitor,
        page_size=page_size,
        surface=surface,
        page_token=page_token,
        explain=explain,
    )
    if now:
        try:
            request.context.now.CopyFrom(calls.moment(now))
        except ValueError:
            raise typer.BadParameter(f"{now!r} is no moment; write it like 2026-01-15T12:00:00Z", ctx=context) from None
    raise typer.Exit(calls.run(calls.Question(address, timeout, request, json), console(), console(errors=True)))


app.command()(loadtest)


@app.command()
def train(  # noqa: PLR0913  # one parameter per option is how typer reads them
    *,
    data: LearningDataPath = None,
    out: Annotated[Path, typer.Option(help="Registry that the version goes to; made if missing.")] = Path("models"),
    name: Annotated[str, typer.Option(help="Name of the model.")] = "default",
    version: Annotated[str, typer.Option(help="Name of the version.", show_default="the moment, UTC")] = "",
    recipe: Recipe = "quick",
    rows: RowsPath = None,
    label_action: LabelAction = "click",
    same_second: SameSecond = False,
    base: BaseModel = "all-MiniLM-L6-v2",
    seeds: Annotated[
        str, typer.Option(help="E.g. 0,1,2: a version for each, and mean and spread.", show_default="the recipe's")
    ] = "",
    html: Annotated[
        Path | None, typer.Option(help="Folder for a report with plots, one page a split.", show_default="none")
    ] = None,
    device: Device = "auto",
    start: Annotated[
        str, typer.Option(help="A version to go on from: a folder, news/v2, or news.", show_default="the base")
    ] = "",
) -> None:
    """Fine-tune the base by LoRA on behaviour, measure it beside the untrained base and popularity, write a version.

    Stopped or killed, the same command goes on from the last checkpoint.
    With --seeds give --version too, or a command that was killed writes the seeds that were done once more.
    On several GPUs or machines start it by torchrun; one process shows and writes.
    Serve it with [bold]HOMEPAGE_RANKER_REGISTRY[/] and [bold]homepage models promote[/].

    [bold]Examples[/]

        homepage train
        homepage train --data ./my-data --out models --name news --recipe recipe.toml
        homepage train --data ./films --rows few.json --label-action like
        homepage train --data ./my-data --version v1 --seeds 0,1,2 --html reports
        homepage train --data ./my-data --recipe deep --start default/v1
        torchrun --nproc-per-node 2 -m services.cli train --data ./my-data
    """
    from services.cli import train as trains  # PyTorch takes seconds to import, and no other command needs it

    options = trains.TrainOptions(
        data=data,
        out=out,
        name=name,
        version=version,
        recipe=recipe,
        rows=rows,
        label_action=label_action,
        same_second=same_second,
        base=base,
        seeds=seeds,
        html=html,
        device=device,
        start=start,
    )
    raise typer.Exit(trains.run(options, console(), console(errors=True)))


@app.command()
def tune(  # noqa: PLR0913  # one parameter per option is how typer reads them
    *,
    data: LearningDataPath = None,
    out: Annotated[
        Path, typer.Option(help="Recipe to write, .toml or .json; .tuning-NAME beside it keeps the search.")
    ] = Path("recipe.toml"),
    trials: Annotated[int, typer.Option(min=1, help="How many, over all calls of the same search.")] = 20,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="No trial begins later.", show_default="no limit")
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(help="TOML file that says where to look; services/trainer/search_space.py tells how."),
    ] = None,
    recipe: Recipe = "quick",
    rows: RowsPath = None,
    label_action: LabelAction = "click",
    same_second: SameSecond = False,
    base: BaseModel = "all-MiniLM-L6-v2",
    device: Device = "auto",
) -> None:
    """Search hyper-parameters by the validation metric, write the best trial as a recipe.

    The first trial is the recipe itself; later ones learn from those before. Trials that fall behind end early.
    Stopped or killed, the same command goes on; with more --trials it goes further.
    Searched without --space: learning rates, rank, similarity_start, loss, batch_slates.

    [bold]Examples[/]

        homepage tune --data ./my-data --out best.toml --trials 20
        homepage tune --data ./my-data --space space.toml --minutes 60
        homepage train --data ./my-data --recipe best.toml
    """
    from services.cli import tune as tunes  # as above

    options = tunes.TuneOptions(
        data=data,
        out=out,
        trials=trials,
        minutes=minutes,
        space=space,
        recipe=recipe,
        rows=rows,
        label_action=label_action,
        same_second=same_second,
        base=base,
        device=device,
    )
    raise typer.Exit(tunes.run(options, console(), console(errors=True)))


@app.command()
def evaluate(  # noqa: PLR0913  # one parameter per option is how typer reads them
    *,
    data: LearningDataPath = None,
    split: Annotated[str, typer.Option(help="What is measured on.")] = "test",
    model: Annotated[
        list[str] | None,
        typer.Option(help="A version: a folder, news/v2, news or news@challenger; or zero-shot. May be repeated."),
    ] = None,
    registry: Annotated[
        str, typer.Option(envvar="HOMEPAGE_RANKER_REGISTRY", help="Where names of versions are looked up.")
    ] = "models",
    baselines: Annotated[
        Literal["all", "quick", "none"],
        typer.Option(help="Rows beside the models; quick leaves out what reads item vectors or is fitted."),
    ] = "all",
    label_action: LabelAction = "click",
    same_second: SameSecond = False,
    max_history: Annotated[int, typer.Option(min=0, help="Acts kept of a history, the newest.")] = 1000,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Impressions measured at most, drawn evenly.", show_default="all")
    ] = None,
    slices: Annotated[bool, typer.Option("--slices", help="Also print nDCG@10 by slice.")] = False,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Also measure typos, case, dropped words, foreign titles.")
    ] = False,
    json: Annotated[Path | None, typer.Option(help="Also write all figures to this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page with plots to this file.")] = None,
    evidence: Annotated[
        Path | None, typer.Option(help="Also write what `models promote --evidence` judges by to this file.")
    ] = None,
    against: Annotated[
        str, typer.Option(help="Whom the evidence compares with.", show_default="who answers under the model's name")
    ] = "",
    base: BaseModel = "all-MiniLM-L6-v2",
    device: Device = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of intervals, of all that is drawn, of the random row.")] = 0,
) -> None:
    """Measure models on a split, beside what they must beat, with 95 % intervals.

    Models are scored by the code that serves them.
    Baselines are counted and fitted on what was before the first slate measured, blends on validation.
    With all baselines it takes minutes for 10,000 items on a CPU.

    [bold]Examples[/]

        homepage evaluate --model news --data ./my-data --slices
        homepage evaluate --model news/v1 --model news/v2 --baselines quick --limit 2000
        homepage evaluate --model news/v2 --data ./my-data --evidence evidence.json
    """
    from services.cli import evaluate as evaluations  # as above

    options = evaluations.EvaluateOptions(
        data=data,
        split=split,
        models=tuple(model or ()),
        registry=registry,
        against=against,
        base=base,
        device=device,
        baselines=baselines,
        label_action=label_action,
        same_second=same_second,
        max_history=max_history,
        limit=limit,
        robustness=robustness,
        seed=seed,
        outputs=evaluations.Outputs(json, html, evidence, slices),
    )
    raise typer.Exit(evaluations.run(options, console(), console(errors=True)))


def main() -> None:
    """Entry point of the script `homepage`."""
    app()


if __name__ == "__main__":
    main()
