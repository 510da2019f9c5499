"""Models of a registry as callers see them: activated, listed and swapped, over real servers and channels."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
from homepage.ranker.v1 import ranker_pb2, ranker_pb2_grpc

from services.ranker.jobs import ModelScorer
from services.ranker.ranking import Item
from shared.errors import Reason, ServiceError
from shared.model.registry import Serving, read_serving
from shared.rich_status import from_rpc_error
from shared.server import ServiceHost
from shared.start import StartError
from tests.conftest import OpenChannel
from tests.ranker.conftest import StartRanker
from tests.ranker.switching.bench import HISTORY, ITEMS, REFUSED, Store
from tests.ranker.switching.held_file import HeldFile

SOON = 10.0
POLL_S = 0.05


def item_text(item: Item) -> ranker_pb2.ItemText:
    return ranker_pb2.ItemText(
        item_id=item.item_id, revision=item.revision, title=item.text.title, category=item.text.category
    )


def rank_request(model: str = "", surface: str = "") -> ranker_pb2.RankRequest:
    seen = [ranker_pb2.ItemText(item_id="seen", title=entry.title, category=entry.category) for entry in HISTORY]
    return ranker_pb2.RankRequest(
        model=model,
        surface=surface,
        history=[ranker_pb2.HistoryText(item=item) for item in seen],
        candidates=[item_text(item) for item in ITEMS],
    )


def serving_of(registry: Path) -> Serving:
    serving = read_serving(registry)
    assert serving is not None
    return serving


@pytest.fixture
def registry(store: Store, tmp_path: Path) -> Path:
    return store.registry(tmp_path)


class Caller:
    """Talks to one ranker."""

    def __init__(self, stub: ranker_pb2_grpc.RankerAsyncStub, store: Store) -> None:
        self._stub = stub
        self._store = store

    async def activate(
        self, name: str, version: str, surface: str = "", timeout: float | None = None
    ) -> ranker_pb2.Model:
        request = ranker_pb2.ActivateModelRequest(name=name, version=version, surface=surface)
        return (await self._stub.ActivateModel(request, timeout=timeout)).model

    async def deactivate(self, name: str) -> None:
        await self._stub.DeactivateModel(ranker_pb2.DeactivateModelRequest(name=name))

    async def refused(self, name: str, version: str, surface: str = "") -> tuple[grpc.StatusCode, ServiceError]:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await self.activate(name, version, surface)
        told = from_rpc_error(refused.value)
        assert told is not None
        return refused.value.code(), told

    async def models(self) -> dict[tuple[str, str], ranker_pb2.Model]:
        listed = await self._stub.ListModels(ranker_pb2.ListModelsRequest())
        return {(model.name, model.version): model for model in listed.models}

    async def pages(self, size: int) -> list[list[str]]:
        """The names on each page of ListModels."""
        found, token = [], ""
        while not found or token:
            page = await self._stub.ListModels(ranker_pb2.ListModelsRequest(page_size=size, page_token=token))
            found.append([model.name for model in page.models])
            token = page.next_page_token
        return found

    async def until_listed(self, holds: Callable[[dict[tuple[str, str], ranker_pb2.Model]], bool]) -> None:
        async with asyncio.timeout(SOON):
            while not holds(await self.models()):
                pass

    async def until_answers(self, name: str, version: str) -> None:
        await self.until_listed(lambda models: (name, version) in models and bool(models[name, version].surfaces))

    async def rank(self, name: str, model: str = "", surface: str = "") -> ranker_pb2.RankResponse:
        """The answer, which is wholly that of one version of the model `name`."""
        answer: ranker_pb2.RankResponse = await self._stub.Rank(rank_request(model, surface))
        scores = [score.probabilities for score in answer.scores]
        np.testing.assert_allclose(scores, self._store.expected[name, answer.model_version], atol=1e-5)
        return answer


@pytest.fixture
def caller_of(open_test_channel: OpenChannel, store: Store) -> Callable[[ServiceHost], Caller]:
    return lambda host: Caller(ranker_pb2_grpc.RankerStub(open_test_channel(host)), store)


@pytest.fixture
async def host(start_ranker: StartRanker, registry: Path) -> ServiceHost:
    return await start_ranker(registry=registry, registry_poll_s=POLL_S)


@pytest.fixture
def caller(host: ServiceHost, caller_of: Callable[[ServiceHost], Caller]) -> Caller:
    return caller_of(host)


async def test_each_surface_and_each_name_gets_its_model(caller: Caller) -> None:
    await caller.activate("news", "v1")
    sport = await caller.activate("sport", "v1", "sport page")
    assert (sport.state, list(sport.surfaces)) == (ranker_pb2.MODEL_STATE_ACTIVE, ["sport page"])
    assert (await caller.rank("news", surface="sport news")).model_version == "v1"
    await caller.rank("sport", surface="sport page")
    await caller.rank("news", "news", "sport page")  # a name counts before the surface
    await caller.rank("zero-shot", "zero-shot")
    models = await caller.models()
    assert {key[0]: list(model.surfaces) for key, model in models.items()} == {
        "news": [""],
        "sport": ["sport page"],
        "zero-shot": [],
    }
    assert models["news", "v1"].loaded_at.seconds > 0


async def test_a_challenger_answers_beside_the_champion_and_only_when_it_is_named(
    caller: Caller, registry: Path
) -> None:
    await caller.activate("news", "v1")
    challenger = await caller.activate("news@challenger", "v2")
    assert (challenger.name, list(challenger.surfaces)) == ("news@challenger", [])
    assert challenger.state == ranker_pb2.MODEL_STATE_READY
    assert (await caller.rank("news")).model_version == (await caller.rank("news", "news")).model_version == "v1"
    assert (await caller.rank("news", "news@challenger")).model_version == "v2"
    await caller.activate("news", "v2")  # promoted
    assert (await caller.rank("news", "news@challenger")).model_version == "v2"
    assert serving_of(registry) == Serving({"news": "v2", "news@challenger": "v2"}, {"": "news"})


async def test_what_is_deactivated_answers_no_more_here_and_elsewhere_and_its_surface_gets_the_default(
    caller: Caller, registry: Path, start_ranker: StartRanker, caller_of: Callable[[ServiceHost], Caller]
) -> None:
    other = caller_of(await start_ranker(registry=registry, registry_poll_s=POLL_S))
    await caller.activate("news", "v1")
    await caller.activate("news@challenger", "v2")
    await other.until_answers("news", "v1")
    for name in ("news@challenger", "news", "news", "never-activated"):
        await caller.deactivate(name)
    assert {name for name, _ in await caller.models()} == {"zero-shot"}
    await caller.rank("zero-shot")
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await caller.rank("news", "news")
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    await other.until_listed(lambda models: {name for name, _ in models} == {"zero-shot"})
    assert (registry / "news" / "v1" / "manifest.json").exists()


@pytest.mark.parametrize("name", ["", "a/b", "news@", "zero-shot"])
async def test_what_cannot_be_deactivated_is_invalid(caller: Caller, name: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await caller.deactivate(name)
    told = from_rpc_error(refused.value)
    assert told is not None
    assert (refused.value.code(), told.violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, "name")


async def test_a_label_and_a_surface_do_not_go_together(caller: Caller) -> None:
    code, told = await caller.refused("news@challenger", "v1", "home")
    assert (code, told.violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, "surface")


async def test_versions_are_swapped_forward_back_and_to_the_built_in_one(caller: Caller, registry: Path) -> None:
    built_in = (await caller.rank("zero-shot")).model_version
    for version in ("v1", "v2", "v2", "v1"):
        model = await caller.activate("news", version)
        assert (model.version, list(model.surfaces)) == (version, [""])
        assert (await caller.rank("news")).model_version == version
        assert serving_of(registry).version_of("news") == version
    await caller.activate("zero-shot", built_in)
    await caller.rank("zero-shot")
    models = await caller.models()
    assert {key: model.state for key, model in models.items()} == {
        ("news", "v1"): ranker_pb2.MODEL_STATE_READY,
        ("zero-shot", built_in): ranker_pb2.MODEL_STATE_ACTIVE,
    }


@pytest.mark.parametrize(("version", "why"), REFUSED.items())
async def test_what_cannot_answer_is_refused_and_listed_beside_what_answers(
    caller: Caller, registry: Path, version: str, why: str
) -> None:
    await caller.activate("news", "v1")
    code, told = await caller.refused("news", version)
    assert (code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, Reason.PRECONDITION)
    assert why in told.message
    models = await caller.models()
    assert models["news", version].state == ranker_pb2.MODEL_STATE_FAILED
    assert why in models["news", version].failure
    assert list(models["news", "v1"].surfaces) == [""]
    assert (await caller.rank("news")).model_version == "v1"
    assert serving_of(registry).current == {"news": "v1"}


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b", "x" * 129, "a@b@c"])
async def test_names_that_cannot_be_folders_are_invalid(caller: Caller, name: str) -> None:
    code, told = await caller.refused(name, name, "s" * 65)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert {violation.field for violation in told.violations} == {"name", "version", "surface"}


async def test_without_a_registry_nothing_can_be_activated(
    start_ranker: StartRanker, caller_of: Callable[[ServiceHost], Caller]
) -> None:
    code, told = await caller_of(await start_ranker()).refused("news", "v1")
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "HOMEPAGE_RANKER_REGISTRY" in told.message


async def test_a_registry_that_cannot_be_written_is_unavailable(caller: Caller, registry: Path) -> None:
    (registry / ".tmp-serving.json").mkdir()
    code, told = await caller.refused("news", "v1")
    assert (code, told.reason) == (grpc.StatusCode.UNAVAILABLE, Reason.STORE_UNAVAILABLE)
    assert ("EISDIR" in told.message, told.retry_after_s) == (True, 1.0)
    assert (await caller.rank("zero-shot")).model_version


async def test_a_model_that_the_registry_wants_and_that_could_not_be_loaded_is_not_unknown(
    caller: Caller, registry: Path
) -> None:
    (registry / "serving.json").write_text('{"current": {"news": "half"}, "defaults": {"": "news"}}')
    await caller.until_listed(lambda models: ("news", "half") in models)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await caller.rank("news", "news")
    told = from_rpc_error(refused.value)
    assert told is not None
    assert (told.reason, told.retry_after_s) == (Reason.NOT_READY, 5.0)


async def test_a_ranker_that_requires_its_models_does_not_start_without_them(
    start_ranker: StartRanker, registry: Path, caller_of: Callable[[ServiceHost], Caller]
) -> None:
    (registry / "serving.json").write_text('{"current": {"news": "half"}, "defaults": {"": "news"}}')
    with pytest.raises(StartError, match=r"heads.safetensors is missing.*HOMEPAGE_RANKER_REQUIRE_MODELS"):
        await start_ranker(registry=registry, require_models=True)
    with pytest.raises(StartError, match="the registry folder does not exist"):
        await start_ranker(registry=registry / "absent", require_models=True)
    (registry / "serving.json").write_text('{"current": {"news": "v1"}, "defaults": {"": "news"}}')
    assert (await caller_of(await start_ranker(registry=registry, require_models=True)).rank("news")).model_version


async def test_while_the_device_does_not_answer_calls_are_told_to_come_back(
    host: ServiceHost, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError

    async with grpc.aio.insecure_channel(host.address) as channel:  # our own would retry and leave a sick ranker alone
        caller = Caller(ranker_pb2_grpc.RankerStub(channel), store)
        with monkeypatch.context() as device:
            device.setattr(ModelScorer, "score", broken)
            device.setattr(ModelScorer, "healthy", broken)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await caller.rank("zero-shot")
        await caller.rank("zero-shot")
    told = from_rpc_error(refused.value)
    assert told is not None
    assert (refused.value.code(), told.reason) == (grpc.StatusCode.UNAVAILABLE, Reason.NOT_READY)
    assert (told.message, told.retry_after_s) == ("the device does not answer", 1.0)


async def test_calls_are_answered_while_a_version_is_loading(caller: Caller, registry: Path) -> None:
    await caller.activate("news", "v1")
    with HeldFile(registry / "news" / "v2" / "manifest.json") as held:
        swap = asyncio.create_task(caller.activate("news", "v2"))
        await held.is_read()
        assert (await caller.models())["news", "v2"].state == ranker_pb2.MODEL_STATE_LOADING
        assert (await caller.rank("news")).model_version == "v1"
        assert not swap.done()
    assert (await swap).version == "v2"
    assert (await caller.rank("news")).model_version == "v2"


async def test_a_swap_goes_on_when_the_deadline_of_its_caller_passes(caller: Caller, registry: Path) -> None:
    with HeldFile(registry / "news" / "v1" / "manifest.json") as held:
        late = asyncio.create_task(caller.activate("news", "v1", timeout=0.2))
        await held.is_read()
        with pytest.raises(grpc.aio.AioRpcError) as passed:
            await late
        assert passed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await caller.until_answers("news", "v1")
    assert serving_of(registry).current == {"news": "v1"}


async def test_versions_activated_at_once_end_in_what_the_registry_says(caller: Caller, registry: Path) -> None:
    models = await asyncio.gather(*(caller.activate("news", version) for version in ("v1", "v2", "v3")))
    assert [model.version for model in models] == ["v1", "v2", "v3"]
    assert (await caller.rank("news")).model_version == serving_of(registry).version_of("news")


async def test_every_ranker_on_a_registry_follows_and_later_ones_begin_with_it(
    caller: Caller, registry: Path, start_ranker: StartRanker, caller_of: Callable[[ServiceHost], Caller]
) -> None:
    other = caller_of(await start_ranker(registry=registry, registry_poll_s=POLL_S))
    await caller.activate("news", "v1")
    await other.until_answers("news", "v1")
    await other.activate("news", "v2")
    await caller.until_answers("news", "v2")
    await caller.rank("news")
    later = caller_of(await start_ranker(registry=registry, registry_poll_s=POLL_S))
    assert (await later.rank("news")).model_version == "v2"


async def test_the_first_call_after_a_swap_finds_all_items_known(caller: Caller) -> None:
    await caller.rank("zero-shot")
    for version in ("v1", "v2", "upper1", "upper2"):
        await caller.activate("news", version)
        answer = await caller.rank("news")
        assert (answer.model_version, answer.timings.cached_candidates) == (version, len(ITEMS))


async def test_models_are_listed_page_by_page(caller: Caller) -> None:
    await caller.activate("news", "v1")
    await caller.activate("sport", "v1", "sport page")
    assert await caller.pages(2) == [["news", "sport"], ["zero-shot"]]
    assert await caller.pages(3) == [["news", "sport", "zero-shot"]]


async def test_calls_during_swaps_all_succeed_each_wholly_by_one_version(caller: Caller) -> None:
    await caller.activate("news", "v1")
    swapped = asyncio.Event()

    async def keep_calling() -> list[str]:
        versions = []
        while not swapped.is_set():
            versions.append((await caller.rank("news")).model_version)
        return versions

    callers = [asyncio.create_task(keep_calling()) for _ in range(8)]
    try:
        for version in ("v2", "v3", "v1", "v2"):
            await caller.activate("news", version, timeout=60.0)
            assert (await caller.rank("news")).model_version == version
    finally:
        swapped.set()
    versions = await asyncio.gather(*callers)
    assert {version for each in versions for version in each} == {"v1", "v2", "v3"}
    for each in versions:
        first_of_each = [version for before, version in zip(["", *each], each, strict=False) if version != before]
        order = iter(["v1", "v2", "v3", "v1", "v2"])
        assert all(version in order for version in first_of_each)  # never back; one may be swapped between two calls


async def test_a_ranker_that_stops_while_it_loads_leaves_no_task_and_no_thread(
    start_ranker: StartRanker, registry: Path, caller_of: Callable[[ServiceHost], Caller]
) -> None:
    host = await start_ranker(registry=registry, registry_poll_s=POLL_S, grace_s=0.1)
    caller, ours = caller_of(host), {asyncio.current_task()}
    await caller.activate("news", "v1")
    with HeldFile(registry / "news" / "v2" / "manifest.json") as held:
        swap = asyncio.create_task(caller.activate("news", "v2"))
        await held.is_read()
        await asyncio.wait_for(host.stop(), SOON)
        with pytest.raises(grpc.aio.AioRpcError):
            await swap
        own = [task for task in asyncio.all_tasks() - ours if "services/ranker" in repr(task)]
        assert own == []
    assert serving_of(registry).current == {"news": "v1"}
    for thread in threading.enumerate():
        if thread.name.startswith("ranker-"):
            await asyncio.to_thread(thread.join, SOON)
            assert not thread.is_alive()
