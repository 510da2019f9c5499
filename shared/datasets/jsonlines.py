"""The project's own format: items.jsonl and impressions.<split>.jsonl, one JSON object per line.

    {"item_id", "title", "summary"?, "category"?, "tags"?: [..], "publisher"?, "published_at"?}
    {"impression_id", "user_id", "time": unix seconds | null,
     "history": [{"item_id", "action", "time"?}] oldest first,
     "candidates": [{"item_id", "label": 0 | 1, "position"?}]}

Any other field of `Item` may stand in items.jsonl under its own name; names nobody knows are ignored."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.datasets.records import (
    Candidate,
    Dataset,
    DatasetError,
    HistoryEntry,
    Impression,
    Interaction,
    Item,
    in_time_order,
    short_id,
)
from shared.datasets.rows import Place, numbered_lines

ITEMS_FILE = "items.jsonl"

Json = dict[str, Any]


def read_jsonlines(folder: Path, splits: Sequence[str] = ()) -> Dataset:
    """Read items and the impressions of the splits named, or of all of them. Interactions are the
    histories' timed entries, each once; a candidate's label tells no action, so candidates add none. Raises
    DatasetError for a missing file or split and for a row that cannot be read."""
    dropped: Counter[str] = Counter()
    items = read_items(folder / ITEMS_FILE, dropped)
    known = {item.item_id for item in items}
    impressions = tuple(
        shown
        for split, path in split_files(folder, splits)
        for _, shown in read_impressions(path, split, known, dropped)
    )
    interactions = _interactions(impressions)
    times = [event.time for event in interactions]
    times += [shown.time for shown in impressions if shown.time is not None]
    return Dataset(
        name=folder.resolve().name,
        source="jsonlines",
        items=tuple(items),
        interactions=in_time_order(interactions),
        impressions=impressions,
        now=max(times, default=-1.0) + 1.0,
        dropped=dict(dropped),
    )


def split_files(folder: Path, wanted: Sequence[str] = ()) -> list[tuple[str, Path]]:
    """Names and files of the splits wanted, or of all there are. Raises DatasetError for one that is missing."""
    paths = folder.glob("impressions.*.jsonl")
    files = {path.name.removeprefix("impressions.").removesuffix(".jsonl"): path for path in paths}
    missing = sorted(set(wanted) - set(files))
    if missing:
        found = ", ".join(sorted(files)) or "none"
        raise DatasetError(f"{folder}: no impressions.{missing[0]}.jsonl; name one of: {found}")
    return [(split, files[split]) for split in (wanted or sorted(files))]


def _object(place: Place, line: str) -> Json:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise place.error(f"not JSON ({error}); write one JSON object per line") from error
    if not isinstance(row, dict):
        raise place.error(f"a {type(row).__name__}; write one JSON object per line")
    return row


def _text(place: Place, row: Json, name: str, default: str | None = None) -> str:
    """A string field. Without a default it must be there and not be empty."""
    value = row.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or (default is None and not value):
        raise place.error(f"{name} is {value!r}; write a {'' if default is not None else 'non-empty '}string")
    return value


def _number(place: Place, row: Json, name: str) -> float | None:
    value = row.get(name)
    if isinstance(value, str):
        raise place.error(f"{name} is {value!r}; write a number, without quotes, or null")
    return None if value is None else place.number(value, name)


def _time(place: Place, row: Json, name: str) -> float | None:
    seconds = _number(place, row, name)
    return None if seconds is None else place.time(seconds, name)


def _objects(place: Place, row: Json, name: str) -> list[Json]:
    value = row.get(name)
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise place.error(f'{name} is not a list of objects; write [{{"item_id": …}}, …]')
    return value


def read_items(path: Path, dropped: Counter[str]) -> list[Item]:
    """The items of a file; what is left out is counted in `dropped`. Raises DatasetError for a row that cannot be
    read."""
    items: dict[str, Item] = {}
    for place, line in numbered_lines(path):
        row = _object(place, line)
        item_id = _text(place, row, "item_id")
        if "title" not in row:
            raise place.error("title is missing; give every item a title")
        if not _text(place, row, "title", "").strip():
            dropped["item without title"] += 1
        elif item_id in items:
            dropped["item listed twice"] += 1
        else:
            items[item_id] = _item(place, row, item_id)
    return list(items.values())


def _item(place: Place, row: Json, item_id: str) -> Item:
    tags = row.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise place.error(f"tags is {tags!r}; write a list of strings")
    price = _number(place, row, "price_micros")
    if price is not None and price != int(price):
        raise place.error(f"price_micros is {price!r}; write a whole number of millionths")
    return Item(
        item_id=item_id,
        title=_text(place, row, "title").strip(),
        summary=_text(place, row, "summary", ""),
        category=_text(place, row, "category", ""),
        tags=tuple(dict.fromkeys(tags)),
        publisher=_text(place, row, "publisher", ""),
        published_at=_time(place, row, "published_at"),
        domain=_text(place, row, "domain", ""),
        language=_text(place, row, "language", "en"),
        price_micros=None if price is None else int(price),
        currency=_text(place, row, "currency", ""),
        duration_s=_number(place, row, "duration_s"),
        url=_text(place, row, "url", ""),
        image_url=_text(place, row, "image_url", ""),
    )


def read_impressions(
    path: Path, split: str, known: Set[str], dropped: Counter[str]
) -> Iterator[tuple[int, Impression]]:
    """Each impression of a file that can be used with the number of its row, from 0, read as it is asked for.
    Items outside `known` are left out and counted. Raises DatasetError for a row that cannot be read."""
    rows = _Impressions(known, split, dropped)
    for number, (place, line) in enumerate(numbered_lines(path)):
        shown = rows.impression(place, _object(place, line))
        if shown is not None:
            yield number, shown


@dataclass(slots=True)
class _Impressions:
    """Makes impressions row by row; what refers to unknown items is left out and counted."""

    known: Set[str]
    split: str
    dropped: Counter[str]
    seen: set[str] = field(default_factory=set)  # impression ids

    def impression(self, place: Place, row: Json) -> Impression | None:
        impression_id, user_id = _text(place, row, "impression_id"), _text(place, row, "user_id")
        time = _time(place, row, "time")
        history = self._history(place, row)
        candidates = self._candidates(place, row)
        if impression_id in self.seen:
            self.dropped["impression listed twice"] += 1
            return None
        if not candidates:
            self.dropped["impression without known candidate"] += 1
            return None
        self.seen.add(impression_id)
        return Impression(impression_id, user_id, time, history, candidates, self.split)

    def _history(self, place: Place, row: Json) -> tuple[HistoryEntry, ...]:
        entries: list[HistoryEntry] = []
        for entry in _objects(place, row, "history"):
            item_id, action = _text(place, entry, "item_id"), place.action(entry.get("action"))
            time = _time(place, entry, "time")
            if item_id in self.known:
                entries.append(HistoryEntry(item_id, action, time))
            else:
                self.dropped["history of unknown item"] += 1
        return tuple(entries)

    def _candidates(self, place: Place, row: Json) -> tuple[Candidate, ...]:
        candidates: list[Candidate] = []
        for entry in _objects(place, row, "candidates"):
            item_id, label = _text(place, entry, "item_id"), entry.get("label")
            if isinstance(label, bool) or label not in (0, 1):
                raise place.error(f"label is {label!r}; write 0 or 1")
            position = _number(place, entry, "position")
            if position is not None and (position < 1 or position != int(position)):
                raise place.error(f"position is {position!r}; write a whole number, 1 for the first place")
            if item_id in self.known:
                where = None if position is None else int(position)
                candidates.append(Candidate(item_id, 1 if label else 0, where))
            else:
                self.dropped["candidate of unknown item"] += 1
        return tuple(candidates)


def _interactions(impressions: Iterable[Impression]) -> list[Interaction]:
    """The timed entries of all histories; the same action told by several impressions counts once."""
    events: dict[str, Interaction] = {}
    for shown in impressions:
        for entry in shown.history:
            if entry.time is not None:
                key = (shown.user_id, entry.item_id, entry.action, entry.time)
                event_id = f"jl-{short_id(*key)}"
                if event_id not in events:
                    events[event_id] = Interaction(event_id, *key)
    return list(events.values())
