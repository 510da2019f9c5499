"""Whom the demo shows and what that person does."""

import pytest
from homepage.profile.v1 import profile_pb2
from homepage.types.v1 import event_pb2

from services.cli.showcase import acts_on, choose_user, first_clicks, unfamiliar_category
from shared.datasets import Interaction, Item

ITEMS = [Item(f"{category}-{n}", "title", category=category) for category in "ABCDEF" for n in range(40)]


def clicks(user: str, since: float = 1e9, **counts: int) -> list[Interaction]:
    return [
        Interaction(f"{user}-{category}-{n}", user, f"{category}-{n}", "click", since + n)
        for category, count in counts.items()
        for n in range(count)
    ]


def interest(category: str, weight: float) -> profile_pb2.Interest:
    return profile_pb2.Interest(category=category, long_term=weight)


def test_the_user_with_the_clearest_taste_of_middling_history_is_chosen() -> None:
    events = [
        *clicks("broad", A=9, B=9, C=9, D=9, E=9),
        *clicks("clear", A=35, B=4, C=3, D=1),
        *clicks("single-minded", A=40),
        *clicks("short", A=5, B=2, C=1),
        *clicks("long gone", since=1e9 - 90 * 86_400, A=38, B=1, C=1),
    ]
    assert choose_user(events, ITEMS) == "clear"


def test_equally_clear_users_are_settled_by_their_id() -> None:
    events = [*clicks("zoe", A=35, B=4, C=3), *clicks("amy", A=35, B=4, C=3)]
    assert choose_user(events, ITEMS) == choose_user(events[::-1], ITEMS) == "amy"


def test_without_a_fitting_user_the_busiest_is_chosen() -> None:
    assert choose_user([*clicks("a", A=2), *clicks("b", A=3)], ITEMS) == "b"


def test_without_any_positive_act_there_is_nobody_to_show() -> None:
    with pytest.raises(ValueError, match="nobody"):
        choose_user([Interaction("e", "u", "A-1", "hide", 1.0)], ITEMS)


def test_the_new_interest_is_the_commonest_category_that_the_user_hardly_cared_for(page_of) -> None:
    page = page_of(*((f"{place}", category) for place, category in enumerate("ABCCAADDDB")))
    assert unfamiliar_category(page, [interest("A", 10.0), interest("B", 0.5), interest("D", -3.0)]) == "C"


def test_who_cares_for_everything_gets_the_category_cared_for_least(page_of) -> None:
    page = page_of(("a", "A"), ("b", "B"))
    assert unfamiliar_category(page, [interest("A", 10.0), interest("B", 5.0)]) == "B"


def test_a_page_without_categories_has_no_new_interest(page_of) -> None:
    assert unfamiliar_category(page_of(("a", "")), []) == ""


def test_feedback_clicks_and_likes_the_category_and_hides_one_item_of_another(page_of) -> None:
    page = page_of(("a", "A"), ("c1", "C"), ("b", "B"), ("c2", "C"), ("c3", "C"))
    acts = acts_on(page, "C", [interest("A", 10.0)])
    assert [(act.item.item_id, act.action) for act in acts] == [
        ("c1", event_pb2.ACTION_CLICK),
        ("c2", event_pb2.ACTION_CLICK),
        ("c3", event_pb2.ACTION_CLICK),
        ("c1", event_pb2.ACTION_LIKE),
        ("c2", event_pb2.ACTION_LIKE),
        ("b", event_pb2.ACTION_HIDE),
    ]


def test_a_visitor_clicks_on_the_first_item_and_on_one_like_it(page_of) -> None:
    page = page_of(("a", "A"), ("b", "B"), ("a2", "A"))
    assert [act.item.item_id for act in first_clicks(page)] == ["a", "a2"]
    assert [act.item.item_id for act in first_clicks(page_of(("a", "A"), ("b", "B")))] == ["a", "b"]
