"""The vector index: recall, what must never come back, and consistency while graphs are swapped."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.retrieval import graph_builder
from services.retrieval.graph_builder import BuildCancelledError, build_graph, caught_up
from services.retrieval.index import IndexEntry, InvalidVectorError, VectorIndex


def clustered(count: int, dimensions: int = 64, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((50, dimensions))
    vectors = centres[random.integers(0, 50, count)] + 0.5 * random.standard_normal((count, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def entries(vectors: np.ndarray, first_row: int = 0) -> list[IndexEntry]:
    return [IndexEntry(first_row + i, 1000 + first_row + i, vector) for i, vector in enumerate(vectors)]


def with_graph(index: VectorIndex) -> VectorIndex:
    renewed = caught_up(build_graph(index, 1, lambda: False), index)
    assert renewed is not None
    return renewed


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return clustered(5100)[:5000]


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    """Vectors like the indexed ones, but not among them."""
    return clustered(5100)[5000:]


@pytest.fixture(scope="module")
def large(vectors: np.ndarray) -> VectorIndex:
    return with_graph(VectorIndex.empty("v").with_vectors(entries(vectors)))


def recall(index: VectorIndex, queries: np.ndarray, vectors: np.ndarray, allowed: np.ndarray) -> float:
    hits = index.search(queries, 50, allowed)
    exact = np.where(allowed, queries @ vectors.T, -np.inf)
    best = np.argsort(-exact, axis=1)[:, :50]
    return float(np.mean([len(set(a) & set(b)) / 50 for a, b in zip(hits.rows.tolist(), best.tolist(), strict=True)]))


def test_recall_at_50_against_exact_search_is_at_least_95_per_cent(
    large: VectorIndex, vectors: np.ndarray, queries: np.ndarray
) -> None:
    assert recall(large, queries, vectors, np.ones(5000, np.bool_)) >= 0.95


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.01])
def test_filters_neither_starve_a_search_nor_cost_recall(
    large: VectorIndex, vectors: np.ndarray, queries: np.ndarray, share: float
) -> None:
    allowed = np.random.default_rng(2).random(5000) < share
    hits = large.search(queries, 50, allowed)
    wanted = min(50, int(allowed.sum()))
    assert ((hits.rows >= 0).sum(axis=1) >= wanted).all()
    assert allowed[hits.rows[hits.rows >= 0]].all()
    if wanted == 50:
        assert recall(large, queries, vectors, allowed) >= 0.95


def test_rows_that_were_removed_or_replaced_are_never_found_as_they_were(
    large: VectorIndex, vectors: np.ndarray
) -> None:
    gone, moved = np.arange(0, 500), np.arange(500, 600)
    index = large.without(gone).with_vectors(entries(-vectors[moved], 500))
    for current in (index, with_graph(index)):
        hits = current.search(vectors[:600], 20, np.ones(5000, np.bool_))
        assert not np.isin(hits.rows, gone).any()
        exact = np.take_along_axis(
            vectors[:600] @ np.concatenate((vectors[:500], -vectors[500:600], vectors[600:])).T, hits.rows, axis=1
        )
        assert np.allclose(exact, hits.cosines, atol=1e-5)
    assert len(index) == 4500


def test_late_vectors_do_not_pass_for_neighbours_where_the_nearest_of_the_graph_are_gone(
    large: VectorIndex, vectors: np.ndarray, queries: np.ndarray
) -> None:
    nearest = large.search(queries[:1], 90, np.ones(5000, np.bool_)).rows[0]
    index = large.without(nearest[:80]).with_vectors(entries(clustered(500, seed=9), 5000))
    allowed = np.ones(5500, np.bool_)
    _, best = exact_best(index, queries[:1], allowed, 50)
    assert set(index.search(queries[:1], 50, allowed).rows[0].tolist()) == set(best[0].tolist())


def test_the_version_says_what_can_be_found_whatever_the_way_there(vectors: np.ndarray) -> None:
    some = entries(vectors[:20])
    direct = VectorIndex.empty("v").with_vectors(some)
    piecewise = VectorIndex.empty("v").with_vectors(some[10:]).with_vectors(some[:10])
    assert direct.version == piecewise.version
    assert direct.without(np.array([3])).version != direct.version
    assert direct.without(np.array([3])).with_vectors([some[3]]).version == direct.version
    assert with_graph(direct).version == direct.version
    assert VectorIndex.empty("w").with_vectors(some).version != direct.version


def test_an_index_never_changes_when_others_grow_out_of_it(vectors: np.ndarray) -> None:
    base = VectorIndex.empty("v").with_vectors(entries(vectors[:100]))
    before = base.search(vectors[:5], 10, np.ones(300, np.bool_)).rows.copy()
    one = base.with_vectors(entries(vectors[100:150], 100))
    other = base.with_vectors(entries(vectors[150:200], 200)).without(np.arange(10))
    assert np.array_equal(base.search(vectors[:5], 10, np.ones(300, np.bool_)).rows, before)
    assert one.search(vectors[100:101], 1, np.ones(300, np.bool_)).rows[0, 0] == 100
    assert other.search(vectors[150:151], 1, np.ones(300, np.bool_)).rows[0, 0] == 200


def test_changes_during_a_build_are_carried_over(vectors: np.ndarray) -> None:
    base = VectorIndex.empty("v").with_vectors(entries(vectors[:1500])).without(np.arange(1400, 1410))
    build = build_graph(base, 1, lambda: False)
    current = base.without(np.arange(10)).with_vectors(entries(-vectors[20:25], 20))
    current = current.with_vectors(entries(vectors[1500:1600], 1500)).without(np.arange(1590, 1600))
    renewed = caught_up(build, current)
    assert renewed is not None
    assert (len(renewed), renewed.version) == (len(current), current.version)
    allowed = np.ones(1600, np.bool_)
    ours, theirs = (index.search(vectors[:200], 30, allowed) for index in (renewed, current))
    same = [len(set(a) & set(b)) / 30 for a, b in zip(ours.rows.tolist(), theirs.rows.tolist(), strict=True)]
    assert np.mean(same) >= 0.95
    assert not np.isin(ours.rows, [*range(10), *range(1400, 1410), *range(1590, 1600)]).any()
    assert caught_up(build, VectorIndex.empty("w").with_vectors(entries(vectors[:5]))) is None


def test_a_graph_is_wanted_when_the_exact_part_or_the_mask_has_grown(large: VectorIndex, vectors: np.ndarray) -> None:
    small = VectorIndex.empty("v").with_vectors(entries(vectors[:1000]))
    assert not small.graph_is_stale
    assert small.with_vectors(entries(vectors[1000:1001], 1000)).graph_is_stale
    assert not large.graph_is_stale
    assert not large.without(np.arange(1250)).graph_is_stale
    assert large.without(np.arange(1251)).graph_is_stale
    assert with_graph(large.without(np.arange(4500))).graph is None


def exact_best(index: VectorIndex, queries: np.ndarray, allowed: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The cosines [queries, rows] of the rows that may be found, and the rows of the k best of each query."""
    rows = np.flatnonzero(allowed & (index.slots(np.arange(len(allowed))) >= 0))
    cosines = np.full((len(queries), len(allowed)), -np.inf)
    cosines[:, rows] = queries @ index.vectors_of(rows).T
    return cosines, np.argsort(-cosines, axis=1)[:, :k]


def test_while_the_index_changes_and_graphs_are_swapped_every_search_is_right_for_the_index_it_began_with(
    vectors: np.ndarray, queries: np.ndarray
) -> None:
    published = [with_graph(VectorIndex.empty("v").with_vectors(entries(vectors[:2000])))]
    allowed = np.random.default_rng(3).random(2000) < 0.7
    stop, wrong, recalls = threading.Event(), [], []

    def search() -> None:
        while not stop.is_set():
            index = published[0]
            hits = index.search(queries[:8], 20, allowed)
            cosines, best = exact_best(index, queries[:8], allowed, 20)
            if not np.allclose(np.take_along_axis(cosines, hits.rows, axis=1), hits.cosines, atol=1e-5):
                wrong.append(hits)
            recalls.extend(len(set(a) & set(b)) / 20 for a, b in zip(hits.rows.tolist(), best.tolist(), strict=True))

    def change() -> None:
        for turn in range(4):
            build = build_graph(published[0], 1, lambda: False)
            for start in range(0, 1000, 100):
                changed = (-1) ** turn * vectors[start : start + 100]
                published[0] = published[0].with_vectors(entries(changed, start))
                published[0] = published[0].without(np.arange(1000 + turn, 2000, 20))
            renewed = caught_up(build, published[0])
            assert renewed is not None
            published[0] = renewed

    with ThreadPoolExecutor(2) as pool:
        searches = [pool.submit(search) for _ in range(2)]
        try:
            change()
        finally:
            stop.set()
        for each in searches:
            each.result()
    assert not wrong
    assert np.mean(recalls) >= 0.95
    assert min(recalls) >= 0.5


@pytest.mark.parametrize(
    "values",
    [
        np.full(4, np.nan, np.float32),
        np.array([np.inf, 0, 0, 0], np.float32),
        np.zeros(4, np.float32),
        np.array([2, 0, 0, 0], np.float32),
        np.array([1, 0, 0], np.float32),
        np.zeros((0,), np.float32),
    ],
)
def test_vectors_that_are_not_of_unit_length_are_refused(values: np.ndarray) -> None:
    good = np.array([1, 0, 0, 0], np.float32)
    index = VectorIndex.empty("v").with_vectors([IndexEntry(0, 1, good)])
    with pytest.raises(InvalidVectorError):
        index.with_vectors([IndexEntry(1, 2, good), IndexEntry(2, 3, values)])
    assert len(index) == 1


def test_a_build_can_be_given_up(large: VectorIndex) -> None:
    with pytest.raises(BuildCancelledError):
        build_graph(large, 1, lambda: True)


_changes = st.lists(
    st.tuples(st.sampled_from(["put", "put", "remove", "begin", "finish"]), st.integers(0, 14)), max_size=60
)


@given(_changes, st.sets(st.integers(0, 14)))
@example(
    [("begin", 0), ("put", 0), ("remove", 0), ("finish", 0)], set()
)  # a build over nothing that catches up with nothing
@settings(max_examples=100, deadline=None)
def test_whatever_the_changes_and_builds_the_index_finds_what_a_dictionary_would(
    changes: list[tuple[str, int]], barred: set[int]
) -> None:
    vectors = clustered(61, 8, seed=5)
    index, expected, build = VectorIndex.empty("v"), {}, None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_builder, "EXACT_UP_TO", 5)  # so that a handful of vectors has a graph
        for step, (change, row) in enumerate(changes):
            if change == "put":
                index, expected[row] = index.with_vectors([IndexEntry(row, step, vectors[step])]), vectors[step]
            elif change == "remove":
                index = index.without(np.array([row]))
                expected.pop(row, None)
            elif change == "begin":
                build = build_graph(index, 1, lambda: False)
            elif build is not None:
                index = caught_up(build, index) or index
    assert len(index) == len(expected)
    allowed = np.array([row not in barred for row in range(15)])
    cosines = {row: float(vectors[-1] @ vector) for row, vector in expected.items() if row not in barred}
    best = sorted(cosines.items(), key=lambda each: -each[1])
    for k in (2, 15):  # few are sought in the graph, many by comparing all
        hits = index.search(vectors[-1:], k, allowed)
        found = [
            (row, cosine)
            for row, cosine in zip(hits.rows[0].tolist(), hits.cosines[0].tolist(), strict=True)
            if row >= 0
        ]
        assert [row for row, _ in found] == [row for row, _ in best[:k]]
        assert [cosine for _, cosine in found] == pytest.approx([cosine for _, cosine in best[:k]], abs=1e-5)
