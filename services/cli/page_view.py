"""How pages, changes and people look in a terminal: pure functions from messages to rich renderables.

Rows never wrap: what is too long ends in an ellipsis, and the same columns stand under one another in all sections.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from homepage.profile.v1 import profile_pb2
from homepage.types.v1 import event_pb2, item_pb2
from homepage.v1 import homepage_pb2
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.cli.changes import Change, Kind
from services.cli.showcase import Act
from shared.timestamps import duration_seconds

_MOST_INTERESTS = 6
_MOST_EVENTS = 5
_LEAST_INTEREST = 0.05
_ARROWS = {
    Kind.ENTERED: ("new", "bold green"),
    Kind.UP: ("▲", "green"),
    Kind.DOWN: ("▼", "yellow"),
    Kind.STAYED: ("=", "dim"),
}
_SLOTS = {
    event_pb2.SLOT_KIND_PROMOTED: "promoted",
    event_pb2.SLOT_KIND_EXPLORATION: "exploration",
    event_pb2.SLOT_KIND_FILLER: "filler",
}
"""What is not chosen by rank says so beside its sources."""
_ALL_SOURCES_FROM, _PUBLISHERS_FROM = 112, 130
"""Width from which there is room for these beside a title and a reason that can be read; below, the best source."""
_BEST_SOURCE_WIDTH, _ALL_SOURCES_WIDTH = 7, 15
_WIDEST_CATEGORY, _WIDEST_CATEGORY_WHEN_NARROW = 18, 14


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which columns a page's tables have: the same in every section, so that they stand under one another."""

    marks: bool
    all_sources: bool
    publishers: bool
    category_width: int


def page_view(page: homepage_pb2.RecommendResponse, changes: Sequence[Change] = (), *, width: int) -> RenderableType:
    """Sections as tables, then what the answer says of itself.

    With `changes` there is a column for them. From a `width` of 112 characters all sources of an item are shown, below
    that the best; from 130 the publishers too.
    """
    by_item = {change.item_id: change for change in changes}
    longest = max((len(item.display.category) for section in page.sections for item in section.items), default=0)
    widest_category = _WIDEST_CATEGORY if width >= _ALL_SOURCES_FROM else _WIDEST_CATEGORY_WHEN_NARROW
    columns = _Columns(
        marks=bool(changes),
        all_sources=width >= _ALL_SOURCES_FROM,
        publishers=width >= _PUBLISHERS_FROM,
        category_width=min(max(longest, len("Category")), widest_category),
    )
    parts: list[RenderableType] = []
    for number, section in enumerate(page.sections):
        table = _page_table(section.title, columns, header=number == 0)
        for item in section.items:
            _add(table, *_cells(item, by_item, columns))
        parts += [table, Text("")]
    return Group(*parts, *footnotes(page))


def footnotes(page: homepage_pb2.RecommendResponse) -> list[RenderableType]:
    """What the answer says of itself: times, versions, what was filtered, what went wrong."""
    versions = page.versions
    calibrated = "calibrated" if versions.calibrated else "not calibrated"
    told = [
        ("Time", stage_times(page)),
        ("Model", f"{versions.model} ({calibrated})" if versions.model else "none"),
        ("Index", versions.index or "none"),
        ("Versions", f"profile {versions.profile or 'none'} · rules {versions.rules}"),
        ("Left out", ", ".join(f"{count.count:,} {count.filter}" for count in page.removed)),
    ]
    lines: list[RenderableType] = [
        Text(f"{name:<9} {text}", style="dim", no_wrap=True, overflow="ellipsis") for name, text in told if text
    ]
    lines += [
        Text(f"Degraded  {told}", style="bold yellow", no_wrap=True, overflow="ellipsis") for told in degradations(page)
    ]
    return lines


def stage_times(page: homepage_pb2.RecommendResponse) -> str:
    """Each stage's time in order, e.g. "profile 3 ms · retrieval 9 ms"."""
    return " · ".join(
        f"{_plain(homepage_pb2.Stage, timing.stage)} {milliseconds(duration_seconds(timing.elapsed))}"
        for timing in page.timings
    )


def degradations(page: homepage_pb2.RecommendResponse) -> list[str]:
    """Each degradation in words, e.g. "ranking late, instead source_order"."""
    return [
        f"{_plain(homepage_pb2.Stage, entry.stage)} {_plain(homepage_pb2.DegradedCause, entry.cause)}, "
        f"instead {entry.fallback}"
        for entry in page.degraded
    ]


def score_view(page: homepage_pb2.RecommendResponse) -> RenderableType:
    """The parts of every item's score, for a page asked for with explain."""
    items = [item for section in page.sections for item in section.items]
    actions = sorted({name for item in items for name in item.score_parts.action_probabilities})
    table = _table("How the scores came about")
    table.add_column("#", justify="right", width=3)
    table.add_column("Title", ratio=1, no_wrap=True, overflow="ellipsis")
    for name in ("Score", *actions, "popular", "fresh", "near", "variety"):
        table.add_column(name, justify="right", no_wrap=True)
    for item in items:
        parts = item.score_parts
        chances = [parts.action_probabilities.get(name) for name in actions]
        others = (parts.popularity, parts.freshness, parts.retrieval, parts.diversity_factor)
        cells = ["" if value is None else f"{value:.3f}" for value in (item.score, *chances, *others)]
        _add(table, str(item.position), item.display.title, *cells)
    return table


def left_view(left: Sequence[Change], before: homepage_pb2.RecommendResponse, acts: Sequence[Act]) -> RenderableType:
    """What is on the page no more, with what the user did to it, where that is why."""
    items = {item.item_id: item for section in before.sections for item in section.items}
    done: dict[str, list[str]] = {}
    for act in acts:
        done.setdefault(act.item.item_id, []).append(_past(act.action))
    table = _table(f"Left the page ({len(left)})")
    table.add_column("was", justify="right", width=3)
    table.add_column("Title", ratio=10, no_wrap=True, overflow="ellipsis")
    table.add_column("Category", ratio=5, no_wrap=True, overflow="ellipsis")
    table.add_column("Why", ratio=9, no_wrap=True, overflow="ellipsis")
    for change in left:
        item = items[change.item_id]
        acted = done.get(change.item_id)
        why = (
            Text(f"you {' and '.join(acted)} it", style="magenta")
            if acted
            else Text("others took its place", style="dim")
        )
        _add(table, str(change.before), item.display.title, item.display.category, why)
    return table


def acts_view(acts: Sequence[Act]) -> RenderableType:
    """What the user did, item by item."""
    table = Table(box=None, show_header=False, padding=(0, 1), expand=True)
    table.add_column(width=7)
    table.add_column(ratio=10, no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=4, no_wrap=True, overflow="ellipsis")
    for act in acts:
        name = _plain(event_pb2.Action, act.action)
        style = "red" if act.action == event_pb2.ACTION_HIDE else "magenta"
        _add(table, Text(name, style=style), act.item.display.title, Text(act.item.display.category, style="cyan"))
    return table


def person_view(user_id: str, profile: profile_pb2.UserProfile, titles: Mapping[str, str]) -> RenderableType:
    """Who the user is: how much is known, the strongest interests, the last things done."""
    known = ", ".join(_counted(entry) for entry in profile.action_counts)
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(width=10)
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_row(Text("User", style="dim"), Text(user_id, style="bold"))
    grid.add_row(Text("Acts", style="dim"), Text(known or "none"))
    grid.add_row(Text("Cares for", style="dim"), interests_line(profile.interests))
    for place, (what, title) in enumerate(_recent(profile.recent_events, titles)):
        grid.add_row(Text("Last" if place == 0 else "", style="dim"), Text.assemble((f"{what:<13}", "magenta"), title))
    return grid


def interests_line(interests: Sequence[profile_pb2.Interest]) -> Text:
    """The strongest interests with their long-term weights."""
    line = Text(no_wrap=True, overflow="ellipsis")
    liked = [interest for interest in interests if interest.long_term >= _LEAST_INTEREST]
    for interest in sorted(liked, key=lambda interest: -interest.long_term)[:_MOST_INTERESTS]:
        line.append(f"{interest.category} ", style="cyan").append(f"{interest.long_term:.1f}   ", style="dim")
    return line if line else Text("nothing yet")


def milliseconds(seconds: float) -> str:
    """A time with the digits that matter, e.g. "0.4 ms", "12 ms", "1,240 ms"."""
    value = seconds * 1000
    return f"{value:.1f} ms" if value < 10 else f"{value:,.0f} ms"


def _page_table(title: str, columns: _Columns, *, header: bool) -> Table:
    table = _table(title)
    table.show_header = header
    title_share, why_share = (4, 5) if columns.all_sources else (5, 8)  # a reason that names a film must fit
    table.add_column("#", justify="right", width=3)
    if columns.marks:
        table.add_column("", width=3, no_wrap=True)
    table.add_column("Title", ratio=title_share, no_wrap=True, overflow="ellipsis")
    table.add_column("Category", width=columns.category_width, no_wrap=True, overflow="ellipsis", style="cyan")
    if columns.publishers:
        table.add_column("From", width=18, no_wrap=True, overflow="ellipsis", style="dim")
    table.add_column("Score", justify="right", width=5)
    sources, room = ("Sources", _ALL_SOURCES_WIDTH) if columns.all_sources else ("Source", _BEST_SOURCE_WIDTH)
    table.add_column(sources, width=room, no_wrap=True, overflow="ellipsis", style="dim")
    table.add_column("Why", ratio=why_share, no_wrap=True, overflow="ellipsis")
    return table


def _cells(item: homepage_pb2.PageItem, changes: Mapping[str, Change], columns: _Columns) -> list[str | Text]:
    display = item.display
    cells: list[str | Text] = [str(item.position)]
    cells += [_mark(changes.get(item.item_id))] if columns.marks else []
    cells += [_title(display), display.category]
    cells += [display.publisher] if columns.publishers else []
    cells += [f"{item.score:.3f}"]
    slot = [_SLOTS[item.slot_kind]] if item.slot_kind in _SLOTS else []
    cells += [" ".join([*item.sources, *slot]) if columns.all_sources else "".join([*slot, *item.sources][:1])]
    return [*cells, item.reasons[0].text if item.reasons else ""]


def _title(display: homepage_pb2.Display) -> str:
    return f"{display.title} · {_money(display.price)}" if display.HasField("price") else display.title


def _money(price: item_pb2.Price) -> str:
    return f"{price.micros / 1_000_000:,.2f} {price.currency_code}".strip()


def _mark(change: Change | None) -> Text:
    if change is None:
        return Text("")
    sign, style = _ARROWS[change.kind]
    return Text(f"{sign}{change.places}" if change.places else sign, style=style)


def _table(title: str) -> Table:
    return Table(
        title=Text(title, style="bold", no_wrap=True, overflow="ellipsis"),
        title_justify="left",
        box=None,
        expand=True,
        padding=(0, 1, 0, 0),
        header_style="dim",
    )


def _add(table: Table, *cells: str | Text) -> None:
    """A row of plain text: rich would read a title's brackets as markup and its colons as emoji."""
    table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))


def _recent(events: Sequence[event_pb2.Event], titles: Mapping[str, str]) -> list[tuple[str, str]]:
    """The newest items acted upon, each once, with the newest telling act (staying on a page tells little)."""
    newest: dict[str, str] = {}
    for event in events:
        if event.action != event_pb2.ACTION_DWELL:
            newest.setdefault(event.item_id, _past(event.action))
    return [(what, titles.get(item_id, item_id)) for item_id, what in list(newest.items())[:_MOST_EVENTS]]


def _counted(entry: profile_pb2.ActionCount) -> str:
    """An action and how often, e.g. "1 like" or "1,200 views"."""
    return f"{entry.count:,} {_plain(event_pb2.Action, entry.action)}{'' if entry.count == 1 else 's'}"


def _past(action: event_pb2.Action.ValueType) -> str:
    name = _plain(event_pb2.Action, action)
    irregular = {"hide": "hid", "dwell": "stayed with", "comment": "commented on"}
    return irregular.get(name, name + ("d" if name.endswith("e") else "ed"))


def _plain(kind: object, value: int) -> str:
    """A value of an enum without its prefix, in small letters: ACTION_CLICK -> "click"."""
    name = str(kind.Name(value))  # type: ignore[attr-defined]  # every generated enum has it
    prefix = str(kind.DESCRIPTOR.values[0].name).removesuffix("UNSPECIFIED")  # type: ignore[attr-defined]
    return name.removeprefix(prefix).lower().replace("_", " ")


def when(timestamp: Timestamp) -> str:
    """A moment for people, UTC, to the minute."""
    return datetime.fromtimestamp(timestamp.seconds, UTC).strftime("%d %B %Y, %H:%M UTC").lstrip("0")
