"""What was exported is read back as it was, and what was changed by hand is refused with file and line."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.trainer.assembly import CorpusOptions
from services.trainer.corpora import open_corpus
from services.trainer.event_log import EventLog, LoggedAct, LoggedPage, corpus_of_log
from services.trainer.exported_log import is_exported, read_exported, write_exported
from services.trainer.sources import open_source
from shared.datasets import DatasetError, Interaction, Item
from tests.trainer.data_folders import jsonlines_folder, slate

LOG = EventLog(
    acts=[
        LoggedAct(Interaction("e1", "s", "a", "click", 100.25), "r"),
        LoggedAct(Interaction("e2", "s", "b", "dwell", 1_768_478_400.123456, 61.5)),
    ],
    pages=[LoggedPage("r", "s", 100.0, (("a", 1), ("ü\u2028", 2))), LoggedPage("r/3", "t", 101.0, (("b", 3),))],
    items=[
        Item("a", "Zwei Räder", tags=("x", "y"), published_at=5.5, price_micros=1_990_000, currency="EUR"),
        Item("b", "B", summary="long", language="de", duration_s=3.25, url="https://example.org/b"),
        Item("ü\u2028", "C"),
    ],
    dropped={"entry of a kind that is not known here": 2},
)


def test_the_log_is_read_back_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "log"
    write_exported(folder, LOG)
    assert is_exported(folder)
    assert read_exported(folder) == LOG
    assert [path.name for path in folder.parent.iterdir()] == ["log"]


def test_an_exported_log_is_a_source_like_any_other(tmp_path: Path) -> None:
    options = CorpusOptions(valid_share=0, test_share=0, least_positives=1)
    write_exported(tmp_path / "log", LOG)
    corpus = open_source(tmp_path / "log", options)
    assert corpus.fingerprint == corpus_of_log(LOG, options).fingerprint
    assert corpus.actions == ("click",)
    other = tmp_path / "other"
    other.mkdir()
    jsonlines_folder(other, "ab", train=[slate(1, 100, "aB"), slate(2, 200, "Ab")])
    assert open_source(other, options).fingerprint == open_corpus(other, options).fingerprint


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    write_exported(tmp_path / "log", LOG)
    with pytest.raises(DatasetError, match="exists already"):
        write_exported(tmp_path / "log", replace(LOG, acts=[]))
    assert read_exported(tmp_path / "log") == LOG


def test_what_a_killed_export_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    names = [".tmp-log-0123456789abcdef", ".tmp-log-2-0123456789abcdef", ".tmp-log-notes", ".tmp-dialog"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "acts.jsonl").write_text("what a user did")
    write_exported(tmp_path / "log", LOG)
    assert {path.name for path in tmp_path.iterdir()} == {"log", *names[1:]}


class Watched(list[LoggedAct]):
    """Acts that note how their file looks by the time when the last of them is asked for."""

    def __init__(self, acts: list[LoggedAct], parent: Path) -> None:
        super().__init__(acts)
        self.parent = parent
        self.seen: list[tuple[str, int]] = []

    def __iter__(self) -> Iterator[LoggedAct]:
        yield from self[:-1]
        (unfinished,) = self.parent.iterdir()
        self.seen.append((oct(unfinished.stat().st_mode & 0o777), (unfinished / "acts.jsonl").stat().st_size))
        yield self[-1]


def test_rows_are_written_as_they_come_where_only_the_owner_may_look(tmp_path: Path) -> None:
    acts = Watched(LOG.acts * 1000, tmp_path)
    write_exported(tmp_path / "log", replace(LOG, acts=acts))
    ((mode, size),) = acts.seen
    assert mode == "0o700"
    assert size > (tmp_path / "log" / "acts.jsonl").stat().st_size / 2
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700


def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    unwritable = replace(LOG, pages=[LoggedPage("r", "\ud800", 1.0, (("a", 1),))])
    with pytest.raises(UnicodeEncodeError):
        write_exported(tmp_path / "log", unwritable)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        ("acts.jsonl", "{}", "acts.jsonl:3: no row of an exported log"),
        ("acts.jsonl", "[]", "acts.jsonl:3: no row"),
        ("acts.jsonl", "{", "acts.jsonl:3: no row"),
        ("pages.jsonl", '{"page_id": "q", "user": "s", "time": 1, "items": [["a"]]}', "pages.jsonl:3: no row"),
        ("pages.jsonl", '{"page_id": "q", "user": "s", "time": 1e13, "items": []}', "pages.jsonl:3: time is"),
        ("items.jsonl", '{"item_id": "x"}', "items.jsonl:4: title is missing"),
        ("dropped.json", "[", "dropped.json: no counts"),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, name: str, row: str, words: str) -> None:
    write_exported(tmp_path / "log", LOG)
    with (tmp_path / "log" / name).open("a") as file:
        file.write(row + "\n")
    with pytest.raises(DatasetError) as caught:
        read_exported(tmp_path / "log")
    assert words in str(caught.value)
