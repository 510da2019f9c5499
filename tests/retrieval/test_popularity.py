"""Decayed sums: exact whatever the order of events."""

import math
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.retrieval.behaviour import CountedEvent, popularity_weight
from services.retrieval.items import Item
from services.retrieval.library import Library
from services.retrieval.popularity import CountsMovedError, EventPage, counted, faded, log_weight
from services.retrieval.sqlite_store import SqliteStore
from services.retrieval.store import Progress, Tally
from shared.action import Action
from shared.errors import Reason, ServiceError

HALF_LIFE = 172_800.0
NOW = 1_750_000_000.0


@given(st.lists(st.tuples(st.sampled_from([-2.0, -1.0, 0.2, 1.0, 4.0]), st.floats(0, 30 * HALF_LIFE)), min_size=1))
def test_the_sum_is_that_of_all_events_in_any_order(acts: list[tuple[float, float]]) -> None:
    tally = None
    for weight, age in acts:
        tally = counted(tally, CountedEvent("a", weight, NOW - age), HALF_LIFE)
    assert tally is not None
    direct = sum(weight * 2 ** (-age / HALF_LIFE) for weight, age in acts)
    now = tally.total * 2 ** (-(NOW - tally.as_of) / HALF_LIFE)
    assert now == pytest.approx(direct, rel=1e-9, abs=1e-9)


def test_weights_are_those_of_the_acts() -> None:
    assert popularity_weight(Action.DWELL, 30) == 0.5
    assert popularity_weight(Action.DWELL, 600) == 1.0
    assert popularity_weight(Action.RATE, 5) == pytest.approx(2.0)
    assert popularity_weight(Action.RATE, 0) == pytest.approx(-2.0)
    assert [popularity_weight(a, 9.0) for a in (Action.VIEW, Action.CLICK, Action.HIDE)] == [0.2, 1.0, -2.0]


def test_a_sum_below_zero_counts_as_none_and_log_weights_differ_by_half_lives() -> None:
    assert log_weight(None, HALF_LIFE) == -math.inf
    assert log_weight(counted(None, CountedEvent("a", -1.0, NOW), HALF_LIFE), HALF_LIFE) == -math.inf
    early = log_weight(counted(None, CountedEvent("a", 1.0, NOW), HALF_LIFE), HALF_LIFE)
    late = log_weight(counted(None, CountedEvent("a", 1.0, NOW + 3 * HALF_LIFE), HALF_LIFE), HALF_LIFE)
    assert late - early == pytest.approx(3.0)


def test_a_sum_has_faded_when_it_is_worth_next_to_nothing_beside_the_newest_for_or_against() -> None:
    tallies = {
        "new": Tally(0.2, NOW),
        "old": Tally(1.0, NOW - 11 * HALF_LIFE),
        "liked": Tally(9.0, NOW - 11 * HALF_LIFE),
    }
    tallies["hated"] = Tally(-9.0, NOW - 11 * HALF_LIFE)
    assert list(faded(tallies, HALF_LIFE)) == ["old"]
    assert list(faded({}, HALF_LIFE)) == []


def test_sums_of_items_that_never_came_are_dropped_once_they_have_faded(tmp_path: Path) -> None:
    """Two thousand acts a day, each on an item of its own that the library never gets."""
    store = SqliteStore(tmp_path / "library.db")
    library = Library(store, 86_400.0)
    library.open()
    library.put([Item("here", "t"), Item("other", "t")])
    at = library.count(EventPage((CountedEvent("here", 1.0, NOW),), "c"), library.progress)
    for day in range(1, 41):
        events = [CountedEvent(f"{day}/{n}", 1.0, NOW + day * 86_400.0) for n in range(2000)]
        at = library.count(EventPage(tuple(events), f"c{day}"), at)
    assert library.status().counted_events == 1 + 40 * 2000
    stored = dict(store.tallies())
    assert len(stored) < 2 * 11 * 2000
    assert {"here", "40/1999", "31/0"} <= stored.keys()
    assert math.isfinite(library.snapshot.popularity.log_weights[library.snapshot.catalogue.row("here")])
    library.close()


class RecordingStore(SqliteStore):
    """Notes how many sums it is to drop; `full`: refuses that."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.dropped: list[int] = []
        self.full = False

    def put_counts(self, tallies: Mapping[str, Tally], progress: Progress, faded: Collection[str] = ()) -> None:
        self.dropped.append(len(faded))
        if self.full:
            raise ServiceError(Reason.STORE_UNAVAILABLE, "full")
        super().put_counts(tallies, progress, faded)


def test_faded_sums_go_a_thousand_at_a_time_until_none_is_left_also_when_the_store_refuses_at_first(
    tmp_path: Path,
) -> None:
    store = RecordingStore(tmp_path / "library.db")
    library = Library(store, HALF_LIFE)
    library.open()
    later = EventPage((CountedEvent("0/0", 1.0, NOW + 20 * HALF_LIFE),), "later")
    for many, time in ((9000, NOW), (3501, NOW + 20 * HALF_LIFE)):
        events = tuple(CountedEvent(f"{time}/{n}", 1.0, time) for n in range(many))
        library.count(EventPage(events, "c"), library.progress)
    assert store.dropped == [0, 0]
    store.full = True
    for _ in range(2):
        with pytest.raises(ServiceError):
            library.count(later, library.progress)
    store.full = False
    for _ in range(6):
        library.count(later, library.progress)
    assert store.dropped[2:] == [1000, 1000, 1000, 1000, 1000, 0, 0, 0]
    assert len(dict(store.tallies())) == 9502
    library.close()


def test_counts_that_do_not_follow_from_the_present_progress_are_refused_whole(tmp_path: Path) -> None:
    library = Library(SqliteStore(tmp_path / "library.db"), HALF_LIFE)
    library.open()
    page = EventPage((CountedEvent("a", 1.0, NOW),), "c1")
    at = library.count(page, library.progress)
    for wrong in (Progress(), Progress("c1", 2), Progress("c2", 1)):
        with pytest.raises(CountsMovedError):
            library.count(page, wrong)
        with pytest.raises(CountsMovedError):
            library.forget_counts(wrong)
    assert library.progress == at
    library.forget_counts(at)
    assert library.progress == Progress()
    library.close()
