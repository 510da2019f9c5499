"""How pages look in a terminal."""

import re

import pytest
from homepage.profile.v1 import profile_pb2
from homepage.types.v1 import event_pb2
from homepage.v1 import homepage_pb2
from rich.console import Console, RenderableType

from services.cli.changes import Kind, compare, of_kind
from services.cli.page_view import left_view, milliseconds, page_view, person_view, score_view
from services.cli.showcase import Act, page_items


def rendered(content: RenderableType, width: int = 110) -> str:
    console = Console(record=True, width=width, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(content)
    return console.export_text()


@pytest.mark.parametrize("width", [80, 100, 120, 140])
def test_a_page_takes_one_line_per_item_however_long_its_title(page_of, width: int) -> None:
    page = page_of("a", "b")
    page.sections[0].items[0].display.title = "A very long title " * 20
    page.sections[0].items[0].reasons[0].text = "A very long reason " * 20
    page.sections[0].title = "Because you read a very long title " * 20
    page.degraded.add(stage=homepage_pb2.STAGE_RANKING, cause=homepage_pb2.DEGRADED_CAUSE_LATE, fallback="order" * 40)
    lines = rendered(page_view(page, width=width), width).splitlines()
    assert max(len(line) for line in lines) <= width
    places = [line.split()[0] for line in lines if line.strip() and line.split()[0].isdigit()]
    assert places == ["1", "2"]
    assert sum("very long title" in line for line in lines) == 2  # the heading and the item
    assert sum("order" in line for line in lines) == 1


def test_a_reason_that_names_a_film_can_be_read_in_100_columns(page_of) -> None:
    page = page_of(("a", "Documentary"))
    reason = "Similar to “The Shape of Water (2017)”"
    page.sections[0].items[0].reasons[0].text = reason
    changes = compare([], ["a"])
    assert reason in rendered(page_view(page, changes, width=98), 98)


def test_a_page_tells_place_title_category_publisher_score_sources_and_reason(page_of) -> None:
    lines = rendered(page_view(page_of("a"), width=140), 140).splitlines()
    line = next(line for line in lines if "Title of a" in line)
    for part in ("1", "Cycling", "City Gazette", "0.500", "nearest", "Popular now"):
        assert part in line


def test_a_narrow_page_still_tells_the_best_source_of_every_item(page_of) -> None:
    page = page_of("a")
    page.sections[0].items[0].sources[:] = ["nearest", "popular"]
    line = next(line for line in rendered(page_view(page, width=98), 98).splitlines() if "Title of a" in line)
    assert "nearest" in line
    assert "nearest popular" not in line


def test_a_page_tells_its_times_and_versions(page_of) -> None:
    text = rendered(page_view(page_of("a"), width=110))
    assert "profile 3.4 ms · ranking 1,250 ms" in text
    assert "minilm-1 (not calibrated)" in text


def test_a_degraded_page_says_what_failed_and_what_was_done(page_of) -> None:
    page = page_of("a")
    page.degraded.add(stage=homepage_pb2.STAGE_RANKING, cause=homepage_pb2.DEGRADED_CAUSE_LATE, fallback="source_order")
    assert "ranking late, instead source_order" in rendered(page_view(page, width=110))


def test_with_changes_each_item_says_how_it_moved(page_of) -> None:
    before, after = page_of("a", "b", "c"), page_of("c", "d", "b")
    changes = compare([i.item_id for i in page_items(before)], [i.item_id for i in page_items(after)])
    lines = rendered(page_view(after, changes, width=110)).splitlines()
    marks = {name: next(line for line in lines if f"Title of {name}" in line).split()[1] for name in "cdb"}
    assert marks == {"c": "▲2", "d": "new", "b": "▼1"}


def test_what_left_the_page_is_listed_with_what_the_user_did(page_of) -> None:
    before = page_of("a", "b")
    first = before.sections[0].items[0]
    acts = [Act(first, event_pb2.ACTION_CLICK), Act(first, event_pb2.ACTION_HIDE)]
    text = rendered(left_view(of_kind(compare(["a", "b"], []), Kind.LEFT), before, acts))
    assert "you clicked and hid it" in text
    assert "others took its place" in text


def test_markup_in_a_title_is_shown_and_not_obeyed(page_of) -> None:
    page = page_of("a")
    page.sections[0].title = "[red]Because[/]"
    page.sections[0].items[0].display.title = "[bold]x[/bold] and [/nothing]"
    text = rendered(page_view(page, width=110))
    assert "[red]Because[/]" in text
    assert "[bold]x[/bold] and [/nothing]" in text


def test_a_person_is_known_by_interests_and_the_last_titles() -> None:
    profile = profile_pb2.UserProfile(
        interests=[profile_pb2.Interest(category="Coffee", long_term=3.25)],
        recent_events=[
            event_pb2.Event(item_id="a", action=event_pb2.ACTION_DWELL),
            event_pb2.Event(item_id="a", action=event_pb2.ACTION_LIKE),
            event_pb2.Event(item_id="gone", action=event_pb2.ACTION_HIDE),
        ],
        action_counts=[
            profile_pb2.ActionCount(action=event_pb2.ACTION_VIEW, count=1200),
            profile_pb2.ActionCount(action=event_pb2.ACTION_LIKE, count=1),
        ],
    )
    text = rendered(person_view("user-1", profile, {"a": "Espresso at home"}))
    assert "user-1" in text
    assert "Coffee 3.2" in text
    assert "1,200 views, 1 like\n" in re.sub(" +\n", "\n", text)
    assert "liked        Espresso at home" in text
    assert "hid          gone" in text


def test_explained_pages_show_the_probability_of_every_action(page_of) -> None:
    assert "0.123" in rendered(score_view(page_of("a")))


@pytest.mark.parametrize(("seconds", "text"), [(0.0004, "0.4 ms"), (0.0123, "12 ms"), (1.24, "1,240 ms")])
def test_times_show_the_digits_that_matter(seconds: float, text: str) -> None:
    assert milliseconds(seconds) == text
