"""`homepage demo`: from nothing to a page that learns, on one machine, in steps that can be watched.

Everything lies in a temporary folder and ends with the command: no process and no file is left.
"""

import contextlib
import enum
import json
import shlex
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from rich.console import Console

from services.cli import fleet as fleets
from services.cli.fleet import Fleet, StartError
from services.cli.launcher import REMEMBERED_LINES, ChildDiedError, Launcher, end_on_signals
from services.cli.loading import EVENT_CAP, Loaded, Loader, LoadError, events_to_load, read_data
from services.cli.log_view import last_words, log_line, tells_of_trouble
from services.cli.page_view import when
from services.cli.report import Report, Scene, StepTime, to_json, write_atomically
from services.cli.rpc_failure import tell
from services.cli.show import Show
from services.cli.showcase import choose_user
from services.cli.terminal import progress
from shared.datasets import Dataset, DatasetError
from shared.timestamps import to_timestamp

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
_DEATH_NOTICE_S = 0.5
"""A call to a dying process fails a little before the process has ended."""


class Ports(enum.StrEnum):
    """Where the demo's services listen."""

    DEFAULT = "default"
    FREE = "free"


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the demo was asked for; None and "" mean the default."""

    data: Path | None = None
    user_id: str = ""
    json_file: Path | None = None
    keep: bool = False
    ports: Ports | None = None
    model: str = ""
    """A trained version that ranks: a folder, "news/v2" or "news"; empty = the zero-shot model."""
    registry: str = "models"
    """Where the names of versions are looked up."""


class DemoError(RuntimeError):
    """The demo cannot go on; the text says why and what to do."""


@dataclass(slots=True)
class _Steps:
    """Numbers the steps and takes their time."""

    console: Console
    times: list[StepTime] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str, title: str) -> Iterator[None]:
        self.console.print(f"\n[bold blue]{len(self.times) + 1}[/]  [bold]{title}[/]")
        started = time.monotonic()
        yield
        self.times.append(StepTime(name, time.monotonic() - started))


def run(options: DemoOptions, console: Console) -> int:
    """The whole demo; returns the exit status. Stops its children whatever happens."""
    end_on_signals()
    try:
        return _Demo(options, console).run()
    except ChildDiedError as error:
        console.print(f"\n[bold red]The demo cannot go on: {error}.[/] It said last:")
        for line in last_words(error.last_lines):
            console.print(log_line(error.name, line), soft_wrap=True)
    except (DemoError, DatasetError, StartError, LoadError, OSError) as error:
        console.print(f"\n[bold red]The demo cannot go on:[/] {error}")
    except KeyboardInterrupt:
        console.print("\nInterrupted; everything is stopped.")
        return EXIT_INTERRUPTED
    return EXIT_FAILED


class _Demo:
    def __init__(self, options: DemoOptions, console: Console) -> None:
        self._options = options
        self._console = console
        self._steps = _Steps(console)

    def run(self) -> int:
        _check_folder(self._options.json_file)
        with self._steps.step("data", "Data"), progress(self._console) as bars:
            task = bars.add_task("Reading" if self._options.data else "Generating", total=None)
            dataset = read_data(self._options.data)
            bars.update(task, total=1, completed=1)
        user_id = self._user(dataset)
        fleet = self._fleet()
        with (
            tempfile.TemporaryDirectory(prefix="homepage-demo-") as folder,
            Launcher() as launcher,
        ):
            code = self._perform(dataset, user_id, fleet, launcher, Path(folder))
            if self._options.keep and code == EXIT_OK:
                self._keep(fleet, launcher, user_id, dataset)
            with self._steps.step("stop", "Stop"), self._console.status("Draining"):
                launcher.stop()
        took = sum(step.seconds for step in self._steps.times)
        self._console.print(f"   All four services are stopped, the temporary data is gone. {took:.0f} s in all.")
        return code

    def _user(self, dataset: Dataset) -> str:
        users = {event.user_id for event in dataset.interactions}
        items, acts = len(dataset.items), len(dataset.interactions)
        self._console.print(f"   {dataset.name}: {items:,} items, {acts:,} acts of {len(users):,} users")
        if dataset.now:
            self._console.print(f"   The pages are made for its present day, {when(to_timestamp(dataset.now))}.")
        events = events_to_load(dataset)
        if self._options.user_id:
            if self._options.user_id not in users:
                raise DemoError(f"no user {self._options.user_id} here; try {', '.join(dataset.busiest_users(3))}")
            return self._options.user_id
        try:
            return choose_user(events, dataset.items)
        except ValueError:
            raise DemoError(f"{dataset.name} holds no positive act of any user, so there is nothing to show") from None

    def _fleet(self) -> Fleet:
        wanted = self._options.ports
        if wanted is Ports.FREE or (wanted is None and not self._options.keep):
            return fleets.free_fleet()
        fleet = fleets.default_fleet()
        taken = fleets.taken_addresses(fleet)
        if not taken:
            return fleet
        if wanted is Ports.DEFAULT:
            raise DemoError(f"something listens already at {fleets.few(taken)}; use --ports free, or stop it")
        self._console.print(f"   [yellow]{taken[0]} is taken, so free ports are used.[/]")
        return fleets.free_fleet()

    def _perform(self, dataset: Dataset, user_id: str, fleet: Fleet, launcher: Launcher, folder: Path) -> int:
        with self._steps.step("start", "Four services on this machine"):
            self._start(fleet, launcher, folder)
        with contextlib.ExitStack() as stack:
            homepage, profile, retrieval = (
                stack.enter_context(fleets.open_sync_channel(fleet.address(name)))
                for name in ("orchestrator", "profile", "retrieval")
            )
            try:
                with self._steps.step("load", "Items and past behaviour, embedded as they come"):
                    loaded = self._load(Loader(retrieval, profile), dataset)
                scenes = self._show(Show(homepage, profile, _titles(dataset), self._console), dataset, user_id)
            except LoadError:
                self._show_trouble(launcher)
                raise
            except grpc.RpcError as error:
                time.sleep(_DEATH_NOTICE_S)
                launcher.check()
                self._show_trouble(launcher)
                raise DemoError(tell(error, fleet.address("orchestrator"))) from None
        if self._options.json_file is not None:
            users = len({event.user_id for event in dataset.interactions})
            report = Report(dataset.name, len(dataset.items), users, loaded, scenes, self._steps.times)
            write_atomically(self._options.json_file, to_json(report))
            self._console.print(f"\n   Everything shown is in {self._options.json_file}", soft_wrap=True)
        return EXIT_FAILED if any(scene.still_there for scene in scenes) else EXIT_OK

    def _show_trouble(self, launcher: Launcher) -> None:
        """The last warnings of every service: they tell why, where the client only sees that."""
        self._console.print()
        for child in launcher.children:
            for line in [line for line in child.last_lines(REMEMBERED_LINES) if tells_of_trouble(line)][-3:]:
                self._console.print(log_line(child.name, line), soft_wrap=True)

    def _start(self, fleet: Fleet, launcher: Launcher, folder: Path) -> None:
        registry = self._registry(folder / "models") if self._options.model else None
        launcher.start(fleets.commands(fleet, folder, own_stores=True, registry=registry))
        with progress(self._console) as bars:
            task = bars.add_task("Starting", total=len(fleet.members))
            fleets.wait_until_serving(fleet, launcher, lambda _: bars.advance(task))
        ports = " · ".join(f"{member.name} {member.address.rpartition(':')[2]}" for member in reversed(fleet.members))
        self._console.print(f"   [dim]On {fleets.HOST}: {ports}[/]")

    def _registry(self, folder: Path) -> Path:
        """A registry in which the version asked for serves, whatever serves where it comes from."""
        from services.cli.references import place_of  # what reads versions takes seconds to import
        from services.trainer.mirror import copy_version
        from shared.model.object_store import StorageError
        from shared.model.registry import RegistryError, activate
        from shared.model.storage import LocalStorage
        from shared.model.version_files import VersionError

        try:
            folder.mkdir()
            place = copy_version(place_of(self._options.model, self._options.registry), LocalStorage(folder))
            activate(folder, place.model, place.version, None)
        except (StorageError, RegistryError, VersionError) as error:
            raise DemoError(str(error)) from error
        self._console.print(f"   {place.model}/{place.version} ranks.", highlight=False)
        return folder

    def _load(self, loader: Loader, dataset: Dataset) -> Loaded:
        with progress(self._console) as bars:
            loaded = loader.load(dataset, bars)
        if loaded.events_left_out:
            self._console.print(
                f"   The newest {EVENT_CAP:,} acts are loaded, {loaded.events_left_out:,} older ones left out "
                "to keep the demo short."
            )
        return loaded

    def _show(self, show: Show, dataset: Dataset, user_id: str) -> list[Scene]:
        with self._steps.step("known user", "A user's homepage, and how it follows what the user does"):
            known = show.known_user(user_id, dataset.now)
        with self._steps.step("new visitor", "A visitor never seen before"):
            new = show.new_visitor(dataset.now)
        return [known, new]

    def _keep(self, fleet: Fleet, launcher: Launcher, user_id: str, dataset: Dataset) -> None:
        self._console.print("\n[bold green]The services stay up.[/] Ctrl-C stops them. Try:\n")
        for line in lines_to_try(fleet.address("orchestrator"), user_id, to_timestamp(dataset.now).ToJsonString()):
            self._console.print(line, markup=False, soft_wrap=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                launcher.check()
                time.sleep(fleets.POLL_S)


def lines_to_try(address: str, user_id: str, now: str) -> list[str]:
    """Commands that ask a running set for a page, ready to paste: in lines of fewer than 100 columns."""
    request = shlex.quote(json.dumps({"user_id": user_id, "context": {"now": now}}))
    method = "homepage.v1.Homepage/Recommend"
    return [
        f"homepage call --address {address} --user {shlex.quote(user_id)} --now {now}",
        f"grpcurl -plaintext -max-time 1 \\\n    -d {request} \\\n    {address} {method}",
        f"ghz --insecure --call {method} --disable-template-data \\\n    -d {request} \\\n"
        f"    --async --rps 10 --duration 10s --duration-stop wait --timeout 500ms {address}",
    ]


def _titles(dataset: Dataset) -> dict[str, str]:
    return {item.item_id: item.title for item in dataset.items}


def _check_folder(path: Path | None) -> None:
    """Told before minutes of work, not after."""
    if path is not None and not path.parent.is_dir():
        raise DemoError(f"{path.parent}: no such folder; make it, or name another file for --json")
