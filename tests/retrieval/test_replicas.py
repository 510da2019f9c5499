"""Two retrieval services with one library in Redis: what one is told the other serves, and work is done once."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from homepage.retrieval.v1 import retrieval_pb2
from homepage.types.v1 import event_pb2

from shared.errors import Reason
from shared.rich_status import from_rpc_error
from tests.redis_server import running_redis

NEAREST = 1


@pytest.fixture
async def pair(start_retrieval: Any, shared: Any) -> tuple[Any, Any]:
    return await start_retrieval(**shared), await start_retrieval(**shared)


async def test_items_changes_and_deletions_at_one_are_served_by_the_other(
    pair: Any, make_item: Any, make_history: Any, ids_of: Any
) -> None:
    first, second = pair
    await first.put(make_item("a", "alpha"), make_item("b", "alpha"), make_item("c", "beta"))
    await first.embedded()
    await second.followed()
    nearest = {"history": make_history("a"), "sources": [NEAREST]}
    assert ids_of(await second.retrieve(**nearest)) == ids_of(await first.retrieve(**nearest)) == ["b", "c"]
    await second.put(make_item("b", "beta"))
    await second.embedded()
    await second.stub.DeleteItems(retrieval_pb2.DeleteItemsRequest(item_ids=["a"]))
    await first.followed()
    assert (await first.get("a", "b")).missing_item_ids == ["a"]
    assert (await first.get("b")).items[0].title == "beta"
    assert ids_of(await first.retrieve(history=make_history("c"), sources=[NEAREST])) == ["b"]
    assert await first.status() == await second.status()


async def test_what_one_has_put_is_unchanged_for_the_other_before_it_has_looked(pair: Any, make_item: Any) -> None:
    first, second = pair
    await first.put(make_item("a"))
    answer = await second.put(make_item("a"), make_item("b"))
    assert (answer.stored, answer.unchanged) == (1, 1)


async def test_vectors_are_taken_over_and_a_restart_embeds_nothing_again(
    pair: Any, start_retrieval: Any, shared: Any, make_item: Any, ranker: Any
) -> None:
    first, second = pair
    await first.put(*(make_item(f"{i}", f"alpha w{i}") for i in range(100)))
    await first.embedded()
    await second.followed()
    await second.embedded()
    await first.host.stop()
    third = await start_retrieval(**shared)
    await third.embedded()
    assert sorted(set(ranker.embedded)) == sorted(f"{i}" for i in range(100))
    assert len(ranker.embedded) <= 100 + 2, "each replica asks for the model's version by one text, no more"
    assert await second.status() == await third.status()
    assert (await third.status()).indexed == 100


async def test_replicas_share_the_embedding_of_many_items(
    start_retrieval: Any, shared: Any, make_item: Any, ranker: Any
) -> None:
    first, second = [await start_retrieval(**shared, embed_batch_size=16) for _ in range(2)]
    ranker.away = True
    await first.put(*(make_item(f"{i}") for i in range(400)))
    await second.followed()
    ranker.away = False
    await asyncio.gather(first.embedded(), second.embedded())
    await asyncio.gather(first.followed(), second.followed())
    assert await first.status() == await second.status()
    assert (await first.status()).indexed == 400
    assert len(ranker.embedded) < 1.5 * 400


async def test_following_wakes_whoever_has_work_by_it(pair: Any, make_item: Any, ranker: Any) -> None:
    first, second = pair
    await first.service.embedding.stop()
    ranker.away = True
    await first.put(make_item("a"))
    assert not ranker.failed.is_set()
    await second.followed()
    await asyncio.wait_for(ranker.failed.wait(), 20)


async def test_every_event_is_counted_once_while_all_count_and_come_and_go(
    start_retrieval: Any, shared: Any, make_item: Any, profile: Any, clock: Any
) -> None:
    shared = {**shared, "event_page_size": 7}
    replicas = [await start_retrieval(**shared), await start_retrieval(**shared)]
    await replicas[0].put(make_item("a"), make_item("b"))
    for round_ in range(4):
        for i in range(100):
            profile.add("a" if i % 5 else "b", event_pb2.ACTION_CLICK, clock.now())
        profile.fail_after_pages = 3
        await asyncio.gather(*(replica.counted() for replica in replicas))
        await replicas[round_ % 2].host.stop()
        replicas[round_ % 2] = await start_retrieval(**shared)
    await asyncio.gather(*(replica.counted() for replica in replicas))
    for replica in replicas:
        assert (await replica.status()).counted_events == 400
        candidates = (await replica.retrieve()).candidates
        assert {c.item.item_id: c.popularity for c in candidates} == pytest.approx({"a": 1.0, "b": 0.25})


async def test_another_event_log_is_counted_once_from_its_beginning(
    pair: Any, make_item: Any, profile: Any, clock: Any
) -> None:
    first, second = pair
    await first.put(make_item("a"), make_item("b"))
    for _ in range(5):
        profile.add("a", event_pb2.ACTION_CLICK, clock.now())
    await asyncio.gather(first.counted(), second.counted())
    profile.log.clear()
    profile.log_id = "second"
    profile.add("b", event_pb2.ACTION_CLICK, clock.now())
    await asyncio.gather(first.counted(), second.counted())
    for replica in pair:
        await replica.counted()
        assert (await replica.status()).counted_events == 1
        candidates = (await replica.retrieve()).candidates
        assert {c.item.item_id: c.popularity for c in candidates} == {"b": 1.0, "a": 0.0}


async def test_a_new_model_is_taken_over_by_all_also_where_it_refuses_a_text(
    pair: Any, make_item: Any, ranker: Any, clock: Any
) -> None:
    first, second = pair
    await first.put(*(make_item(f"{i}", "poison" if i == 5 else f"w{i}") for i in range(20)))
    await first.embedded()
    await second.followed()
    await second.embedded()
    ranker.version, ranker.refused_word = "words-2", "poison"
    ranker.embedded.clear()
    clock.advance(61)
    await first.embedded()
    await second.followed()
    await second.embedded()
    for replica in pair:
        status = await replica.status()
        assert (status.embedding_version, status.indexed, status.pending) == ("words-2", 19, 1)
    assert len(ranker.embedded) <= 19 + 2, "no more than one text twice for each replica that asks for the version"


async def test_without_redis_reads_go_on_changes_are_refused_and_all_goes_on_after(
    start_retrieval: Any, make_item: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    with running_redis(folder) as server:
        shared = {"store": "redis", "redis_url": server.url}
        first, second = await start_retrieval(**shared), await start_retrieval(**shared)
        await first.put(make_item("a"))
        await second.followed()
        server.kill()
        for change in (first.put(make_item("b")), second.stub.DeleteItems(_deletion("a"))):
            assert await _refusal(change) is Reason.STORE_UNAVAILABLE
        assert [item.item_id for item in (await second.get("a")).items] == ["a"]
        server.start()
        await first.put(make_item("b"))
        await second.followed()
        assert (await second.status()).items == 2
        with server.client() as client:
            client.flushall()
        assert (await second.put(make_item("c"))).stored == 1
        await first.followed()
        await first.embedded()
        await second.followed()
        assert await first.status() == await second.status()
        assert (await first.status()).indexed == 1


def _deletion(*item_ids: str) -> retrieval_pb2.DeleteItemsRequest:
    return retrieval_pb2.DeleteItemsRequest(item_ids=item_ids)


async def _refusal(call: Any) -> Reason:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = from_rpc_error(caught.value)
    assert error is not None
    assert error.retry_after_s
    return error.reason
