"""The vector cache: keys, order of eviction, and its bound in bytes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.ranker.vector_cache import VectorCache, VectorKey

VECTOR = np.ones(100, dtype=np.float32)


def key(item_id: str, revision: str = "r", version: str = "v") -> VectorKey:
    return VectorKey(version, item_id, revision)


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


def test_what_is_larger_than_the_cache_is_not_kept() -> None:
    cache = VectorCache(100)
    cache.put(key("a"), VECTOR)
    assert (len(cache), cache.used_bytes) == (0, 0)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 60))))
def test_the_bound_holds_and_the_count_of_bytes_comes_back_to_zero(puts: list[tuple[str, int]]) -> None:
    cache = VectorCache(2_000)
    for item_id, width in puts:
        cache.put(key(item_id), np.ones(width, dtype=np.float32))
        assert cache.used_bytes <= 2_000
    held = sum(400 + 4 * len(vector) + 2 for name in "abcdef" if (vector := cache.get(key(name))) is not None)
    assert cache.used_bytes == held
