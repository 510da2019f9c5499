"""What the crowd did is scored as defined, and what is read of a file is whole or refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from shared.model.crowd import ABSENT, crowd_bytes, log_shares, read_crowd
from tests.shared.model.made_blend import made_crowd

CROWD = made_crowd("a", "b", "c")


def test_likeness_is_the_sum_over_liked_items_and_unknown_items_score_nothing() -> None:
    candidates = CROWD.rows(["a", "c", "b", "new"])
    assert candidates.tolist() == [0, 2, 1, ABSENT]
    found = CROWD.likeness_to(CROWD.rows(["new", "b", "c"]), candidates)
    np.testing.assert_allclose(found, [0.05 + 0.3 + 0.05, 0.2, 0.0, 0.0], atol=1e-6)
    assert CROWD.popularity_of(candidates).tolist() == [1.0, 3.0, 2.0, 0.0]
    for liked in ([], ["new"]):
        assert CROWD.likeness_to(CROWD.rows(liked), candidates).tolist() == [0.0] * 4


def test_tables_without_items_know_nobody() -> None:
    empty = read_crowd(crowd_bytes(replace(CROWD, item_ids=(), popularity=CROWD.popularity[:0], **nothing_near())))
    rows = empty.rows(["a"])
    assert (empty.popularity_of(rows).tolist(), empty.likeness_to(rows, rows).tolist()) == ([0.0], [0.0])


def nothing_near(items: int = 0) -> dict:
    none = {"neighbours": CROWD.neighbours[:0], "likeness": CROWD.likeness[:0]}
    return {"bounds": np.zeros(items + 1, np.int64), **none}


@given(st.lists(st.text(), unique=True, max_size=5))
def test_tables_are_read_as_they_were_written_whatever_ids_are_made_of(ids: list[str]) -> None:
    popularity = np.linspace(0, 1, len(ids), dtype=np.float32)
    written = replace(CROWD, item_ids=tuple(ids), popularity=popularity, **nothing_near(len(ids)))
    read = read_crowd(crowd_bytes(written))
    assert read.item_ids == tuple(ids)
    np.testing.assert_array_equal(read.popularity, popularity)


def test_neighbours_are_read_as_they_were_written() -> None:
    read = read_crowd(crowd_bytes(CROWD))
    for name in ("bounds", "neighbours", "likeness"):
        np.testing.assert_array_equal(getattr(read, name), getattr(CROWD, name))


def test_shares_keep_their_scale_when_more_time_is_counted() -> None:
    counts = np.array([0, 1, 30, 500])
    np.testing.assert_allclose(log_shares(7 * counts), log_shares(counts), rtol=1e-6)
    assert log_shares(counts)[0] == 0
    assert log_shares(np.zeros(2, int)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"item_ids": ("a", "b", "b")}, "different ids"),
        ({"popularity": CROWD.popularity[:2]}, "popularity"),
        ({"bounds": CROWD.bounds[:3]}, "bounds"),
        ({"bounds": np.array([0, 4, 2, 6])}, "rise"),
        ({"bounds": np.array([1, 2, 4, 6])}, "rise"),
        ({"bounds": np.array([0, 2, 4, 5])}, "rise"),
        ({"neighbours": np.array([0, 1, 2, 0, 1, 3], np.int32)}, "must be items"),
        ({"neighbours": np.array([0, 1, 2, 0, 1, -1], np.int32)}, "must be items"),
        ({"likeness": CROWD.likeness[:5]}, "likeness"),
        ({"likeness": CROWD.likeness * np.float32(np.nan)}, "finite"),
        ({"popularity": CROWD.popularity * np.float32(np.inf)}, "finite"),
    ],
)
def test_tables_that_do_not_fit_together_are_neither_written_nor_read(changes: dict, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        crowd_bytes(replace(CROWD, **changes))
    tables = load(crowd_bytes(CROWD))
    ids = changes.pop("item_ids", None)
    tables |= {"ids": np.frombuffer("".join(ids).encode(), np.uint8)} if ids else {}
    with pytest.raises(ValueError, match=why):
        read_crowd(save({**tables, **changes}))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ids": np.frombuffer(b"\xff\xff\xff", np.uint8)}, "UTF-8"),
        ({"id_ends": np.array([1, 2, 4])}, "ends"),
        ({"id_ends": np.array([2, 1, 3])}, "ends"),
        ({"likeness": CROWD.likeness.astype(np.float64)}, "must hold the lists"),
        ({"popularity": CROWD.popularity[None]}, "must hold the lists"),
        ({"more": CROWD.popularity}, "must hold the lists"),
    ],
)
def test_a_damaged_file_is_refused(changes: dict, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_crowd(save({**load(crowd_bytes(CROWD)), **changes}))


def test_what_is_no_safetensors_is_refused() -> None:
    for content in (b"", b"weights", crowd_bytes(CROWD)[:-1]):
        with pytest.raises(ValueError, match="not safetensors"):
            read_crowd(content)
