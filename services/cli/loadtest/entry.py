"""What `homepage loadtest` takes, and what its help says."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.loadtest import command
from services.cli.loadtest.scenarios import scenario_names
from services.cli.terminal import console


def loadtest(  # noqa: PLR0913  # one parameter per option is how typer reads them
    *,
    scenario: Annotated[
        str,
        typer.Argument(
            help="smoke, steady, step, spike, profile-steady, retrieval-steady, ranker-steady, or a file for ghz.",
            show_default=False,
        ),
    ] = "",
    address: Annotated[str, typer.Option(help="Who is called.", show_default="the scenario's host")] = "",
    metrics: Annotated[
        str, typer.Option(help="Metrics of the orchestrator, host:port.", show_default="of the default set")
    ] = "",
    data: Annotated[
        Path | None, typer.Option(help="Data that the set was loaded with.", show_default="generated world")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of who comes when.")] = 0,
    warm_up: Annotated[float, typer.Option(min=0, help="Seconds of gentle load before, not counted.")] = 10.0,
    slo: Annotated[
        Path | None, typer.Option(help="Objectives to judge by.", show_default="tests/load/slo.toml")
    ] = None,
    png: Annotated[Path | None, typer.Option(help="Draw latency over load to this file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep ghz's report (JSON) in this file.")] = None,
    result: Annotated[Path | None, typer.Option(help="Run nothing; judge this report that ghz wrote earlier.")] = None,
    requests: Annotated[
        Path | None, typer.Option(help="Run nothing; write the requests to this file, for ghz by hand.")
    ] = None,
    ghz: Annotated[str, typer.Option(help="The program ghz.", show_default="on the PATH")] = "",
) -> None:
    """Put open load on a running set with ghz, show what came of it, and judge it.

    Users come as Zipf's law has them, the same for the same --seed.
    Needs a running set with data ([bold]homepage demo --keep[/]) and ghz.
    Ends with status 1 when an objective is not kept, and names the line.
    Pages are recorded as served, as for real users: use a set of your own.

    [bold]Examples[/]

        homepage loadtest smoke
        homepage loadtest step --png step.png --out step.json
        homepage loadtest --result step.json
        homepage loadtest steady --requests requests.json
        homepage loadtest ranker-steady --address 10.0.0.7:50054
    """
    if not scenario and result is None:
        raise typer.BadParameter(f"name a scenario: {', '.join(scenario_names())}, or a file for ghz")
    options = command.LoadTestOptions(scenario, address, metrics, data, seed, warm_up, ghz, slo)
    files = command.Files(result=result, requests=requests, out=out, png=png)
    raise typer.Exit(command.run(options, files, console(), console(errors=True)))
