"""`homepage loadtest`: warms up, lets ghz put a scenario's load on a running set, shows what came of it, judges it.

With a report that ghz wrote earlier it only shows and judges.
"""

import contextlib
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from services.cli.fleet import default_fleet
from services.cli.loading import read_data
from services.cli.loadtest import ghz
from services.cli.loadtest.failure import LoadTestError
from services.cli.loadtest.fallbacks import FallbackWatch
from services.cli.loadtest.figures import Measured, measure
from services.cli.loadtest.objectives import failures, read_objectives
from services.cli.loadtest.plot import draw
from services.cli.loadtest.requests import write_requests
from services.cli.loadtest.scenarios import Scenario, find_scenario, load_folder
from services.cli.loadtest.table import show
from services.cli.loadtest.visits import Crowd, World
from services.cli.terminal import progress
from services.trainer.optional import MissingPackageError, require
from shared.datasets import DatasetError

RECOMMEND = "homepage.v1.Homepage.Recommend"
OBJECTIVES = "slo.toml"
_WARM_UP_SEED = 1_000_003
"""Added to the seed for warming up: other visits than those measured, or these would find themselves cached."""


@dataclass(frozen=True, slots=True)
class LoadTestOptions:
    """What was asked for; None and "" mean the default."""

    scenario: str = ""
    address: str = ""
    """Where the calls go; empty = where the scenario says."""
    metrics: str = ""
    """Where the orchestrator's metrics are; empty = those of the default set, if that is called."""
    data: Path | None = None
    seed: int = 0
    warm_up_s: float = 10.0
    ghz: str = ""
    slo: Path | None = None


@dataclass(frozen=True, slots=True)
class Files:
    """What is written or read besides."""

    result: Path | None = None
    """A report of ghz to be judged instead of a run."""
    requests: Path | None = None
    """Where the requests go; nothing is run then."""
    out: Path | None = None
    """Where ghz's report goes."""
    png: Path | None = None


def run(options: LoadTestOptions, files: Files, output: Console, errors: Console) -> int:
    """Does what is asked for; returns the exit status, 1 when an objective is not kept."""
    try:
        return _run(options, files, output)
    except (LoadTestError, MissingPackageError, DatasetError, OSError) as error:
        errors.print(Text.assemble(("✗ ", "red"), str(error)), soft_wrap=True)
        return 1


def _run(options: LoadTestOptions, files: Files, output: Console) -> int:
    if files.png is not None:
        require("matplotlib")
    if files.result is not None:
        measured = measure(ghz.read_run(files.result))
        if options.scenario:
            measured = replace(measured, name=find_scenario(options.scenario).name)
    else:
        scenario = find_scenario(options.scenario)
        if files.requests is not None:
            count = _write_requests(scenario, options, files.requests)
            output.print(f"{count:,} requests are in {files.requests}", soft_wrap=True)
            return 0
        measured = _measure(scenario, options, files, output)
    show(measured, output)
    if files.png is not None:
        draw(measured, files.png)
        output.print(f"  Drawn in {files.png}", soft_wrap=True)
    return _judge(measured, options.slo or load_folder() / OBJECTIVES, output)


def _judge(measured: Measured, path: Path, output: Console) -> int:
    objectives = read_objectives(path, measured.name)
    if not objectives:
        output.print(f"\n[yellow]{path} sets no objectives for {measured.name}.[/]", soft_wrap=True)
        return 0
    broken = failures(measured, objectives)
    output.print()
    for line in broken:
        output.print(Text.assemble(("✗ ", "red"), line), soft_wrap=True)
    if not broken:
        output.print(f"[green]✓[/] The objectives in {path} are kept.", soft_wrap=True)
    return 1 if broken else 0


def _write_requests(scenario: Scenario, options: LoadTestOptions, path: Path) -> int:
    return write_requests(scenario.settings.method, _world(options), Crowd(options.seed), path)


def _world(options: LoadTestOptions) -> World:
    return World(read_data(options.data))


def _measure(scenario: Scenario, options: LoadTestOptions, files: Files, output: Console) -> Measured:
    """Runs ghz twice: to warm up, and to measure."""
    program = ghz.find_ghz(options.ghz)
    settings, rate = scenario.settings, max(1, round(scenario.schedule.lowest_rate))
    with tempfile.TemporaryDirectory(prefix="homepage-loadtest-") as name, progress(output) as bars:
        folder = Path(name)
        report = files.out or folder / "report.json"
        target = options.address or settings.host
        begun = [program, "--config", str(scenario.path), "--format", "json"]
        warming, measuring = _requests(scenario, options, folder)

        def go_on(title: str, seconds: float, command: list[str]) -> None:
            task = bars.add_task(title, total=round(seconds))
            ghz.run_ghz(command, seconds, lambda passed: bars.update(task, completed=min(passed, seconds)))
            bars.update(task, completed=round(seconds))

        if options.warm_up_s > 0:
            slow = ["--load-schedule", "const", "--rps", str(rate), "--duration", f"{options.warm_up_s:g}s"]
            nowhere = ["--output", str(folder / "warm-up.json")]
            go_on("Warming up", options.warm_up_s, [*begun, *slow, *nowhere, *warming, target])
        with _watch(settings.method, options, target, output) as watch:
            go_on("Load", settings.duration, [*begun, "--output", str(report), *measuring, target])
        measured = measure(ghz.read_run(report), watch.seen() if watch else None)
    return replace(measured, name=scenario.name)


def _requests(scenario: Scenario, options: LoadTestOptions, folder: Path) -> tuple[list[str], list[str]]:
    """ghz's options that name the requests, for warming up and for measuring."""
    if scenario.settings.brings_data:
        return [], []
    method, world = scenario.settings.method, _world(options)
    warming, measuring = folder / "warm-up-requests.json", folder / "requests.json"
    few = math.ceil(scenario.schedule.lowest_rate * options.warm_up_s) + 1
    write_requests(method, world, Crowd(options.seed + _WARM_UP_SEED), warming, few)
    write_requests(method, world, Crowd(options.seed), measuring)
    return ["--data-file", str(warming)], ["--data-file", str(measuring)]


@contextlib.contextmanager
def _watch(method: str, options: LoadTestOptions, target: str, output: Console) -> Iterator[FallbackWatch | None]:
    """Watches the fallbacks of pages, if pages are called and somebody tells of them."""
    homepage = default_fleet().member("orchestrator")
    address = options.metrics or (homepage.metrics_address if target == homepage.address else "")
    if method != RECOMMEND or not address:
        yield None
        return
    with contextlib.ExitStack() as stack:
        watch = None
        try:
            watch = stack.enter_context(FallbackWatch(address))
        except (OSError, ValueError) as error:
            output.print(f"[yellow]No metrics at {address} ({error}), so fallbacks of pages are not told.[/]")
        yield watch
