"""`homepage load`: fills a running set from a data set."""

from dataclasses import dataclass
from pathlib import Path

import grpc
from rich.console import Console

from services.cli.fleet import open_sync_channel
from services.cli.loading import EVENT_CAP, Loader, LoadError, read_data
from services.cli.rpc_failure import tell
from services.cli.terminal import progress
from shared.datasets import DatasetError


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What to load, and into which services (`host:port`)."""

    data: Path | None
    retrieval: str
    profile: str
    cap: int = EVENT_CAP


def run(options: LoadOptions, console: Console) -> int:
    """Loads, shows how it goes, and returns the exit status."""
    try:
        dataset = read_data(options.data)
        with (
            open_sync_channel(options.retrieval) as retrieval,
            open_sync_channel(options.profile) as profile,
            progress(console) as bars,
        ):
            loaded = Loader(retrieval, profile).load(dataset, bars, options.cap)
    except (DatasetError, LoadError, OSError) as error:
        console.print(f"[bold red]Not loaded:[/] {error}")
        return 1
    except grpc.RpcError as error:
        console.print(
            tell(error, f"{options.retrieval} or {options.profile}"), markup=False, soft_wrap=True, style="red"
        )
        return 1
    console.print(
        f"{dataset.name}: {loaded.items_stored:,} items stored, {loaded.items_unchanged:,} unchanged; "
        f"{loaded.events_recorded:,} acts recorded, {loaded.events_duplicate:,} known already, "
        f"{loaded.events_left_out:,} older ones left out."
    )
    return 0
