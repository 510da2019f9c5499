"""`homepage data export`: the running services' event log as a folder that can be trained on."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import grpc
from rich.console import Console
from rich.text import Text

from services.trainer.event_log import EventLog
from services.trainer.exported_log import make_way, write_exported
from services.trainer.log_reader import LogReadError, ReadLimits, read_log
from services.trainer.settings import TrainerSettings
from shared.client import ChannelOptions, open_channel
from shared.datasets import DatasetError
from shared.metrics import Metrics
from shared.settings import SettingsError, load
from shared.tls import channel_credentials


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Where to, and from which services (`host:port`)."""

    out: Path
    profile: str
    retrieval: str


def run(options: ExportOptions, out: Console, told: Console) -> int:
    """Exports and counts; the process's status: 0, or 1 when it cannot be done."""
    try:
        make_way(options.out)
        credentials = channel_credentials(load(TrainerSettings))
        with told.status("Reading the event log …"):
            log = asyncio.run(_read(options, credentials))
        write_exported(options.out, log)
    except (DatasetError, LogReadError, SettingsError, OSError) as error:
        told.print(Text.assemble(("✗ ", "red"), str(error)), soft_wrap=True)
        return 1
    dropped = "".join(f"; {count:,} left out: {why}" for why, count in log.dropped.items())
    out.print(
        f"{len(log.pages):,} pages, {len(log.acts):,} acts, {len(log.items):,} items{dropped}.\nWritten: {options.out}",
        markup=False,
        soft_wrap=True,
    )
    return 0


async def _read(options: ExportOptions, credentials: grpc.ChannelCredentials | None) -> EventLog:
    calls = ChannelOptions(credentials=credentials)
    metrics = Metrics()
    async with (
        open_channel(options.profile, metrics, calls) as profile,
        open_channel(options.retrieval, metrics, calls) as retrieval,
    ):
        return await read_log(profile, retrieval, ReadLimits())
