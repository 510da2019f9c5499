"""What goes on beside the calls: embedding, counting, graphs; and that retrieval serves whatever becomes of them."""

import asyncio
from typing import Any

import pytest
from homepage.profile.v1 import profile_pb2
from homepage.retrieval.v1 import retrieval_pb2
from homepage.types.v1 import event_pb2

NEAREST = 1


async def test_items_are_embedded_in_batches_and_a_restart_embeds_nothing_again(
    start_retrieval: Any, make_item: Any, make_history: Any, ids_of: Any, ranker: Any
) -> None:
    first = await start_retrieval(embed_batch_size=4)
    await first.put(*(make_item(f"{i}", f"alpha w{i}") for i in range(10)))
    await first.embedded()
    before = await first.status()
    assert (before.items, before.indexed, before.pending) == (10, 10, 0)
    assert sorted(ranker.embedded) == sorted(f"{i}" for i in range(10))
    answer = await first.retrieve(history=make_history("3"), sources=[NEAREST])
    await first.host.stop()
    ranker.embedded.clear()
    second = await start_retrieval()
    await second.embedded()
    assert len(ranker.embedded) <= 1, "one text to learn the model's version, no more"
    after = await second.status()
    assert (after.indexed, after.index_version) == (10, before.index_version)
    assert ids_of(await second.retrieve(history=make_history("3"), sources=[NEAREST])) == ids_of(answer)


async def test_while_the_ranker_is_away_retrieval_serves_and_catches_up_after(
    start_retrieval: Any, make_item: Any, make_history: Any, ids_of: Any, ranker: Any
) -> None:
    ranker.away = True
    retrieval = await start_retrieval()
    await retrieval.put(make_item("a", "alpha"), make_item("b", "alpha"))
    await asyncio.wait_for(ranker.failed.wait(), 20)
    status = await retrieval.status()
    assert (status.items, status.indexed, status.pending, status.embedding_version) == (2, 0, 2, "")
    assert ids_of(await retrieval.retrieve(history=make_history("a"))) == ["b"]
    ranker.away = False
    await retrieval.embedded()
    response = await retrieval.retrieve(history=make_history("a"), sources=[NEAREST])
    assert ids_of(response) == ["b"]


async def test_a_changed_text_is_not_found_by_its_old_vector_and_is_embedded_anew(
    start_retrieval: Any, make_item: Any, make_history: Any, ids_of: Any, ranker: Any
) -> None:
    retrieval = await start_retrieval()
    await retrieval.put(make_item("a", "alpha"), make_item("b", "alpha"), make_item("c", "beta"))
    await retrieval.embedded()
    version = (await retrieval.status()).index_version
    ranker.away = True
    ranker.failed.clear()
    await retrieval.put(make_item("b", "beta"))
    assert (await retrieval.status()).pending == 1
    assert "b" not in ids_of(await retrieval.retrieve(history=make_history("a"), sources=[NEAREST]))
    ranker.away = False
    await retrieval.embedded()
    response = await retrieval.retrieve(history=make_history("c"), sources=[NEAREST])
    assert ids_of(response)[0] == "b"
    assert response.index_version != version


async def test_a_change_that_is_not_text_keeps_the_vector(start_retrieval: Any, make_item: Any, ranker: Any) -> None:
    retrieval = await start_retrieval()
    await retrieval.put(make_item("a", "alpha"))
    await retrieval.embedded()
    await retrieval.put(make_item("a", "alpha", summary="more", unavailable=True))
    await retrieval.embedded()
    assert ranker.embedded == ["a"]


async def test_a_new_model_takes_over_once_it_has_every_item(
    start_retrieval: Any, make_item: Any, make_history: Any, ids_of: Any, ranker: Any, clock: Any
) -> None:
    retrieval = await start_retrieval(embed_batch_size=2, version_check_interval_s=60.0)
    await retrieval.put(*(make_item(f"{i}", "alpha") for i in range(5)))
    await retrieval.embedded()
    ranker.version = "words-2"
    await retrieval.embedded()
    assert (await retrieval.status()).embedding_version == "words-1"
    ranker.refused_word = "stop"
    clock.advance(61)
    await retrieval.embedded()
    status = await retrieval.status()
    assert (status.embedding_version, status.indexed, status.pending) == ("words-2", 5, 0)
    assert len(ids_of(await retrieval.retrieve(history=make_history("0"), sources=[NEAREST]))) == 4
    await retrieval.host.stop()
    assert (await (await start_retrieval()).status()).embedding_version == "words-2"


async def test_a_text_that_the_model_refuses_does_not_hold_up_the_others(
    start_retrieval: Any, make_item: Any, ranker: Any
) -> None:
    ranker.refused_word = "poison"
    retrieval = await start_retrieval(embed_batch_size=8)
    await retrieval.put(*(make_item(f"{i}", "poison" if i == 5 else f"w{i}") for i in range(20)))
    await retrieval.embedded()
    status = await retrieval.status()
    assert (status.indexed, status.pending) == (19, 1)
    await retrieval.put(make_item("5", "mended"))
    await retrieval.embedded()
    assert (await retrieval.status()).indexed == 20


async def test_events_are_counted_once_over_failures_and_restarts(
    start_retrieval: Any, make_item: Any, profile: Any, clock: Any
) -> None:
    for i in range(25):
        profile.add("a" if i % 5 else "b", event_pb2.ACTION_CLICK, clock.now())
    profile.log.append(profile_pb2.LoggedEvent(subject="s", served_page=event_pb2.ServedPage(recommendation_id="r")))
    profile.fail_after_pages = 2
    first = await start_retrieval(event_page_size=4)
    await first.put(make_item("a"), make_item("b"))
    await first.counted()
    assert profile.failed.is_set()
    assert (await first.status()).counted_events == 25
    assert profile.purposes == {profile_pb2.READ_PURPOSE_AGGREGATE}
    expected = await first.retrieve()
    assert {c.item.item_id: c.popularity for c in expected.candidates} == pytest.approx({"a": 1.0, "b": 0.25})
    await first.host.stop()
    second = await start_retrieval()
    await second.counted()
    assert (await second.status()).counted_events == 25
    assert list((await second.retrieve()).candidates) == list(expected.candidates)


async def test_another_event_log_is_counted_from_its_beginning_and_the_sums_of_the_lost_one_are_gone(
    start_retrieval: Any, make_item: Any, profile: Any, clock: Any, caplog: Any
) -> None:
    for _ in range(5):
        profile.add("a", event_pb2.ACTION_CLICK, clock.now())
    first = await start_retrieval()
    await first.put(make_item("a"), make_item("b"))
    await first.counted()
    profile.log.clear()
    profile.log_id = "second"
    profile.add("b", event_pb2.ACTION_CLICK, clock.now())
    await first.counted()
    assert (await first.status()).counted_events == 1
    assert {c.item.item_id: c.popularity for c in (await first.retrieve()).candidates} == {"b": 1.0, "a": 0.0}
    profile.add("a", event_pb2.ACTION_VIEW, clock.now())
    await first.counted()
    assert profile.unknown_cursors == 1
    assert [record.levelname for record in caplog.records if "event log" in record.message] == ["WARNING"]
    expected = list((await first.retrieve()).candidates)
    await first.host.stop()
    second = await start_retrieval()
    await second.counted()
    assert (await second.status()).counted_events == 2
    assert list((await second.retrieve()).candidates) == expected


async def test_a_new_model_is_asked_for_texts_that_the_old_one_refused(
    start_retrieval: Any, make_item: Any, ranker: Any, clock: Any
) -> None:
    ranker.refused_word = "poison"
    retrieval = await start_retrieval(version_check_interval_s=60.0)
    await retrieval.put(make_item("a", "alpha"), make_item("b", "poison"))
    await retrieval.embedded()
    assert (await retrieval.status()).indexed == 1
    ranker.version, ranker.refused_word = "words-2", ""
    clock.advance(61)
    await retrieval.embedded()
    status = await retrieval.status()
    assert (status.embedding_version, status.indexed, status.pending) == ("words-2", 2, 0)


async def test_while_the_profile_service_is_away_retrieval_serves(
    start_retrieval: Any, make_item: Any, ids_of: Any, profile: Any
) -> None:
    profile.away = True
    retrieval = await start_retrieval()
    await retrieval.put(make_item("a"))
    await asyncio.wait_for(profile.failed.wait(), 20)
    assert ids_of(await retrieval.retrieve()) == ["a"]
    profile.away = False
    await retrieval.counted()


async def test_with_a_graph_the_same_items_are_found_as_without(
    start_retrieval: Any, make_item: Any, make_history: Any, ids_of: Any
) -> None:
    retrieval = await start_retrieval(embed_batch_size=256, grace_s=2.0)
    items = [make_item(f"{i}", f"topic{i % 40} word{i}") for i in range(1200)]
    for start in range(0, len(items), 400):
        await retrieval.put(*items[start : start + 400])
    await retrieval.embedded()
    await retrieval.graphs_built()
    assert retrieval.service.library.snapshot.index.graph is not None
    request = {"history": make_history("7"), "sources": [NEAREST], "max_candidates": 20}
    found = ids_of(await retrieval.retrieve(**request))
    assert all(int(item_id) % 40 == 7 for item_id in found)
    gone = retrieval_pb2.DeleteItemsRequest(item_ids=found[:5])
    await retrieval.stub.DeleteItems(gone)
    left = ids_of(await retrieval.retrieve(**request))
    assert not set(found[:5]) & set(left)
    assert len(left) == 20
