"""What training takes for retrieval's score is what retrieval says."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from services.retrieval.behaviour import HistoryEntry
from services.retrieval.catalogue import Catalogue
from services.retrieval.filters import ItemFilter, Scope, judge
from services.retrieval.index import IndexEntry, VectorIndex
from services.retrieval.items import Item
from services.retrieval.popularity import Popularity
from services.retrieval.snapshot import Snapshot
from services.retrieval.sources import Search, nearest
from services.trainer.corpus import Example, Past
from services.trainer.nearest_source import NearestSource
from shared.action import Action
from tests.trainer.measured_corpus import made_example

ITEMS, WIDTH = 300, 16
ACTS = {"click": Action.CLICK, "like": Action.LIKE, "view": Action.VIEW, "dislike": Action.DISLIKE, "hide": Action.HIDE}


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    drawn = np.random.default_rng(0).normal(size=(ITEMS, WIDTH)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def snapshot(vectors: np.ndarray) -> Snapshot:
    catalogue = Catalogue.empty().with_items([Item(f"i{row}", f"title {row}") for row in range(ITEMS)])
    index = VectorIndex.empty("v").with_vectors([IndexEntry(row, row, vector) for row, vector in enumerate(vectors)])
    return Snapshot(catalogue, index, Popularity(np.full(ITEMS, -np.inf), catalogue))


def retrieved(snapshot: Snapshot, history: Sequence[Past], quota: int) -> np.ndarray:
    """The score of every item by the service; not a number where it was not found."""
    entries = tuple(HistoryEntry(f"i{past.item}", ACTS[past.action]) for past in history)
    verdict = judge(snapshot.catalogue, Scope(entries, (), ItemFilter(), 0.0))
    found = nearest(snapshot, verdict, Search(entries, quota, 0.0, 1.0))
    scores = np.full(ITEMS, np.nan)
    scores[found.rows] = found.scores
    return scores


def drawn_history(seed: int, length: int) -> list[Past]:
    draw = np.random.default_rng(seed)
    return [Past(int(draw.integers(40)), str(draw.choice([*ACTS])), None) for _ in range(length)]


def of_all_items(history: Sequence[Past]) -> Example:
    return made_example(0, range(ITEMS), [0.0] * ITEMS, history)


@pytest.mark.parametrize("quota", [10, 60, 200, 1000])
@pytest.mark.parametrize("length", [0, 1, 4, 30])
def test_scores_are_those_of_the_service_and_so_is_what_is_not_found(
    vectors: np.ndarray, snapshot: Snapshot, quota: int, length: int
) -> None:
    for seed in range(5):
        history = drawn_history(seed, length)
        found = NearestSource(vectors, quota).scores(of_all_items(history))
        np.testing.assert_allclose(found, retrieved(snapshot, history, quota), atol=1e-6)


def test_candidates_are_scored_in_their_order(vectors: np.ndarray) -> None:
    example = of_all_items(drawn_history(1, 4))
    reversed_ = replace(example, candidates=example.candidates[::-1])
    source = NearestSource(vectors)
    np.testing.assert_array_equal(source.scores(reversed_), source.scores(example)[::-1])
