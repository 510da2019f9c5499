"""The event log as files: a folder that stays as it is, while the log goes on.

So a model can be trained, measured and compared on the same data, by several processes and again tomorrow, and a
training that was killed finds the data it began with. Nothing that training reads of the log is lost.

    items.jsonl    as in JSON lines (shared.datasets.jsonlines)
    acts.jsonl     {"event_id", "user", "item_id", "action", "time", "value", "recommendation_id"}
    pages.jsonl    {"page_id", "user", "time", "items": [[item id, position], …]}
    dropped.json   what of the log could not be used, and how often

Users are the log's pseudonyms, times unix seconds.
"""

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from services.trainer.event_log import EventLog, LoggedAct, LoggedPage
from shared.datasets import DatasetError, Interaction
from shared.datasets.jsonlines import ITEMS_FILE, read_items
from shared.datasets.rows import Place, numbered_lines
from shared.model.folders import TEMPORARY, flush_folder, temporary_sibling, write_flushed

_ACTS, _PAGES, _DROPPED = "acts.jsonl", "pages.jsonl", "dropped.json"
_FOR_THE_OWNER = 0o700
"""Mode of the folder, while it is written and after: it holds what users did."""

Read = TypeVar("Read")


def is_exported(folder: Path) -> bool:
    """Whether `folder` holds an exported log."""
    return (folder / _PAGES).is_file() and (folder / _ACTS).is_file()


def write_exported(folder: Path, log: EventLog) -> None:
    """Writes the log to a new folder, which appears whole or not at all, and which only its owner may open.

    Raises:
        DatasetError: when there is something at `folder` already.
        OSError: when the disk fails or is full.
    """
    make_way(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = temporary_sibling(folder)
    unfinished.mkdir(mode=_FOR_THE_OWNER)
    try:
        _write_rows(unfinished / ITEMS_FILE, map(asdict, log.items))
        _write_rows(unfinished / _ACTS, map(_act_row, log.acts))
        _write_rows(unfinished / _PAGES, map(_page_row, log.pages))
        write_flushed(unfinished / _DROPPED, json.dumps(dict(log.dropped)).encode())
        flush_folder(unfinished)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    flush_folder(folder.parent)


def make_way(folder: Path) -> None:
    """Removes what a killed export to `folder` left. Of two exports to one folder, the later one goes on.

    Raises:
        DatasetError: when there is something at `folder`.
        OSError: when what was left cannot be removed.
    """
    if folder.exists():
        raise DatasetError(f"{folder}: exists already; an exported log is never changed, so name a new folder")
    if not folder.parent.is_dir():
        return
    left = re.compile(re.escape(f"{TEMPORARY}{folder.name}-") + "[0-9a-f]{16}")
    for each in list(folder.parent.iterdir()):
        if left.fullmatch(each.name):
            # Under another name first, so that no export that is still at work makes half a folder a whole one.
            shutil.rmtree(each.rename(temporary_sibling(folder)))


def read_exported(folder: Path) -> EventLog:
    """The log that `write_exported` wrote.

    Raises:
        DatasetError: when a file is missing or a row malformed; names file and line.
    """
    dropped = Counter(_dropped(folder / _DROPPED))
    return EventLog(
        acts=_rows(folder / _ACTS, _act),
        pages=_rows(folder / _PAGES, _page),
        items=read_items(folder / ITEMS_FILE, dropped),
        dropped=dropped,
    )


def _write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One by one: a log may be large."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _act_row(act: LoggedAct) -> dict[str, Any]:
    done = act.interaction
    return {
        "event_id": done.event_id,
        "user": done.user_id,
        "item_id": done.item_id,
        "action": done.action,
        "time": done.time,
        "value": done.value,
        "recommendation_id": act.recommendation_id,
    }


def _page_row(page: LoggedPage) -> dict[str, Any]:
    return {"page_id": page.page_id, "user": page.subject, "time": page.time, "items": page.items}


def _act(row: Mapping[str, Any], place: Place) -> LoggedAct:
    time, value = place.time(row["time"], "time"), place.number(row["value"], "value")
    done = Interaction(
        str(row["event_id"]), str(row["user"]), str(row["item_id"]), place.action(row["action"]), time, value
    )
    return LoggedAct(done, str(row["recommendation_id"]))


def _page(row: Mapping[str, Any], place: Place) -> LoggedPage:
    items = tuple((str(item), int(position)) for item, position in row["items"])
    return LoggedPage(str(row["page_id"]), str(row["user"]), place.time(row["time"], "time"), items)


def _rows(path: Path, read: Callable[[Mapping[str, Any], Place], Read]) -> list[Read]:
    found = []
    for place, line in numbered_lines(path):
        try:
            found.append(read(json.loads(line), place))
        except DatasetError:
            raise
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise place.error("no row of an exported log; export the log again") from error
    return found


def _dropped(path: Path) -> dict[str, int]:
    try:
        return {str(why): int(count) for why, count in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path}: no counts of an exported log; export the log again") from error
