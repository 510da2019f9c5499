"""A ranker without its gRPC face over a registry: real models, batcher, caches and switching, paced by the test."""

import asyncio
import json
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from services.ranker.batcher import Batcher
from services.ranker.caches import Bounds, CacheBounds, Caches
from services.ranker.instruments import Instruments
from services.ranker.jobs import Job, ModelScorer, Outcome
from services.ranker.models import Models, Served
from services.ranker.ranking import Item, Parts, Ranked, Ranking
from services.ranker.switching import Switching, Workshop
from services.ranker.work import BatchLimits
from shared.clock import ManualClock, SystemClock
from shared.health import Fitness
from shared.metrics import RANKER_MODEL_INFO, RANKER_QUEUE_JOBS, RANKER_QUEUE_TOKENS, Metrics, MetricSpec
from shared.model.base import Base
from shared.model.heads import Heads
from shared.model.manifest import Platt
from shared.model.packed import PackedBert
from shared.model.ranking_model import Group, Probabilities, RankingModel
from shared.model.text import HistoryText, ItemText, text_of_history, text_of_item
from shared.model.versions import load_version, write_version
from shared.model.zero_shot import zero_shot_model
from tests.ranker.batcher_bench import NOW, SOON
from tests.shared.model.made_blend import made_blend
from tests.shared.model.made_version import make_version, manifest_for, random_heads, save_random_adapter
from tests.shared.model.refusal import put

HISTORY = (HistoryText("bicycle race", "sport"), HistoryText("the news of the bank", "money"))
LIMITS = BatchLimits(queue_tokens=2000, interactive_tokens=256, bulk_tokens=64)
REFUSED: Mapping[str, str] = {
    "unknown": "there is no such version",
    "half": "heads.safetensors is missing",
    "damaged": "checksum differs",
    "foreign": "serve it with its own base",
    "unfused": "fusion.json cannot be served",
    "infinite": "no finite probabilities",
}
"""Versions of the model "news" that cannot answer, and what is said of them. All but the first have a folder."""


def items(count: int, first: int = 0) -> list[Item]:
    """Items of about 12 tokens each."""
    texts = [ItemText(f"race number {row}", "sport") for row in range(first, first + count)]
    return [Item(f"item-{row}", "r1", text) for row, text in enumerate(texts, first)]


ITEMS = items(20)


@dataclass(frozen=True)
class Store:
    """Versions v1, v2, v3 of "news" and v1 of "sport", each with an adapter of its own in all layers; "upper1" and
    "upper2" of "news", whose adapters are above the split only; and those in REFUSED.
    """

    folder: Path
    base: Base
    packed: PackedBert
    expected: Mapping[tuple[str, str], Probabilities]
    """By model and version: the probabilities of ITEMS for HISTORY, computed by themselves."""

    def registry(self, parent: Path) -> Path:
        """A registry with these versions, of which none serves."""
        return Path(shutil.copytree(self.folder, parent / "registry"))


def make_store(folder: Path, base: Base, packed: PackedBert) -> Store:
    """Makes the versions."""
    good = {("news", "v1"): {}, ("news", "v2"): {}, ("news", "v3"): {}, ("sport", "v1"): {}}
    upper = {("news", name): {"layers_to_transform": [2]} for name in ("upper1", "upper2")}
    for seed, ((name, version), lora) in enumerate({**good, **upper}.items()):
        adapter = folder.parent / f"adapter-{seed}"
        save_random_adapter(adapter, base, seed, **lora)
        make_version(folder, base, adapter, name=name, version=version)
    for version in ("half", "damaged"):
        heads = make_version(folder, base, version=version) / "heads.safetensors"
        content = heads.read_bytes()
        heads.unlink()
        if version == "damaged":
            heads.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    make_version(folder, base, version="foreign", base_sha256="0" * 64)
    infinite = manifest_for(base, version="infinite", actions=("click",), calibration=(Platt(1e39, -1e39),))
    write_version(folder / "news", infinite, Heads(torch.ones(1), similarity=torch.zeros(1)), adapter=None)
    unfused = manifest_for(base, version="unfused")
    put(write_version(folder / "news", unfused, random_heads(unfused, base), None, made_blend()), "fusion.json", b"{}")
    models = [load_version(folder / name / version, base, packed) for name, version in {**good, **upper}]
    models.append(zero_shot_model(base, packed))
    expected = {(model.manifest.name, model.manifest.version): _probabilities(model) for model in models}
    return Store(folder, base, packed, expected)


def _probabilities(model: RankingModel) -> Probabilities:
    context = model.tokeniser.context_of([text_of_history(entry) for entry in HISTORY])
    states = model.encode_items(model.tokeniser.candidates([text_of_item(item.text) for item in ITEMS]))
    return model.score([Group(model.encode_contexts([context])[0], states)])[0]


class PacedScorer(ModelScorer):
    """Counts the items it encodes. From `hold` on each batch, once computed, waits for a permit."""

    def __init__(self, caches: Caches) -> None:
        super().__init__(caches)
        self.encoded = 0
        self.dead = False
        self._held = False
        self._computed, self._permits = threading.Semaphore(0), threading.Semaphore(0)

    def score(self, batch: Sequence[Job]) -> Sequence[Outcome]:
        if self.dead:
            raise RuntimeError
        outcomes = super().score(batch)
        self.encoded += sum(row.state is None for job in batch for row in job.rows)
        if self._held:
            self._computed.release()
            self._permits.acquire(timeout=SOON)
        return outcomes

    def healthy(self) -> bool:
        return not self.dead and super().healthy()

    def hold(self) -> None:
        self._held = True

    def permit(self, batches: int) -> None:
        self._permits.release(batches)

    def let_go(self) -> None:
        self._held = False
        self._permits.release(1000)

    async def computed(self) -> None:
        """Returns once one more batch waits for a permit."""
        assert await asyncio.to_thread(self._computed.acquire, timeout=SOON)


class Watched(Instruments):
    """Wakes whoever waits for a change."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(metrics, Fitness())
        self._changed = asyncio.Event()

    def queue_changed(self, tokens: int, jobs: int) -> None:
        super().queue_changed(tokens, jobs)
        self._changed.set()

    def models_changed(self, models: Models) -> None:
        super().models_changed(models)
        self._changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON):
            while not holds():
                self._changed.clear()
                await self._changed.wait()


class Bench:
    """One ranker. Only the time until a failed version is tried again stands still; `clock` moves it."""

    def __init__(self, store: Store, registry: Path | None) -> None:
        self.store, self.registry = store, registry
        self.clock, system = ManualClock(NOW), SystemClock()
        self.metrics = Metrics()
        self.watched = Watched(self.metrics)
        room = Bounds(10_000_000)
        caches = Caches(CacheBounds(room, room, room), system)
        self.scorer = PacedScorer(caches)
        self.batcher: Batcher[Job, Outcome] = Batcher(self.scorer, LIMITS, system, self.watched)
        self.ranking = Ranking(Parts(self.batcher, caches, self.watched, system))
        self.models = Models()
        built_in = zero_shot_model(store.base, store.packed)
        self.zero_shot = built_in.manifest.version
        self.models.begin(Served(built_in, self.clock.now()))
        workshop = Workshop(registry, store.base, store.packed, poll_s=0.01)
        self.switching = Switching(workshop, self.models, self.ranking, self.clock, self.watched.models_changed)

    async def begin(self) -> None:
        self.batcher.start()
        await self.switching.begin()

    async def end(self) -> None:
        self.scorer.let_go()
        await asyncio.wait_for(self.switching.end(), SOON)
        await self.batcher.drain(SOON)
        self.ranking.close()

    async def activate(self, name: str, version: str, surface: str = "") -> Served:
        return await asyncio.wait_for(self.switching.activate(name, version, surface), SOON)

    @property
    def serving_file(self) -> Path:
        assert self.registry is not None
        return self.registry / "serving.json"

    def serving(self) -> dict[str, dict[str, str]]:
        """What serving.json says."""
        read: dict[str, dict[str, str]] = json.loads(self.serving_file.read_bytes())
        return read

    def answering(self, surface: str = "") -> tuple[str, str]:
        """Model and version that answer for a surface."""
        served = self.models.get("", surface)
        return served.name, served.version

    async def until_answering(self, name: str, version: str) -> None:
        await self.watched.until(lambda: self.answering() == (name, version))

    async def rank(self, name: str = "", candidates: Sequence[Item] = ITEMS) -> Ranked:
        model = self.models.get(name).model
        return await asyncio.wait_for(self.ranking.rank(model, HISTORY, candidates), SOON)

    async def check_answers(self, name: str = "") -> None:
        """A call gets the probabilities of the model that it asks for."""
        served = self.models.get(name)
        probabilities = (await self.rank(name)).probabilities
        np.testing.assert_allclose(probabilities, self.store.expected[served.name, served.version], atol=1e-5)

    def agrees(self) -> bool:
        """Whether the line-up is what serving.json says."""
        serving = self.serving()
        versions = {name: served.version for name, served in self.models.now.models.items()}
        defaults = {"": "zero-shot"} | serving["defaults"]
        return versions == serving["current"] | {"zero-shot": self.zero_shot} and self.models.now.defaults == defaults

    @property
    def queued_tokens(self) -> float:
        return self._sample(RANKER_QUEUE_TOKENS)

    @property
    def queued_jobs(self) -> float:
        return self._sample(RANKER_QUEUE_JOBS)

    def told(self, version: str, state: str) -> float:
        """What the metrics say of a version of "news"."""
        return self._sample(RANKER_MODEL_INFO, model="news", version=version, state=state)

    def _sample(self, spec: MetricSpec, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(spec.name, labels) or 0.0
