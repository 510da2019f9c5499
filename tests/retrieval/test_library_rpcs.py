"""PutItems, DeleteItems, GetItems: what is acknowledged is there, whole, once, and after a restart."""

from typing import Any

import grpc
import pytest
from homepage.retrieval.v1 import retrieval_pb2
from homepage.types.v1 import event_pb2, item_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.retrieval.items import Moderation
from services.retrieval.sources import Source
from services.retrieval.translation import to_items, to_message
from shared.action import Action
from shared.errors import Reason, ServiceError
from shared.rich_status import from_rpc_error
from shared.timestamps import to_duration, to_timestamp

FULL = item_pb2.Item(
    item_id="full",
    title="Ein schönes Rad",
    summary="It rolls.\nWell.",
    category="bikes",
    tags=["two wheels", "steel"],
    publisher="Velo",
    published_at=to_timestamp(1_700_000_000.123456),
    domain="shop",
    language="zh-Hans",
    price=item_pb2.Price(currency_code="EUR", micros=499_000_000),
    duration=to_duration(12.5),
    url="https://example.org/a",
    image_url="https://example.org/a.png",
    moderation=item_pb2.MODERATION_PENDING,
    unavailable=True,
    expires_at=to_timestamp(0),
)


def test_the_enums_of_the_core_have_the_numbers_of_the_contract() -> None:
    assert {f"ACTION_{a.name}": int(a) for a in Action} | {"ACTION_UNSPECIFIED": 0} == dict(event_pb2.Action.items())
    assert {f"MODERATION_{m.name}": int(m) for m in Moderation} == dict(item_pb2.Moderation.items())
    sources = {f"SOURCE_{s.name}": int(s) for s in Source} | {"SOURCE_UNSPECIFIED": 0}
    assert sources == dict(retrieval_pb2.Source.items())


async def test_an_item_comes_back_as_it_was_put_also_after_a_restart(start_retrieval: Any) -> None:
    first = await start_retrieval()
    answer = await first.put(FULL)
    assert (answer.stored, answer.unchanged) == (1, 0)
    stored = (await first.get("full")).items[0]
    assert len(stored.revision) == 32
    assert _without_revision(stored) == FULL
    await first.host.stop()
    second = await start_retrieval()
    assert (await second.get("full")).items[0] == stored


async def test_putting_the_same_again_changes_nothing(start_retrieval: Any, make_item: Any) -> None:
    retrieval = await start_retrieval()
    await retrieval.put(FULL, make_item("b"))
    answer = await retrieval.put(FULL, make_item("b", "another"), make_item("c"))
    assert (answer.stored, answer.unchanged) == (2, 1)
    assert (await retrieval.status()).items == 3


async def test_of_two_forms_of_an_item_in_one_message_the_last_counts(start_retrieval: Any, make_item: Any) -> None:
    retrieval = await start_retrieval()
    answer = await retrieval.put(make_item("a", "first"), make_item("a", "second"), make_item("a", "second"))
    assert (answer.stored, answer.unchanged) == (2, 1)
    assert (await retrieval.get("a")).items[0].title == "second"


async def test_the_revision_follows_the_text_only_and_is_ignored_on_input(start_retrieval: Any, make_item: Any) -> None:
    retrieval = await start_retrieval()
    revisions = []
    for item in (
        make_item("a", "t", category="c", revision="mine"),
        make_item("a", "t", category="c", summary="s"),
        make_item("a", "tc"),
    ):
        await retrieval.put(item)
        revisions.append((await retrieval.get("a")).items[0].revision)
    assert revisions[0] == revisions[1] != revisions[2]
    assert revisions[0] != "mine"


async def test_a_refused_message_is_refused_whole_and_earlier_ones_are_kept(
    start_retrieval: Any, make_item: Any, violations_of: Any
) -> None:
    retrieval = await start_retrieval()
    good, bad = make_item("kept"), make_item("lost")
    messages = [[good], [bad, item_pb2.Item(item_id="x", language="??")], [make_item("later")]]
    call = retrieval.stub.PutItems(iter([retrieval_pb2.PutItemsRequest(items=items) for items in messages]))
    assert set(await violations_of(call)) == {"items[1].title", "items[1].language"}
    answer = await retrieval.get("kept", "lost", "later")
    assert [item.item_id for item in answer.items] == ["kept"]
    assert answer.missing_item_ids == ["lost", "later"]


async def test_every_violation_of_a_message_is_told(start_retrieval: Any, violations_of: Any) -> None:
    retrieval = await start_retrieval()
    item = item_pb2.Item(
        item_id="i" * 257,
        title="\x00",
        tags=["", "x"],
        price=item_pb2.Price(currency_code="euro", micros=-1),
        duration={"seconds": -1},
        moderation=17,
        published_at={"seconds": -62_135_596_801},
        expires_at={"nanos": -1},
    )
    assert set(await violations_of(retrieval.put(item))) == {
        f"items[0].{field}"
        for field in (
            "item_id",
            "title",
            "tags[0]",
            "price.currency_code",
            "price.micros",
            "duration",
            "moderation",
            "published_at",
            "expires_at",
        )
    }


async def test_messages_without_items_and_with_too_many_are_refused(
    start_retrieval: Any, make_item: Any, violations_of: Any
) -> None:
    retrieval = await start_retrieval()
    assert await violations_of(retrieval.put()) == ["items"]
    assert await violations_of(retrieval.put(*(make_item(str(i)) for i in range(1001)))) == ["items"]
    assert await violations_of(retrieval.get()) == ["item_ids"]
    assert await violations_of(retrieval.get("a", "")) == ["item_ids[1]"]
    assert await violations_of(retrieval.stub.DeleteItems(retrieval_pb2.DeleteItemsRequest())) == ["item_ids"]


async def test_deleted_items_are_gone_also_after_a_restart(start_retrieval: Any, make_item: Any, ids_of: Any) -> None:
    retrieval = await start_retrieval()
    await retrieval.put(*(make_item(name, published=60) for name in "abc"))
    await retrieval.embedded()
    request = retrieval_pb2.DeleteItemsRequest(item_ids=["a", "a", "unknown"])
    assert (await retrieval.stub.DeleteItems(request)).deleted == 1
    assert (await retrieval.stub.DeleteItems(request)).deleted == 0
    assert sorted(ids_of(await retrieval.retrieve())) == ["b", "c"]
    await retrieval.host.stop()
    again = await start_retrieval()
    status = await again.status()
    assert (status.items, status.indexed) == (2, 2)


async def test_items_are_read_in_the_order_asked_for(start_retrieval: Any, make_item: Any) -> None:
    retrieval = await start_retrieval()
    await retrieval.put(*(make_item(name) for name in "abc"))
    answer = await retrieval.get("c", "nope", "a", "c")
    assert [item.item_id for item in answer.items] == ["c", "a", "c"]
    assert answer.missing_item_ids == ["nope"]


async def test_when_the_disk_refuses_nothing_is_shown_and_the_call_may_be_repeated(
    start_retrieval: Any, make_item: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    retrieval = await start_retrieval()
    store = retrieval.service.library._store
    await retrieval.service._writing.run(store._connection.execute, "PRAGMA query_only = 1")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await retrieval.put(make_item("a"))
    error = from_rpc_error(caught.value)
    assert error is not None
    assert error.reason is Reason.STORE_UNAVAILABLE
    assert error.retry_after_s is not None
    assert (await retrieval.status()).items == 0
    await retrieval.service._writing.run(store._connection.execute, "PRAGMA query_only = 0")
    assert (await retrieval.put(make_item("a"))).stored == 1


_texts = st.text(max_size=12)
_languages = st.sampled_from(["", "en", "zh-Hans", "not a tag"])
_currencies = st.sampled_from(["EUR", "USD", "euro"])
_times = st.none() | st.builds(lambda micros: to_timestamp(micros / 1e6), st.integers(-(10**12), 2 * 10**15))


@given(
    st.builds(
        item_pb2.Item,
        item_id=_texts,
        title=_texts,
        category=_texts,
        tags=st.lists(_texts, max_size=3),
        language=_languages,
        published_at=_times,
        expires_at=_times,
        unavailable=st.booleans(),
        moderation=st.integers(0, 5),
        price=st.none() | st.builds(item_pb2.Price, currency_code=_currencies, micros=st.integers(-5, 5)),
    )
)
def test_an_item_is_either_refused_or_comes_back_the_same(message: item_pb2.Item) -> None:
    try:
        [item] = to_items(retrieval_pb2.PutItemsRequest(items=[message]))
    except ServiceError:
        return
    assert _without_revision(to_message(item)) == message


def _without_revision(message: item_pb2.Item) -> item_pb2.Item:
    copy = item_pb2.Item()
    copy.CopyFrom(message)
    copy.revision = ""
    return copy
