"""What is known from earlier calls: keys, order of eviction, idle time, and the bounds in bytes."""

from sys import getsizeof

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from services.ranker.caches import (
    BoundedLru,
    Bounds,
    CacheBounds,
    Caches,
    ItemKey,
    KnownItem,
    context_key,
    packed_ids,
    unpacked_ids,
)
from shared.clock import ManualClock
from shared.model.attention import KeyValues
from shared.model.ranking_model import UserContext

ENTRY = 400 + 100
"""Bytes of an entry of `cache_of`: what every entry costs, and its content."""


def cache_of(most_bytes: int, idle_s: float = 0.0) -> tuple[BoundedLru[str, str], ManualClock]:
    """A cache where an entry counts 100 bytes, or as many as its value says."""
    clock = ManualClock(1000.0)
    return BoundedLru(Bounds(most_bytes, idle_s), lambda _, value: int(value or 100), clock), clock


def kept(cache: BoundedLru[str, str]) -> str:
    """The keys, last used first."""
    return "".join(key for key, _ in cache.newest_first())


def test_what_was_used_longest_ago_makes_room() -> None:
    cache, _ = cache_of(2 * ENTRY)
    cache.put("a", "")
    cache.put("b", "")
    cache.get("a")
    cache.put("c", "")
    assert (cache.get("b"), kept(cache)) == (None, "ca")


def test_the_bound_is_in_bytes_and_a_large_entry_drives_out_as_many_as_it_needs() -> None:
    cache, _ = cache_of(4 * ENTRY)
    for key in "abcd":
        cache.put(key, "")
    assert cache.used_bytes == cache.most_bytes == 4 * ENTRY
    cache.put("large", str(2 * ENTRY - 400))
    assert (kept(cache), cache.used_bytes) == ("largedc", 4 * ENTRY)


def test_what_is_larger_than_the_cache_is_not_kept_and_drives_nothing_out() -> None:
    cache, _ = cache_of(2 * ENTRY)
    cache.put("a", "")
    cache.put("b", str(2 * ENTRY - 400 + 1))
    assert (kept(cache), cache.used_bytes) == ("a", ENTRY)


def test_a_value_that_grew_beyond_the_cache_takes_its_old_form_with_it() -> None:
    cache, _ = cache_of(2 * ENTRY)
    cache.put("a", "")
    cache.put("a", str(2 * ENTRY))
    assert (cache.get("a"), cache.used_bytes, len(cache)) == (None, 0, 0)


def test_a_replaced_value_counts_once_and_as_used_now() -> None:
    cache, _ = cache_of(2 * ENTRY)
    cache.put("a", "")
    cache.put("b", "")
    cache.put("a", "50")
    assert (cache.get("a"), kept(cache), cache.used_bytes) == ("50", "ab", 2 * ENTRY - 50)


def test_what_was_not_used_for_the_idle_time_is_forgotten_and_use_prolongs_it() -> None:
    cache, clock = cache_of(10 * ENTRY, idle_s=60)
    cache.put("idle", "")
    cache.put("used", "")
    clock.advance(40)
    assert cache.get("used") == ""
    clock.advance(20)
    assert cache.get("idle") == ""  # 60 s are not more than 60 s; and this was a use
    clock.advance(41)
    assert (cache.get("used"), cache.get("idle")) == (None, "")
    assert cache.used_bytes == ENTRY


def test_idle_entries_leave_when_others_come() -> None:
    cache, clock = cache_of(10 * ENTRY, idle_s=60)
    cache.put("a", "")
    clock.advance(61)
    cache.put("b", "")
    assert (len(cache), cache.used_bytes) == (1, ENTRY)


def test_idle_entries_are_forgotten_though_the_cache_is_not_used() -> None:
    cache, clock = cache_of(10 * ENTRY, idle_s=60)
    cache.put("idle", "")
    clock.advance(30)
    cache.put("newer", "")
    clock.advance(31)
    cache.forget_idle()
    assert (kept(cache), cache.used_bytes) == ("newer", ENTRY)


def test_of_all_caches_only_those_with_an_idle_time_forget() -> None:
    clock, room = ManualClock(0.0), Bounds(1_000_000)
    each = Caches(CacheBounds(room, room, Bounds(1_000_000, 60)), clock)
    each.tokens.put("text", b"")
    each.items.put(ItemKey("model", "a", "r"), KnownItem(torch.zeros(3), "a text"))
    each.contexts.put(context_key("v", (101, 7, 102)), UserContext((), torch.zeros(3)))
    clock.advance(61)
    each.forget_idle()
    assert [len(cache) for cache in (each.tokens, each.items, each.contexts)] == [1, 1, 0]


def test_without_an_idle_time_entries_stay() -> None:
    cache, clock = cache_of(ENTRY)
    cache.put("a", "")
    clock.advance(1e9)
    assert cache.get("a") == ""


def test_all_that_is_kept_is_told_last_used_first() -> None:
    cache, _ = cache_of(10 * ENTRY)
    for key, value in (("a", ""), ("b", "7"), ("c", "")):
        cache.put(key, value)
    cache.get("a")
    assert list(cache.newest_first()) == [("a", ""), ("c", ""), ("b", "7")]
    assert [cache.cost(key, value) for key, value in cache.newest_first()] == [ENTRY, ENTRY, 407]


operations = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abcdef"), st.integers(1, 1500)),
        st.tuples(st.just("get"), st.sampled_from("abcdef"), st.just(0)),
        st.tuples(st.just("wait"), st.just(""), st.integers(1, 40)),
    )
)


@given(operations)
def test_the_bound_holds_and_the_count_of_bytes_comes_back_to_zero(done: list[tuple[str, str, int]]) -> None:
    cache, clock = cache_of(2000, idle_s=60)
    for what, key, number in done:
        if what == "put":
            cache.put(key, str(number))
        elif what == "get":
            cache.get(key)
        else:
            clock.advance(number)
        assert cache.used_bytes == sum(cache.cost(*each) for each in cache.newest_first()) <= 2000
        assert len(cache) == len(kept(cache))
    clock.advance(61)
    assert cache.get("") is None
    assert (len(cache), cache.used_bytes) == (0, 0)


def caches() -> Caches:
    room = Bounds(1_000_000)
    return Caches(CacheBounds(room, room, room), ManualClock(0.0))


def test_an_item_is_found_by_what_computed_it_its_id_and_its_revision_only() -> None:
    items, known = caches().items, KnownItem(torch.zeros(3), "a text")
    items.put(ItemKey("model", "a", "r"), known)
    assert items.get(ItemKey("model", "a", "r")) is known
    for other in (ItemKey("other", "a", "r"), ItemKey("model", "b", "r"), ItemKey("model", "a", "s")):
        assert items.get(other) is None


def test_a_context_is_found_by_its_model_and_exactly_its_tokens() -> None:
    contexts, context = caches().contexts, UserContext((), torch.zeros(3))
    contexts.put(context_key("v", (101, 7, 102)), context)
    assert contexts.get(context_key("v", (101, 7, 102))) is context
    for other in (context_key("w", (101, 7, 102)), context_key("v", (101, 7)), context_key("v", (7, 101, 102))):
        assert contexts.get(other) is None


@pytest.mark.parametrize("width", [1, 1000])
def test_the_tensors_of_an_entry_count_in_full(width: int) -> None:
    each = caches()
    each.items.put(ItemKey("m", "ab", "r"), KnownItem(torch.zeros(width), "four"))
    layer = KeyValues(torch.zeros(5, 2, width), torch.zeros(5, 2, width))
    each.contexts.put(context_key("v", (1, 2)), UserContext((layer, layer), torch.zeros(width)))
    each.tokens.put("text", packed_ids((1,) * width))
    assert each.items.used_bytes == 400 + sum(map(getsizeof, ("ab", "r", "four"))) + 4 * width
    assert each.contexts.used_bytes == 400 + 8 + 4 * 5 * 2 * 4 * width + 4 * width
    assert each.tokens.used_bytes == 400 + getsizeof("text") + 4 * width


ids = st.lists(st.integers(0, np.iinfo(np.int32).max), max_size=8).map(tuple)


@given(ids)
def test_token_ids_survive_packing_four_bytes_each(token_ids: tuple[int, ...]) -> None:
    packed = packed_ids(token_ids)
    assert unpacked_ids(packed) == token_ids
    assert len(packed) == 4 * len(token_ids)


@given(st.lists(ids, max_size=8, unique=True))
def test_no_two_contexts_share_a_key(contexts: list[tuple[int, ...]]) -> None:
    assert len({context_key("v", token_ids) for token_ids in contexts}) == len(contexts)
