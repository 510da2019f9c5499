"""The project's JSON lines become a data set, or an error that says what to change."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from shared.datasets import Candidate, DatasetError, HistoryEntry, Item, open_dataset, read_jsonlines
from shared.datasets.jsonlines import read_impressions

REAL = Path(__file__).parents[4] / "shared" / "data" / "tallrec-movie"
ITEMS: list[Any] = [
    {"item_id": "a", "title": "A film", "summary": "s", "category": "c", "tags": ["t", "t"], "publisher": "p",
     "published_at": 5},
    {"item_id": "b", "title": "Another"},
]  # fmt: skip
SHOWN: dict[str, Any] = {
    "impression_id": "1",
    "user_id": "u",
    "time": 100,
    "history": [{"item_id": "a", "action": "like", "time": 40}, {"item_id": "b", "action": "view"}],
    "candidates": [{"item_id": "b", "label": 1, "position": 2}, {"item_id": "a", "label": 0}],
}


def folder(path: Path, items: list[Any] | None = None, **splits: list[Any]) -> Path:
    (path / "items.jsonl").write_text(lines(ITEMS if items is None else items), encoding="utf-8")
    for split, rows in splits.items():
        (path / f"impressions.{split}.jsonl").write_text(lines(rows), encoding="utf-8")
    return path


def lines(rows: list[Any]) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def test_items_keep_every_field_and_default_what_is_missing(tmp_path: Path) -> None:
    data = read_jsonlines(folder(tmp_path))
    assert data.items == (
        Item("a", "A film", "s", "c", ("t",), "p", 5.0),
        Item("b", "Another"),
    )
    assert (data.source, data.now, data.interactions, data.impressions) == ("jsonlines", 0.0, (), ())


def test_the_other_item_fields_may_stand_under_their_own_names(tmp_path: Path) -> None:
    row = {"item_id": "a", "title": "T", "domain": "shop", "price_micros": 9_990_000, "currency": "EUR",
           "url": "https://example.com", "unknown": [1]}  # fmt: skip
    item = read_jsonlines(folder(tmp_path, [row])).items[0]
    assert (item.domain, item.price_micros, item.currency, item.url) == (
        "shop",
        9_990_000,
        "EUR",
        "https://example.com",
    )


def test_impressions_keep_history_labels_positions_and_their_split(tmp_path: Path) -> None:
    shown = read_jsonlines(folder(tmp_path, train=[SHOWN])).impressions[0]
    assert (shown.impression_id, shown.user_id, shown.time, shown.split) == ("1", "u", 100.0, "train")
    assert shown.history == (HistoryEntry("a", "like", 40.0), HistoryEntry("b", "view", None))
    assert shown.candidates == (Candidate("b", 1, 2), Candidate("a", 0, None))


def test_timed_history_becomes_interactions_once_however_often_it_is_told(tmp_path: Path) -> None:
    data = read_jsonlines(folder(tmp_path, train=[SHOWN, {**SHOWN, "impression_id": "2"}], test=[SHOWN]))
    assert [(e.user_id, e.item_id, e.action, e.time) for e in data.interactions] == [("u", "a", "like", 40.0)]
    assert data.interactions[0].event_id.startswith("jl-")
    assert data.now == 101.0
    assert data == read_jsonlines(tmp_path)


def test_splits_can_be_read_alone_and_the_same_impression_id_may_stand_in_two(tmp_path: Path) -> None:
    place = folder(tmp_path, train=[SHOWN], test=[{**SHOWN, "time": None}])
    assert [(s.split, s.time) for s in read_jsonlines(place).impressions] == [
        ("test", None),
        ("train", 100.0),
    ]
    assert [s.split for s in read_jsonlines(place, ["train"]).impressions] == ["train"]
    with pytest.raises(DatasetError, match=r"no impressions.valid.jsonl; name one of: test, train"):
        read_jsonlines(place, ["valid"])


def test_unknown_items_empty_titles_and_repeats_are_dropped_and_counted(tmp_path: Path) -> None:
    items = [*ITEMS, {"item_id": "c", "title": " "}, {"item_id": "a", "title": "Again"}]
    unknown = {**SHOWN, "impression_id": "2", "candidates": [{"item_id": "c", "label": 1}],
               "history": [{"item_id": "z", "action": "like"}]}  # fmt: skip
    data = read_jsonlines(folder(tmp_path, items, train=[SHOWN, SHOWN, unknown]))
    assert data.dropped == {
        "item without title": 1,
        "item listed twice": 1,
        "history of unknown item": 1,
        "candidate of unknown item": 1,
        "impression listed twice": 1,
        "impression without known candidate": 1,
    }


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"items.jsonl:3: not JSON"),
        ("[]", r"items.jsonl:3: a list; write one JSON object per line"),
        ({"title": "T"}, r"items.jsonl:3: item_id is None; write a non-empty string"),
        ({"item_id": 7, "title": "T"}, r"items.jsonl:3: item_id is 7"),
        ({"item_id": "c"}, r"items.jsonl:3: title is missing"),
        ({"item_id": "c", "title": 5}, r"items.jsonl:3: title is 5; write a string"),
        ({"item_id": "c", "title": "T", "tags": "x"}, r"items.jsonl:3: tags is 'x'; write a list of strings"),
        ({"item_id": "c", "title": "T", "published_at": "2020"}, r"items.jsonl:3: published_at is '2020'"),
        ('{"item_id": "c", "title": "T", "published_at": NaN}', r"items.jsonl:3: published_at is nan"),
        (
            {"item_id": "c", "title": "T", "published_at": 1_700_000_000_000},  # milliseconds
            r"items.jsonl:3: published_at is 1700000000000.0, beyond the year 9999 .*; write unix seconds",
        ),
        ({"item_id": "c", "title": "T", "price_micros": 0.5}, r"items.jsonl:3: price_micros is 0.5"),
    ],
)
def test_a_broken_item_is_named_by_file_line_and_remedy(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_jsonlines(folder(tmp_path, [*ITEMS, row]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"impression_id": ""}, r"impressions.dev.jsonl:1: impression_id is ''"),
        ({"user_id": None}, r"impressions.dev.jsonl:1: user_id is None"),
        ({"time": "now"}, r"impressions.dev.jsonl:1: time is 'now'; write a number"),
        ({"time": 1_700_000_000_000}, r"impressions.dev.jsonl:1: time is .*; write unix seconds"),
        ({"time": True}, r"impressions.dev.jsonl:1: time is True"),
        ({"history": None}, r"impressions.dev.jsonl:1: history is not a list of objects"),
        (
            {"history": [{"item_id": "a", "action": "love"}]},
            r"action is 'love'; write one of impression, view",
        ),
        ({"candidates": ["a"]}, r"impressions.dev.jsonl:1: candidates is not a list of objects"),
        ({"candidates": [{"item_id": "a", "label": 2}]}, r"label is 2; write 0 or 1"),
        ({"candidates": [{"item_id": "a"}]}, r"label is None; write 0 or 1"),
        (
            {"candidates": [{"item_id": "a", "label": 1, "position": 0}]},
            r"position is 0.0; write a whole number",
        ),
    ],
)
def test_an_impression_that_cannot_be_read_is_named_by_file_line_and_remedy(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        read_jsonlines(folder(tmp_path, dev=[{**SHOWN, **change}]))


def test_impressions_are_read_one_by_one_with_the_numbers_of_their_rows(tmp_path: Path) -> None:
    unknown = {**SHOWN, "impression_id": "0", "candidates": [{"item_id": "z", "label": 1}]}
    folder(tmp_path, dev=[unknown, SHOWN, "{"])
    dropped: Counter[str] = Counter()
    walk = read_impressions(tmp_path / "impressions.dev.jsonl", "dev", {"a", "b"}, dropped)
    row, shown = next(walk)
    assert (row, shown.impression_id, shown.split) == (1, "1", "dev")
    assert dropped == {"candidate of unknown item": 1, "impression without known candidate": 1}
    with pytest.raises(DatasetError, match=r"impressions.dev.jsonl:3: not JSON"):
        next(walk)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real tallrec-movie folder is not at {REAL}")
def test_the_real_tallrec_folder_is_read_whole_and_in_the_papers_order() -> None:
    data = open_dataset(REAL)
    assert (data.source, len(data.items), len(data.impressions)) == ("jsonlines", 1250, 10_000)
    train = [shown.impression_id for shown in data.impressions if shown.split == "train"]
    assert train == [str(number) for number in range(8000)]
    assert all(len(shown.candidates) == 1 for shown in data.impressions)
