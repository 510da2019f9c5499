"""MIND, the Microsoft news data set: news.tsv and behaviors.tsv without headers, tab separated, never
quoted. Times carry no zone and are read as UTC. Histories carry no times at all: each user's becomes clicks
one minute apart that end just before the user's first impression.
https://github.com/msnews/msnews.github.io"""

import re
from collections import Counter
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
    place = mind_folder(folder, split)
    if place is None:
        raise DatasetError(
            f"{folder}: no {NEWS_FILE} with {BEHAVIORS_FILE} here nor in a folder named {split} "
            f"or MINDsmall_{split}; unpack the MIND archive here"
        )
    dropped: Counter[str] = Counter()
    items = _read_news(place / NEWS_FILE, dropped)
    behaviors = _Behaviors({item.item_id for item in items}, split if place != folder else "", dropped)
    for row, line in numbered_lines(place / BEHAVIORS_FILE):
        behaviors.add(row, line)
    interactions = behaviors.interactions()
    times = [shown.time for shown in behaviors.impressions if shown.time is not None]
    return Dataset(
        name=folder.resolve().name,
        source="mind",
        items=tuple(items),
        interactions=in_time_order(interactions),
        impressions=tuple(behaviors.impressions),
        now=max(times, default=-1.0) + 1.0,
        dropped=dict(dropped),
    )


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
        if not title:
            dropped["news without title"] += 1
        elif item_id in items:
            dropped["news listed twice"] += 1
        else:
            tags = (subcategory,) if subcategory else ()
            items[item_id] = Item(item_id, title, summary, category, tags, domain="news", url=url)
    return list(items.values())


@dataclass(slots=True)
class _Behaviors:
    """Collects impressions row by row, and remembers each user's earliest one: its history is the user's
    past."""

    known: set[str]
    split: str
    dropped: Counter[str]
    impressions: list[Impression] = field(default_factory=list)
    clicks: list[Interaction] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)  # impression ids
    first: dict[str, tuple[float, tuple[HistoryEntry, ...]]] = field(default_factory=dict)

    def add(self, place: Place, line: str) -> None:
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
        if impression_id in self.seen:
            self.dropped["impression listed twice"] += 1
            return
        self.seen.add(impression_id)
        past = [news for news in raw_history.split() if self._known(news, "history")]
        history = tuple(HistoryEntry(news, "click") for news in past)
        if user_id not in self.first or time < self.first[user_id][0]:
            self.first[user_id] = (time, history)
        candidates = self._candidates(place, raw_candidates)
        if not candidates:
            self.dropped["impression without known candidate"] += 1
            return
        self.impressions.append(Impression(impression_id, user_id, time, history, candidates, self.split))
        for clicked in (candidate.item_id for candidate in candidates if candidate.label):
            event_id = f"mind-{impression_id}-{user_id}-{clicked}"
            self.clicks.append(Interaction(event_id, user_id, clicked, "click", time))

    def _known(self, news: str, where: str) -> bool:
        if news in self.known:
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

    def interactions(self) -> list[Interaction]:
        """Every user's history, once, and every click."""
        events: list[Interaction] = []
        for user_id, (time, history) in self.first.items():
            for place, entry in enumerate(history):
                clicked_at = time - HISTORY_STEP_S * (len(history) - place)
                event_id = f"mind-{user_id}-history-{place}-{entry.item_id}"
                events.append(Interaction(event_id, user_id, entry.item_id, "click", clicked_at))
        return events + self.clicks


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
