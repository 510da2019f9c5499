"""MIND folders become corpora: splits by folder, histories without times, and what was known before the test."""

from pathlib import Path

import pytest

from services.trainer.assembly import CorpusOptions
from services.trainer.corpora import open_corpus
from services.trainer.corpus import Corpus, Example
from shared.datasets import DatasetError
from tests.trainer.data_folders import mind_split

WHOLE = CorpusOptions(valid_share=0.0, test_share=0.0, least_positives=1)


def acts(corpus: Corpus) -> list[tuple[str, str, float]]:
    return [(corpus.items[event.item].item_id, event.action, event.time) for event in corpus.events]


def past(corpus: Corpus, example: Example) -> list[tuple[str, str, float | None]]:
    return [(corpus.items[each.item].item_id, each.action, each.time) for each in example.history]


def test_mind_keeps_dev_apart_and_takes_validation_from_train(tmp_path: Path) -> None:
    rows = [f"{n}|u{n}|11/15/2019 9:{n:02}:00 AM|A B|C-1 D-0" for n in range(10)]
    mind_split(tmp_path / "MINDsmall_train", "ABCD", *rows)
    mind_split(tmp_path / "MINDsmall_dev", "CE", "1|u0|11/16/2019 9:00:00 AM|C|E-1 C-0")
    mind_split(tmp_path / "MINDsmall_test", "CE", "1|u0|11/17/2019 9:00:00 AM|C|E C")
    corpus = open_corpus(tmp_path, CorpusOptions())
    assert {name: len(examples) for name, examples in corpus.splits.items()} == {"train": 9, "valid": 1, "dev": 1}
    assert [item.item_id for item in corpus.items] == ["A", "B", "C", "D", "E"]
    assert past(corpus, corpus.splits["train"][0]) == [("B", "click", None), ("A", "click", None)]
    assert corpus.splits["dev"][0].candidates.tolist() == [4, 2]
    assert corpus.dropped == {"split without labels: test": 1}


def test_what_mind_knows_are_histories_and_clicks_of_train_before_validation(tmp_path: Path) -> None:
    rows = [f"{n}|u{n}|1/1/2020 1:0{n}:00 AM|A|B-1 C-0" for n in range(4)]
    corpus = open_corpus(mind_split(tmp_path, "ABC", *rows), CorpusOptions(valid_share=0.25, test_share=0.25))
    cut = corpus.splits["valid"][0].time
    assert cut is not None
    opening = cut - 120.0
    assert acts(corpus) == [
        ("A", "click", opening - 60.0),
        ("A", "click", opening),
        ("B", "click", opening),
        ("A", "click", opening + 60.0),
        ("B", "click", opening + 60.0),
    ]


def test_slates_of_one_user_share_one_past_in_memory(tmp_path: Path) -> None:
    rows = [f"{n}|u|1/1/2020 1:0{n}:00 AM|A B|C-1" for n in range(3)]
    corpus = open_corpus(mind_split(tmp_path, "ABC", *rows), WHOLE)
    histories = [example.history for example in corpus.splits["train"]]
    assert len(histories[0]) == 2
    assert len({id(history) for history in histories}) == 1


def test_a_broken_row_of_minds_dev_split_is_named_by_file_and_line(tmp_path: Path) -> None:
    mind_split(tmp_path / "train", "AB", "1|u|1/1/2020 1:00:00 AM||A-1")
    mind_split(tmp_path / "dev", "AB", "1|u|1/2/2020 1:00:00 AM||A-1", "2|u|yesterday||A-1")
    with pytest.raises(DatasetError, match=r"dev/behaviors.tsv:2: time is 'yesterday'"):
        open_corpus(tmp_path, CorpusOptions())
