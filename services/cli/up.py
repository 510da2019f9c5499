"""`homepage up`: the set for development, with the logs of all services in one readable stream."""

import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from services.cli import fleet as fleets
from services.cli.fleet import StartError
from services.cli.launcher import ChildDiedError, Launcher, end_on_signals
from services.cli.log_view import log_line


@dataclass(frozen=True, slots=True)
class UpOptions:
    """Where the embedded stores lie, and whether log lines are shown as they come."""

    data_dir: Path
    json_logs: bool = False


def run(options: UpOptions, console: Console) -> int:
    """Starts the set and shows its logs until Ctrl-C, SIGTERM or the end of a service; returns the exit status."""
    end_on_signals()
    fleet = fleets.default_fleet()
    taken = fleets.taken_addresses(fleet)
    if taken:
        console.print(
            f"[bold red]Something listens already at {fleets.few(taken)}.[/] Is another set up? Stop it first."
        )
        return 1

    def echo(name: str, line: str) -> None:
        console.print(Text(line) if options.json_logs else log_line(name, line), soft_wrap=True)

    try:
        with Launcher(echo) as launcher:
            launcher.start(fleets.commands(fleet, options.data_dir.resolve(), own_stores=False))
            fleets.wait_until_serving(fleet, launcher, lambda _: None)
            if not options.json_logs:
                where = "   ".join(f"{member.name} {member.address}" for member in reversed(fleet.members))
                console.print(f"[bold green]All four serve.[/] {where}   [dim]Ctrl-C stops[/]", soft_wrap=True)
            while True:
                launcher.check()
                time.sleep(fleets.POLL_S)
    except KeyboardInterrupt:
        return 0
    except ChildDiedError as error:
        console.print(f"[bold red]{error}; the set is stopped.[/]")
    except StartError as error:
        console.print(f"[bold red]The set cannot start:[/] {error}")
    return 1
