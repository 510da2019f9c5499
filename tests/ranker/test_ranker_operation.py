"""The running ranker under load, in trouble and at its end; what it tells of its time, its health and itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from homepage.ranker.v1 import ranker_pb2, ranker_pb2_grpc

from services.ranker import service
from shared.errors import Reason
from shared.logs import FIELDS
from shared.metrics import (
    RANKER_BATCH_BUDGET,
    RANKER_BATCH_FILL,
    RANKER_BATCH_TOKENS,
    RANKER_CACHE,
    RANKER_CACHE_BYTES,
    RANKER_DEVICE_BYTES,
    RANKER_DROPPED,
    RANKER_MODEL_INFO,
    RANKER_QUEUE_JOBS,
    RANKER_QUEUE_TOKENS,
    RANKER_STAGE_SECONDS,
    SERVER_DURATION,
)
from shared.server import ServiceHost
from shared.timestamps import duration_seconds
from tests.conftest import OpenChannel
from tests.ranker.batcher_bench import SOON
from tests.ranker.conftest import StartRanker
from tests.ranker.service_bench import Page, Trouble, entry, item, rank_of, reason_of

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SCRAPED = {"metrics_listen": "127.0.0.1:0"}
StubOf = Callable[[ServiceHost], "ranker_pb2_grpc.RankerAsyncStub"]
LONG = "a long title that takes many tokens"


@pytest.fixture
def trouble(monkeypatch: pytest.MonkeyPatch) -> Trouble:
    return Trouble.made(monkeypatch)


@pytest.fixture
def stub_of(open_test_channel: OpenChannel) -> StubOf:
    """`stub_of(host)`; its channel does not follow the host's health, so that every call arrives."""

    def open_(host: ServiceHost) -> ranker_pb2_grpc.RankerAsyncStub:
        return ranker_pb2_grpc.RankerStub(open_test_channel(host, health_checked=False))

    return open_


async def told(host: ServiceHost, open_test_channel: OpenChannel) -> AsyncIterator[int]:
    """What the health service of the admin port says, from now on."""
    stub = health_pb2_grpc.HealthStub(open_test_channel(host.admin_address, health_checked=False))
    async for answer in stub.Watch(health_pb2.HealthCheckRequest(), timeout=60):
        yield answer.status


async def soon(health: AsyncIterator[int]) -> int:
    return await asyncio.wait_for(anext(health), SOON)


async def test_the_parts_of_the_time_add_up_to_what_the_server_took(start_ranker: StartRanker, stub_of: StubOf) -> None:
    host = await start_ranker(**SCRAPED)
    stub, page = stub_of(host), Page(host)
    await stub.Rank(rank_of(1))  # the first call opens the connection
    before = await page.value(SERVER_DURATION.name + "_sum")
    candidates = [item(row, f"{LONG} {row}", revision="") for row in range(1000)]
    timings = (await stub.Rank(ranker_pb2.RankRequest(history=[entry("race")], candidates=candidates))).timings
    took = await page.value(SERVER_DURATION.name + "_sum") - before
    parts = [duration_seconds(part) for part in (timings.queue, timings.tokenise, timings.compute, timings.other)]
    total = duration_seconds(timings.total)
    assert took > 0.05
    assert total == pytest.approx(took, rel=0.05)
    assert sum(parts) == pytest.approx(total, rel=0.05)
    assert min(parts) >= 0


async def test_calls_that_share_a_batch_tell_its_size(
    start_ranker: StartRanker, stub_of: StubOf, trouble: Trouble
) -> None:
    host = await start_ranker(**SCRAPED)
    stub, page = stub_of(host), Page(host)
    trouble.hold()
    calls = [stub.Rank(rank_of(1))]
    await trouble.held()
    calls += [stub.Rank(rank_of(2, 3)), stub.Rank(rank_of(4, 5, 6))]
    await page.until(RANKER_QUEUE_JOBS.name, lambda jobs: jobs == 2)
    trouble.gate.set()
    first, *shared = [(await call).timings for call in calls]
    assert first.batch_tokens == first.computed_tokens
    assert {each.batch_tokens for each in shared} == {sum(each.computed_tokens for each in shared)}
    assert min(each.computed_tokens for each in shared) > 0


async def test_a_full_queue_refuses_with_the_time_to_come_back(
    start_ranker: StartRanker, stub_of: StubOf, trouble: Trouble
) -> None:
    host = await start_ranker(max_queue_tokens=30, **SCRAPED)
    stub, page = stub_of(host), Page(host)
    trouble.hold()
    taken = [stub.Rank(rank_of(1))]
    await trouble.held()
    taken.append(stub.Rank(rank_of(2)))
    await page.until(RANKER_QUEUE_JOBS.name, lambda jobs: jobs == 1)
    for refused_call in (stub.Rank(rank_of(3, 4)), stub.Embed(ranker_pb2.EmbedRequest(items=[item(5)]))):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await refused_call
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        error = reason_of(refused.value)
        assert error.reason is Reason.OVERLOADED
        assert error.retry_after_s is not None
        assert error.retry_after_s > 0
    trouble.gate.set()
    assert [len((await call).scores) for call in taken] == [1, 1]
    assert await page.value(RANKER_DROPPED.name + "_total", cause="overload") == 2


async def test_a_call_whose_time_is_over_is_told_so_and_never_computed(
    start_ranker: StartRanker, trouble: Trouble
) -> None:
    host = await start_ranker(default_deadline_s=0.5, **SCRAPED)
    trouble.hold()
    async with grpc.aio.insecure_channel(host.address) as channel:  # sends no deadline, so the server's own holds
        stub = ranker_pb2_grpc.RankerStub(channel)
        first = stub.Rank(rank_of(1), timeout=SOON)
        await trouble.held()
        late = stub.Rank(rank_of(2))
        with pytest.raises(grpc.aio.AioRpcError) as over:
            await late
        assert over.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert reason_of(over.value).reason is Reason.DEADLINE_TOO_SHORT
        trouble.gate.set()
        assert (await first).scores
    page = Page(host)
    assert await page.value(RANKER_QUEUE_JOBS.name) == 0
    assert await page.value(RANKER_DROPPED.name + "_total") == 1
    assert await page.value(RANKER_BATCH_TOKENS.name + "_count") == 2  # that of the start, and the first


async def test_a_client_that_cancels_frees_the_queue(
    start_ranker: StartRanker, stub_of: StubOf, trouble: Trouble
) -> None:
    host = await start_ranker(max_queue_tokens=30, **SCRAPED)
    stub, page = stub_of(host), Page(host)
    trouble.hold()
    first = stub.Rank(rank_of(1))
    await trouble.held()
    leaving = stub.Rank(rank_of(2, 3, 4))
    await page.until(RANKER_QUEUE_TOKENS.name, lambda tokens: tokens > 20)
    leaving.cancel()
    await page.until(RANKER_QUEUE_TOKENS.name, lambda tokens: tokens == 0)
    assert await page.value(RANKER_DROPPED.name + "_total", cause="cancelled") == 1
    trouble.gate.set()
    assert (await first).scores
    assert (await stub.Rank(rank_of(5, 6, 7))).scores


async def test_health_follows_the_forward_pass_when_idle_and_when_busy(
    start_ranker: StartRanker, stub_of: StubOf, open_test_channel: OpenChannel, trouble: Trouble
) -> None:
    host = await start_ranker(idle_probe_s=0.02)
    health, stub = told(host, open_test_channel), stub_of(host)
    assert await soon(health) == SERVING
    trouble.broken = True
    assert await soon(health) == NOT_SERVING
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await stub.Rank(rank_of(1))
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "nobody's business" not in f"{failed.value.details()}{failed.value.trailing_metadata()}"
    trouble.broken = False
    assert await soon(health) == SERVING
    assert (await stub.Rank(rank_of(1))).scores


async def test_without_idle_probes_health_follows_the_batches(
    start_ranker: StartRanker, stub_of: StubOf, open_test_channel: OpenChannel, trouble: Trouble
) -> None:
    host = await start_ranker(idle_probe_s=0)
    health, stub = told(host, open_test_channel), stub_of(host)
    assert await soon(health) == SERVING
    trouble.broken = True
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.Rank(rank_of(1))
    assert await soon(health) == NOT_SERVING
    trouble.broken = False
    assert (await stub.Rank(rank_of(1))).scores
    assert await soon(health) == SERVING


async def test_a_drain_finishes_what_is_queued_within_the_grace(
    start_ranker: StartRanker, stub_of: StubOf, open_test_channel: OpenChannel, trouble: Trouble
) -> None:
    host = await start_ranker(grace_s=SOON, **SCRAPED)
    health, stub, page = told(host, open_test_channel), stub_of(host), Page(host)
    assert await soon(health) == SERVING
    trouble.hold()
    calls = [stub.Rank(rank_of(1))]
    await trouble.held()
    calls += [stub.Rank(rank_of(2, 3)), stub.Embed(ranker_pb2.EmbedRequest(items=[item(4)]))]
    await page.until(RANKER_QUEUE_JOBS.name, lambda jobs: jobs == 2)
    stopping = asyncio.create_task(host.stop())
    assert await soon(health) == NOT_SERVING
    trouble.gate.set()
    first, second, embedded = [await call for call in calls]
    assert [len(first.scores), len(second.scores), len(embedded.embeddings)] == [1, 2, 1]
    await asyncio.wait_for(stopping, SOON)


async def test_what_the_ranker_does_is_seen_in_its_metrics(start_ranker: StartRanker, stub_of: StubOf) -> None:
    host = await start_ranker(**SCRAPED)
    stub, page = stub_of(host), Page(host)
    request = ranker_pb2.RankRequest(history=[entry("race")], candidates=[item(row) for row in range(5)])
    answers = [await stub.Rank(request) for _ in range(2)]
    (model,) = (await stub.ListModels(ranker_pb2.ListModelsRequest())).models
    assert await page.value(RANKER_BATCH_TOKENS.name + "_count") == 2  # the first call, and that of the start
    assert await page.value(RANKER_BATCH_TOKENS.name + "_sum") > answers[0].timings.computed_tokens
    assert await page.value(RANKER_BATCH_FILL.name + "_bucket", le="0.05") == 1  # that of the start: 2 texts of 1024
    assert await page.value(RANKER_BATCH_BUDGET.name) == 1024
    assert await page.labels(RANKER_STAGE_SECONDS.name + "_count") == {
        frozenset({("stage", stage)}) for stage in ("queue", "tokenise", "compute")
    }
    assert await page.value(RANKER_STAGE_SECONDS.name + "_count", stage="compute") == len(answers)
    computed = await page.value(RANKER_STAGE_SECONDS.name + "_sum", stage="compute")
    assert computed == pytest.approx(sum(duration_seconds(each.timings.compute) for each in answers), abs=1e-5)
    assert computed > 1e-4
    assert await page.value(RANKER_CACHE.name + "_total", cache="items", result="hit") == 5
    assert await page.value(RANKER_CACHE.name + "_total", cache="contexts", result="hit") == 1
    assert await page.value(RANKER_CACHE.name + "_total", cache="tokens", result="hit") == 1
    for cache in ("tokens", "items", "contexts"):
        assert await page.value(RANKER_CACHE_BYTES.name, cache=cache) > 400
    serving = {"model": "zero-shot", "version": model.version, "state": "serving"}
    assert await page.labels(RANKER_MODEL_INFO.name) == {frozenset(serving.items())}
    assert await page.value(RANKER_MODEL_INFO.name) == 1
    assert await page.labels(RANKER_DEVICE_BYTES.name) == {frozenset()}


async def test_the_number_format_and_the_size_of_a_batch_are_measured_and_logged(
    start_ranker: StartRanker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    host = await start_ranker(dtype="auto", max_batch_tokens=0, **SCRAPED)
    logged = {record.message: getattr(record, FIELDS, {}) for record in caplog.records}
    chosen, ready = logged["number format chosen by the time of one layer"], logged["model ready"]
    assert chosen["dtype"] == ready["dtype"] in ("float32", "bfloat16")
    faster = chosen["bfloat16_ms"] <= 0.8 * chosen["float32_ms"]
    assert (chosen["dtype"] == "bfloat16") is faster
    assert ready["batch_tokens"] in (256, 512, 1024, 2048)
    assert await Page(host).value(RANKER_BATCH_BUDGET.name) == ready["batch_tokens"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
async def test_a_number_format_that_was_set_is_not_measured(
    start_ranker: StartRanker, stub_of: StubOf, caplog: pytest.LogCaptureFixture, dtype: str
) -> None:
    caplog.set_level(logging.INFO)
    host = await start_ranker(dtype=dtype)
    logged = {record.message: getattr(record, FIELDS, {}) for record in caplog.records}
    assert "number format chosen by the time of one layer" not in logged
    assert logged["model ready"]["dtype"] == dtype
    assert (await stub_of(host).Rank(rank_of(1))).scores[0].probabilities


async def test_contexts_leave_memory_though_no_call_comes_by(
    start_ranker: StartRanker, stub_of: StubOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_FORGET_EVERY_S", 0.05)
    host = await start_ranker(**SCRAPED, context_cache_idle_s=2.0)
    page = Page(host)
    await stub_of(host).Rank(ranker_pb2.RankRequest(history=[entry("race")], candidates=[item(1)]))
    assert await page.value(RANKER_CACHE_BYTES.name, cache="contexts") > 0
    await page.until(RANKER_CACHE_BYTES.name, lambda value: value == 0, cache="contexts")
