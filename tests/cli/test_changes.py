"""The difference of two pages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.changes import Change, Kind, compare, of_kind

pages = st.lists(st.sampled_from([f"item-{number}" for number in range(12)]), unique=True)


@given(pages, pages)
def test_every_item_of_either_page_has_exactly_one_change(before: list[str], after: list[str]) -> None:
    changes = compare(before, after)
    assert sorted(change.item_id for change in changes) == sorted({*before, *after})


@given(pages, pages)
def test_places_and_kinds_tell_the_same_story(before: list[str], after: list[str]) -> None:
    for change in compare(before, after):
        assert change.before == (before.index(change.item_id) + 1 if change.item_id in before else None)
        assert change.after == (after.index(change.item_id) + 1 if change.item_id in after else None)
        match change.kind:
            case Kind.ENTERED:
                assert change.before is None
            case Kind.LEFT:
                assert change.after is None
            case Kind.UP:
                assert change.before - change.after == change.places > 0
            case Kind.DOWN:
                assert change.after - change.before == change.places > 0
            case Kind.STAYED:
                assert change.before == change.after
                assert change.places == 0


@given(pages, pages)
def test_the_other_way_round_entered_and_left_change_places(before: list[str], after: list[str]) -> None:
    there, back = compare(before, after), compare(after, before)
    for one, other in ((Kind.ENTERED, Kind.LEFT), (Kind.UP, Kind.DOWN), (Kind.STAYED, Kind.STAYED)):
        assert {c.item_id for c in of_kind(there, one)} == {c.item_id for c in of_kind(back, other)}


def test_changes_follow_the_new_page_and_end_with_what_left() -> None:
    assert compare(["a", "b", "c"], ["c", "d", "a"]) == (
        Change("c", Kind.UP, 3, 1),
        Change("d", Kind.ENTERED, None, 2),
        Change("a", Kind.DOWN, 1, 3),
        Change("b", Kind.LEFT, 2, None),
    )


def test_a_page_with_an_item_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        compare(["a", "a"], [])
