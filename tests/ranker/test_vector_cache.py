"""The vector cache: keys, order of eviction, and its bound in bytes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.ranker.vector_cache import ContextKey, ItemKey, VectorCache, context_key

VECTOR = np.ones(100, dtype=np.float32)


def key(item_id: str, revision: str = "r", version: str = "v") -> ItemKey:
    return ItemKey(version, item_id, revision)


def cache_of(entries: int) -> VectorCache:
    """Room for so many vectors with one-letter keys."""
    one = VectorCache(10_000)
    one.put(key("a"), VECTOR)
    return VectorCache(entries * one.used_bytes)


def test_a_vector_is_found_by_version_item_and_revision_only() -> None:
    cache = cache_of(1)
    cache.put(key("a", "r"), VECTOR)
    assert cache.get(key("a", "r")) is VECTOR
    assert cache.get(key("a", "s")) is None
    assert cache.get(key("a", "r", "w")) is None


def test_what_was_used_longest_ago_makes_room() -> None:
    cache = cache_of(2)
    cache.put(key("a"), VECTOR)
    cache.put(key("b"), VECTOR)
    cache.get(key("a"))
    cache.put(key("c"), VECTOR)
    assert cache.get(key("b")) is None
    assert cache.get(key("a")) is not None


def test_what_is_larger_than_the_cache_is_not_kept_and_drives_nothing_out() -> None:
    cache = cache_of(2)
    cache.put(key("a"), VECTOR)
    cache.put(key("b", revision="é" * 10_000), VECTOR)
    assert (len(cache), cache.get(key("a")) is VECTOR) == (1, True)


def test_a_context_is_found_by_its_version_and_exactly_its_tokens() -> None:
    cache = VectorCache(10_000)
    cache.put(context_key("v", (101, 7, 102)), VECTOR)
    assert cache.get(context_key("v", (101, 7, 102))) is VECTOR
    for other in (context_key("w", (101, 7, 102)), context_key("v", (101, 7)), context_key("v", (7, 101, 102))):
        assert cache.get(other) is None


@given(st.lists(st.lists(st.integers(0, 40_000), max_size=6).map(tuple), max_size=8, unique=True))
def test_no_two_contexts_share_a_key(contexts: list[tuple[int, ...]]) -> None:
    keys: set[ContextKey] = {context_key("v", token_ids) for token_ids in contexts}
    assert len(keys) == len(contexts)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 60))))
def test_the_bound_holds_and_the_count_of_bytes_comes_back_to_zero(puts: list[tuple[str, int]]) -> None:
    cache = VectorCache(2_000)
    for item_id, width in puts:
        cache.put(key(item_id), np.ones(width, dtype=np.float32))
        assert cache.used_bytes <= 2_000
    held = sum(400 + 4 * len(vector) + 2 for name in "abcdef" if (vector := cache.get(key(name))) is not None)
    assert cache.used_bytes == held
