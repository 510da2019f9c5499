"""Small data sets on disk, as tests of corpora need them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Rows = Sequence[Mapping[str, Any]]


def jsonlines_folder(folder: Path, items: Sequence[str], **splits: Rows) -> Path:
    """items.jsonl with a title for every id, and impressions.<split>.jsonl; "_" in a split's name becomes "-"."""
    _write(folder / "items.jsonl", [{"item_id": item, "title": f"Title {item}"} for item in items])
    for split, rows in splits.items():
        _write(folder / f"impressions.{split.replace('_', '-')}.jsonl", rows)
    return folder


def slate(number: int, time: float | None, candidates: str, **fields: Any) -> dict[str, Any]:
    """A slate of one-letter items; those in capitals were chosen. History: (item, action, time) in `history`."""
    history = [{"item_id": item, "action": action, "time": at} for item, action, at in fields.pop("history", ())]
    shown = [{"item_id": each.lower(), "label": int(each.isupper())} for each in candidates]
    return {
        "impression_id": str(number),
        "user_id": "u",
        "time": time,
        "history": history,
        "candidates": shown,
        **fields,
    }


def movielens_folder(folder: Path, ratings: Sequence[tuple[str, str, float, int]], films: int = 80) -> Path:
    """movies.csv with films "1" to `films`, and ratings.csv of (user, film, stars, time)."""
    movies = "".join(f"{number},Film {number} (1999),Drama|Comedy\n" for number in range(1, films + 1))
    (folder / "movies.csv").write_text("movieId,title,genres\n" + movies)
    rows = "".join(f"{user},{film},{stars},{time}\n" for user, film, stars, time in ratings)
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + rows)
    return folder


def mind_split(folder: Path, news: str, *rows: str) -> Path:
    """news.tsv with one-letter ids, behaviors.tsv of rows whose tabs are written as "|"."""
    folder.mkdir(exist_ok=True)
    (folder / "news.tsv").write_text("".join(f"{letter}\tsport\tchess\tNews {letter}\t\t\t\t\n" for letter in news))
    (folder / "behaviors.tsv").write_text("".join(row.replace("|", "\t") + "\n" for row in rows))
    return folder


def _write(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
