"""MIND, the Microsoft news data set: news.tsv and behaviors.tsv without headers, tab separated, never
quoted. Times carry no zone and are read as UTC. Histories carry no times at all: each user's becomes clicks
one minute apart that end just before the user's first impression. A row's tags are its subcategory, then the labels
of the entities in its title, then of those in its abstract.
https://github.com/msnews/msnews.github.io"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from shared.datasets.records import (
    Candidate,
    Dataset,
    DatasetError,
    HistoryEntry,
    Impression,
    Interaction,
    Item,
    in_time_order,
)
from shared.datasets.rows import Place, numbered_lines

NEWS_FILE, BEHAVIORS_FILE = "news.tsv", "behaviors.tsv"
NEWS_COLUMNS = 8
BEHAVIOR_COLUMNS = 5
HISTORY_STEP_S = 60.0
MOST_TAGS = 64  # of an item, by the contract (item.proto)
SHOWN_OF_A_CELL = 60  # characters, in errors

# Not strptime: its AM/PM depends on the locale, and it takes ten times as long over millions of rows.
_TIME = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}) (\d{1,2}):(\d\d):(\d\d) ([AP]M)")


def mind_folder(folder: Path, split: str = "train") -> Path | None:
    """Where news.tsv and behaviors.tsv of `split` lie: `folder` itself, or a sub-folder named after the split
    (`train`, `MINDsmall_train`); None if nowhere."""
    named = [path for path in sorted(folder.glob(f"*{split}")) if path.name in (split, f"MINDsmall_{split}")]
    named += [path for path in sorted(folder.glob(f"MIND*_{split}")) if path not in named]
    for place in (folder, *named):
        if (place / NEWS_FILE).is_file() and (place / BEHAVIORS_FILE).is_file():
            return place
    return None


def read_mind(folder: Path, split: str = "train") -> Dataset:
    """Read one split of a MIND folder. Clicked candidates become clicks at the impression's time;
    impressions keep labels and 1-based positions. Raises DatasetError for missing files and rows that
    cannot be read."""
    rows = open_mind(folder, split)
    impressions = tuple(shown for _, shown in rows.impressions())
    clicks = [
        Interaction(
            f"mind-{shown.impression_id}-{shown.user_id}-{each.item_id}", shown.user_id, each.item_id, "click", at
        )
        for shown in impressions
        for each in shown.candidates
        if each.label and (at := shown.time) is not None
    ]
    times = [shown.time for shown in impressions if shown.time is not None]
    return Dataset(
        name=folder.resolve().name,
        source="mind",
        items=rows.items,
        interactions=in_time_order([*rows.histories(), *clicks]),
        impressions=impressions,
        now=max(times, default=-1.0) + 1.0,
        dropped=dict(rows.dropped),
    )


def open_mind(folder: Path, split: str = "train") -> "MindRows":
    """One split for reading row by row; its news are read at once. Raises DatasetError as read_mind does."""
    place = mind_folder(folder, split)
    if place is None:
        raise DatasetError(
            f"{folder}: no {NEWS_FILE} with {BEHAVIORS_FILE} here nor in a folder named {split} "
            f"or MINDsmall_{split}; unpack the MIND archive here"
        )
    dropped: Counter[str] = Counter()
    items = tuple(_read_news(place / NEWS_FILE, dropped))
    return MindRows(place / BEHAVIORS_FILE, split if place != folder else "", items, dropped)


def _read_news(path: Path, dropped: Counter[str]) -> list[Item]:
    items: dict[str, Item] = {}
    for place, line in numbered_lines(path):
        cells = line.split("\t")
        if len(cells) != NEWS_COLUMNS:
            raise place.error(
                f"{len(cells)} columns; write {NEWS_COLUMNS}, tab separated: id, category, subcategory, "
                "title, abstract, url, title entities, abstract entities"
            )
        item_id, category, subcategory, title, summary, url = (cell.strip() for cell in cells[:6])
        if not item_id:
            raise place.error("the news id is empty; give every row an id")
        entities = [*_labels(place, cells[6], "title entities"), *_labels(place, cells[7], "abstract entities")]
        if not title:
            dropped["news without title"] += 1
        elif item_id in items:
            dropped["news listed twice"] += 1
        else:
            tags = _tags([subcategory, *entities])
            items[item_id] = Item(item_id, title, summary, category, tags, domain="news", url=url)
    return list(items.values())


def _labels(place: Place, cell: str, column: str) -> list[str]:
    """The labels of a column of entities, which may be empty."""
    if not cell.strip():
        return []
    try:
        entities = json.loads(cell)
        if not isinstance(entities, list):
            raise ValueError("no list")
        return [_label(entity) for entity in entities]
    except (ValueError, RecursionError) as error:
        raise place.error(
            f'{column} are {cell[:SHOWN_OF_A_CELL]!r}; write a JSON list of objects with a "Label", or nothing'
        ) from error


def _label(entity: object) -> str:
    label = entity.get("Label") if isinstance(entity, dict) else None
    if not isinstance(label, str):
        raise ValueError("an entity without label")
    return label.strip()


def _tags(labels: list[str]) -> tuple[str, ...]:
    """In their order, each once however it is capitalised, no more than an item may have."""
    different: dict[str, str] = {}
    for label in filter(None, labels):
        different.setdefault(label.casefold(), label)
    return tuple(different.values())[:MOST_TAGS]


@dataclass(slots=True)
class MindRows:
    """One split, read row by row: no more is kept than the ids met and each user's earliest history. Rows of one
    user share one history, as its words are the same in all of them."""

    path: Path
    split: str
    items: tuple[Item, ...]
    dropped: Counter[str]
    """Grows as rows are read."""
    _entries: dict[str, HistoryEntry] = field(default_factory=dict)  # one per item that may be clicked
    _seen: set[str] = field(default_factory=set)  # impression ids
    _first: dict[str, tuple[float, tuple[HistoryEntry, ...]]] = field(default_factory=dict)

    def impressions(self) -> Iterator[tuple[int, Impression]]:
        """Each impression that can be used with the number of its row, from 0; for one walk. Raises DatasetError
        for a row that cannot be read."""
        self._entries = {item.item_id: HistoryEntry(item.item_id, "click") for item in self.items}
        for row, (place, line) in enumerate(numbered_lines(self.path)):
            shown = self._impression(place, line)
            if shown is not None:
                yield row, shown

    def labelled(self) -> bool:
        """Whether the first row says what was clicked: the published test split does not."""
        for _, line in numbered_lines(self.path):
            return any(shown[-2:] in ("-0", "-1") for shown in line.rpartition("\t")[2].split()[:1])
        return True

    def histories(self) -> Iterator[Interaction]:
        """Every user's history once, as clicks; complete after the walk."""
        for user_id, (time, history) in self._first.items():
            for place, entry in enumerate(history):
                clicked_at = time - HISTORY_STEP_S * (len(history) - place)
                event_id = f"mind-{user_id}-history-{place}-{entry.item_id}"
                yield Interaction(event_id, user_id, entry.item_id, "click", clicked_at)

    def _impression(self, place: Place, line: str) -> Impression | None:
        cells = line.split("\t")
        if len(cells) != BEHAVIOR_COLUMNS:
            raise place.error(
                f"{len(cells)} columns; write {BEHAVIOR_COLUMNS}, tab separated: impression id, user id, "
                "time, history, impressions"
            )
        impression_id, user_id, raw_time, raw_history, raw_candidates = (cell.strip() for cell in cells)
        if not impression_id or not user_id:
            raise place.error("the impression id or the user id is empty; give both")
        time = _parse_time(place, raw_time)
        if impression_id in self._seen:
            self.dropped["impression listed twice"] += 1
            return None
        self._seen.add(impression_id)
        history = self._history(user_id, time, raw_history)
        candidates = self._candidates(place, raw_candidates)
        if not candidates:
            self.dropped["impression without known candidate"] += 1
            return None
        return Impression(impression_id, user_id, time, history, candidates, self.split)

    def _history(self, user_id: str, time: float, text: str) -> tuple[HistoryEntry, ...]:
        history = tuple(self._entries[news] for news in text.split() if self._known(news, "history"))
        earliest, known = self._first.get(user_id, (time, history))
        history = known if known == history else history
        if user_id not in self._first or time < earliest:
            self._first[user_id] = (time, history)
        return history

    def _known(self, news: str, where: str) -> bool:
        if news in self._entries:
            return True
        self.dropped[f"{where} of unknown news"] += 1
        return False

    def _candidates(self, place: Place, text: str) -> tuple[Candidate, ...]:
        candidates: dict[str, Candidate] = {}
        for position, shown in enumerate(text.split(), start=1):
            news, dash, label = shown.rpartition("-")
            if not dash or label not in ("0", "1"):
                raise place.error(
                    f"candidate {shown!r} has no label; write id-0 or id-1 (the test split is unlabelled)"
                )
            if news in candidates:
                self.dropped["candidate listed twice"] += 1
            elif self._known(news, "candidate"):
                # Positions count what was shown, dropped candidates included: bias belongs to the place.
                candidates[news] = Candidate(news, 1 if label == "1" else 0, position)
        return tuple(candidates.values())


def _parse_time(place: Place, text: str) -> float:
    found = _TIME.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        month, day, year, hour, minute, second = (int(part) for part in found.groups()[:6])
        if not 1 <= hour <= 12:
            raise ValueError
        hour = hour % 12 + (12 if found[7] == "PM" else 0)
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        raise place.error(f"time is {text!r}; write it like 11/15/2019 9:55:12 AM") from None
