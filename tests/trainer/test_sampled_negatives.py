"""Slates of positives alone are given negatives that could have been shown; all other slates stay as they are."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.trainer.assembly import CorpusOptions
from services.trainer.corpora import open_corpus
from services.trainer.corpus import Corpus, Example
from services.trainer.event_log import EventLog, LoggedAct, LoggedPage, corpus_of_log
from shared.datasets import Interaction, Item
from tests.trainer.data_folders import jsonlines_folder, mind_split, slate

WHOLE = CorpusOptions(valid_share=0.0, test_share=0.0, least_positives=1)
LETTERS = "abcdefghijklmnopqrst"
SHOWN = {"candidates": [{"item_id": "a", "label": 1, "position": 3}, {"item_id": "b", "label": 1, "position": 1}]}


def negatives(corpus: Corpus, example: Example) -> list[str]:
    return sorted(corpus.items[row].item_id for row in example.candidates[example.labels[:, 0] == 0])


def positives(corpus: Corpus, example: Example) -> list[str]:
    return sorted(corpus.items[row].item_id for row in example.candidates[example.labels[:, 0] == 1])


def drawn(corpus: Corpus, split: str = "train") -> dict[str, list[str]]:
    return {example.impression_id: negatives(corpus, example) for example in corpus.splits[split]}


def published(folder: Path, **at: float) -> Path:
    rows = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    rows = [{**row, "published_at": at.get(row["item_id"])} for row in rows]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_every_positive_of_a_slate_without_negatives_gets_as_many_as_a_rating(tmp_path: Path) -> None:
    rows = [slate(1, None, "A"), slate(2, None, "BC", user_id="v"), slate(3, None, "Abc", user_id="w")]
    corpus = open_corpus(jsonlines_folder(tmp_path, LETTERS, train=rows), replace(WHOLE, negatives=3))
    one, two, logged = corpus.splits["train"]
    assert [(positives(corpus, each), len(negatives(corpus, each))) for each in (one, two)] == [
        (["a"], 3),
        (["b", "c"], 6),
    ]
    assert all(len(set(each.candidates.tolist())) == len(each.candidates) for each in (one, two))
    assert (logged.candidates.tolist(), logged.labels[:, 0].tolist()) == ([0, 1, 2], [1, 0, 0])
    assert corpus.sampled == {"train": 2}
    assert (one.candidates.dtype, one.labels.dtype) == (np.int32, np.float32)


def test_slates_with_logged_negatives_or_nothing_chosen_leave_the_corpus_as_it_was(tmp_path: Path) -> None:
    rows = [slate(1, 10, "aB"), slate(2, 20, "ab"), slate(3, 30, "ABc")]
    folder = jsonlines_folder(tmp_path, LETTERS, train=rows)
    corpus = open_corpus(folder, WHOLE)
    assert (corpus.sampled, [len(each.candidates) for each in corpus.splits["train"]]) == ({}, [2, 2, 3])
    assert corpus.fingerprint == open_corpus(folder, replace(WHOLE, negatives=9, seed=5)).fingerprint


def test_judgements_of_one_item_at_a_time_lack_nothing(tmp_path: Path) -> None:
    rows = [slate(1, 10, "A"), slate(2, 20, "b"), slate(3, 30, "AB")]
    corpus = open_corpus(jsonlines_folder(tmp_path, LETTERS, train=rows), WHOLE)
    assert [len(each.candidates) for each in corpus.splits["train"]] == [1, 1, 2 + 8]
    assert corpus.sampled == {"train": 1}


def test_nothing_is_drawn_that_the_user_acted_on_in_the_training_time(tmp_path: Path) -> None:
    history = [("c", "view", None), ("d", "dislike", None), ("e", "like", None)]
    rows = [slate(1, None, "A", history=history), slate(2, None, "B"), slate(3, None, "F", user_id="v")]
    corpus = open_corpus(jsonlines_folder(tmp_path, "abcdefgh", train=rows), replace(WHOLE, negatives=50))
    assert drawn(corpus) == {"1": [*"fgh"], "2": [*"fgh"], "3": [*"abcdegh"]}


def test_nothing_is_drawn_that_was_not_yet_published_or_seen(tmp_path: Path) -> None:
    rows = [
        slate(1, 10, "A"),
        slate(2, 20, "B", user_id="v"),
        slate(3, 30, "C", user_id="w", history=[("d", "like", 5)]),
    ]
    folder = published(jsonlines_folder(tmp_path, "abcdefg", train=rows, test=[slate(4, 40, "fA")]), e=20.0, a=99.0)
    corpus = open_corpus(folder, replace(WHOLE, negatives=50))
    # g is never seen and has no date: nothing speaks against it. a was seen before it is said to be published.
    assert drawn(corpus) == {"1": [*"dg"], "2": [*"adeg"], "3": [*"abeg"]}


def test_slates_without_time_may_be_given_anything(tmp_path: Path) -> None:
    folder = published(jsonlines_folder(tmp_path, "abcd", train=[slate(1, None, "A")]), d=1e9)
    assert drawn(open_corpus(folder, WHOLE)) == {"1": [*"bcd"]}


def test_where_there_is_nothing_to_draw_a_slate_stays_and_is_not_counted(tmp_path: Path) -> None:
    rows = [slate(1, 10, "AB"), slate(2, 20, "C", user_id="v")]
    corpus = open_corpus(jsonlines_folder(tmp_path, "abc", train=rows), WHOLE)
    assert (drawn(corpus), corpus.sampled) == ({"1": [], "2": ["a", "b"]}, {"train": 1})


def test_positions_of_what_was_shown_stay_and_the_drawn_have_none(tmp_path: Path) -> None:
    folder = jsonlines_folder(tmp_path, LETTERS, train=[{**slate(1, 10, ""), **SHOWN}])
    published(folder, **dict.fromkeys(LETTERS, 0.0))
    (example,) = open_corpus(folder, WHOLE).splits["train"]
    assert example.positions is not None
    places = dict(zip(example.candidates.tolist(), example.positions.tolist(), strict=True))
    assert (places.pop(0), places.pop(1), set(places.values())) == (3, 1, {0})
    assert len(places) == 8


def test_a_given_held_out_split_stays_as_it_is_and_one_that_is_cut_off_train_does_not(tmp_path: Path) -> None:
    rows = [slate(number, None, "A", user_id=f"u{number}") for number in range(10)]
    given = jsonlines_folder(tmp_path, LETTERS, train=rows, valid=[slate(20, None, "A")], test=[slate(21, None, "AB")])
    corpus = open_corpus(given, CorpusOptions())
    assert (drawn(corpus, "valid"), drawn(corpus, "test")) == ({"20": []}, {"21": []})
    assert corpus.sampled == {"train": 10}
    (given / "impressions.valid.jsonl").unlink()
    corpus = open_corpus(given, CorpusOptions())
    assert (drawn(corpus, "valid"), drawn(corpus, "test")) == ({"9": [*LETTERS[1:]]}, {"21": []})
    assert corpus.sampled == {"train": 9, "valid": 1}


def test_what_is_chosen_later_does_not_show_in_training_slates(tmp_path: Path) -> None:
    """An item that is never a negative of the user who chooses it later would tell what is measured."""
    rows = [slate(number, None, letter) for number, letter in enumerate("ABCDEFGHIJ")]
    corpus = open_corpus(jsonlines_folder(tmp_path, "abcdefghij", train=rows), CorpusOptions(negatives=9))
    assert drawn(corpus) == {str(number): ["j"] for number in range(9)}


def test_the_seed_decides_what_is_drawn_and_in_which_order(tmp_path: Path) -> None:
    folder = jsonlines_folder(tmp_path, LETTERS, train=[slate(n, None, "A", user_id=f"u{n}") for n in range(20)])
    first, again, other = (open_corpus(folder, replace(WHOLE, seed=seed)) for seed in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert drawn(first) == drawn(again) != drawn(other)
    assert len({int(example.labels[:, 0].argmax()) for example in first.splits["train"]}) > 1


def test_half_of_the_draws_follow_how_often_items_were_chosen(tmp_path: Path) -> None:
    rows = [slate(n, None, "A", user_id=f"u{n}") for n in range(600)]
    rows += [slate(1000 + n, None, "B", user_id=f"v{n}") for n in range(600)]
    corpus = open_corpus(jsonlines_folder(tmp_path, LETTERS, train=rows), replace(WHOLE, negatives=1))
    counts = Counter(letter for letters in drawn(corpus).values() for letter in letters)
    # Of those who chose a: half the weight uniform over 19 others and a, a quarter on b.
    weight = 0.25 + 0.5 / 20
    assert counts["b"] / 600 == pytest.approx(weight / (weight + 18 * 0.5 / 20), abs=0.06)


def test_mind_and_the_event_log_are_completed_too(tmp_path: Path) -> None:
    rows = [f"{n}|u{n}|1/1/2020 1:0{n}:00 AM|{'ABCDEF'[n]}|G-1" for n in range(6)]
    mind = open_corpus(mind_split(tmp_path, "ABCDEFG", *rows), WHOLE)
    assert mind.sampled == {"train": 6}
    assert drawn(mind)["0"] == ["B"]  # all that was clicked by then, histories being taken to end a minute before
    acts = [LoggedAct(Interaction(f"e{n}", f"u{n}", "a", "click", 100.0 + n), f"p{n}") for n in range(20)]
    pages = [LoggedPage(f"p{n}", f"u{n}", 100.0 + n, (("a", 1),)) for n in range(20)]
    items = [Item(letter, letter, published_at=1.0) for letter in LETTERS]
    log = corpus_of_log(EventLog(acts, pages, items), CorpusOptions(least_positives=1))
    assert log.sampled == {"train": 16, "valid": 2, "test": 2}
    assert all(negatives(log, example) for examples in log.splits.values() for example in examples)


def test_few_shot_rows_are_completed_from_what_they_tell(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [slate(n, None, letter) for n, letter in enumerate("ABCD")]
    corpus = open_corpus(jsonlines_folder(tmp_path, "abcd", train=rows), replace(WHOLE, train_rows=(1,)))
    assert drawn(corpus) == {"1": [*"acd"]}
