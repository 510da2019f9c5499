"""What the tests of the running ranker share: requests, a scorer that can be held or broken, metrics as scraped."""

import asyncio
import threading
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import grpc
import pytest
from homepage.ranker.v1 import ranker_pb2
from homepage.types.v1 import event_pb2
from prometheus_client.parser import text_string_to_metric_families

from services.ranker import service
from services.ranker.caches import Caches
from services.ranker.jobs import Job, ModelScorer, Outcome
from shared.errors import ServiceError
from shared.rich_status import from_rpc_error
from shared.server import ServiceHost
from tests.ranker.batcher_bench import SOON


def item(number: int, title: str = "", revision: str = "r") -> ranker_pb2.ItemText:
    title = title or f"race number {number}"
    return ranker_pb2.ItemText(item_id=f"item-{number}", revision=revision, title=title, category="sport")


def entry(title: str, action: event_pb2.Action.ValueType = event_pb2.ACTION_CLICK) -> ranker_pb2.HistoryText:
    return ranker_pb2.HistoryText(item=ranker_pb2.ItemText(item_id="seen", title=title), action=action)


def rank_of(*numbers: int) -> ranker_pb2.RankRequest:
    """Candidates that are not cached, for a user without history."""
    return ranker_pb2.RankRequest(candidates=[item(number, revision="") for number in numbers])


def reason_of(error: grpc.aio.AioRpcError) -> ServiceError:
    told = from_rpc_error(error)
    assert told is not None
    return told


@dataclass
class Trouble:
    """What the scorer is to suffer: batches wait while the gate is closed, and fail while it is broken."""

    broken: bool = False
    gate: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def made(cls, monkeypatch: pytest.MonkeyPatch) -> "Trouble":
        """That of the rankers that are started from now on."""
        trouble = cls()
        trouble.gate.set()
        monkeypatch.setattr(service, "ModelScorer", partial(TroubledScorer, trouble=trouble))
        return trouble

    def hold(self) -> None:
        """The next batch waits in the device until the gate is opened."""
        self.gate.clear()
        self.begun.clear()

    async def held(self) -> None:
        """Waits until a batch is in the device."""
        assert await asyncio.to_thread(self.begun.wait, SOON)


class TroubledScorer(ModelScorer):
    """The real scorer, between troubles."""

    def __init__(self, caches: Caches, trouble: Trouble) -> None:
        super().__init__(caches)
        self._trouble = trouble

    def score(self, batch: Sequence[Job]) -> Sequence[Outcome]:
        self._trouble.begun.set()
        if not self._trouble.gate.wait(SOON):
            raise TimeoutError
        self._check()
        return super().score(batch)

    def healthy(self) -> bool:
        self._check()
        return super().healthy()

    def _check(self) -> None:
        if self._trouble.broken:
            raise RuntimeError("the text of this exception is nobody's business")


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass(frozen=True)
class Page:
    """The Prometheus page of a host that listens for scrapes."""

    host: ServiceHost

    async def value(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name that have these labels; 0 when there are none."""
        return sum(
            value
            for (known, given), value in (await self._samples()).items()
            if known == name and labels.items() <= given
        )

    async def labels(self, name: str) -> set[frozenset[tuple[str, str]]]:
        """The labels of all samples of this name."""
        return {given for known, given in await self._samples() if known == name}

    async def until(self, name: str, wanted: Callable[[float], bool], **labels: str) -> None:
        """Scrapes until the value is as wanted."""
        async with asyncio.timeout(SOON):
            while not wanted(await self.value(name, **labels)):
                pass

    async def _samples(self) -> Samples:
        text = await asyncio.to_thread(self._read)
        families = text_string_to_metric_families(text)
        return {
            (each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples
        }

    def _read(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.host.metrics_port}/metrics", timeout=SOON) as page:
            content: bytes = page.read()
            return content.decode()
