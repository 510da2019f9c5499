"""Catalogues: old ones stay as they were while new ones grow out of them."""

from services.retrieval.catalogue import ABSENT, Catalogue
from services.retrieval.items import Item


def test_an_old_catalogue_does_not_see_what_came_later() -> None:
    old = Catalogue.empty().with_items([Item("a", "t"), Item("b", "t")])
    new = old.with_items([Item("c", "t"), Item("a", "changed")])
    assert old.find("c") is None
    assert (old.find("a"), new.find("a")) == (Item("a", "t"), Item("a", "changed"))
    assert (len(old), len(new)) == (2, 3)


def test_the_row_of_a_removed_item_is_used_again_and_readers_are_not_confused() -> None:
    before = Catalogue.empty().with_items([Item("a", "t"), Item("b", "t")])
    without = before.without(["a"])
    after = without.with_items([Item("c", "t")])
    assert after.row("c") == before.row("a")
    assert (before.find("a"), before.find("c")) == (Item("a", "t"), None)
    assert (without.find("a"), without.find("c")) == (None, None)
    assert (after.row("a"), after.rows, len(after)) == (ABSENT, 2, 2)


def test_newest_first_holds_dated_live_items_only() -> None:
    items = [Item("old", "t", published_at=1.0), Item("none", "t"), Item("new", "t", published_at=9.0)]
    catalogue = Catalogue.empty().with_items([*items, Item("gone", "t", published_at=5.0)]).without(["gone"])
    assert [catalogue.at(row).item_id for row in catalogue.newest_first.tolist()] == ["new", "old"]
