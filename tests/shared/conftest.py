"""What tests of the runtime need beside the fixtures of all tests: bare channels, and the log as it is written."""

import io
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator

import grpc
import pytest

from shared.logs import JsonFormatter

BareChannel = Callable[..., grpc.aio.Channel]


class LogLines:
    """Everything logged so far, in the form in which a service writes it."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        """All lines."""
        return self.stream.getvalue()

    def of(self, event: str) -> list[dict[str, object]]:
        """The lines of one event."""
        lines = [json.loads(line) for line in self.text.splitlines()]
        return [line for line in lines if line["event"] == event]


@pytest.fixture
def log_lines() -> Iterator[LogLines]:
    lines = LogLines()
    handler = logging.StreamHandler(lines.stream)
    handler.setFormatter(JsonFormatter("test"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lines
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.fixture
async def bare_channel() -> AsyncIterator[BareChannel]:
    """`bare_channel(address, credentials=None)`: a channel without retries, health checks or interceptors."""
    channels: list[grpc.aio.Channel] = []

    def open_(address: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        if credentials is None:
            channel = grpc.aio.insecure_channel(address, options=options)
        else:
            channel = grpc.aio.secure_channel(address, credentials, options=options)
        channels.append(channel)
        return channel

    yield open_
    for channel in channels:
        await channel.close()
