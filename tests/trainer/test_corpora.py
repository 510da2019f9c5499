"""Slates as they were shown become corpora: splits, histories, labels, and what was known before the test."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.trainer.assembly import CorpusOptions
from services.trainer.corpora import corpus_of, open_corpus
from services.trainer.corpus import Corpus, Event, Example, Past
from shared.datasets import (
    Candidate,
    Dataset,
    DatasetError,
    HistoryEntry,
    Impression,
    Interaction,
    Item,
    WorldConfig,
    generate_world,
)
from tests.trainer.data_folders import jsonlines_folder, slate

REAL = Path(__file__).parents[3] / "shared" / "data" / "tallrec-movie"
WHOLE = CorpusOptions(valid_share=0.0, test_share=0.0, least_positives=1)
SMALL_WORLD = WorldConfig(items=120, users=40, sessions=8.0)


def ids(examples: Sequence[Example]) -> list[str]:
    return [example.impression_id for example in examples]


def acts(corpus: Corpus) -> list[tuple[str, str, float]]:
    return [(corpus.items[event.item].item_id, event.action, event.time) for event in corpus.events]


def past(corpus: Corpus, example: Example) -> list[tuple[str, str, float | None]]:
    return [(corpus.items[each.item].item_id, each.action, each.time) for each in example.history]


def columns(corpus: Corpus, example: Example) -> dict[str, list[float]]:
    return {action: example.labels[:, column].tolist() for column, action in enumerate(corpus.actions)}


def logged(slates: list[tuple[float, str]], *acts_done: tuple[float, str, str], value: float = 0.0) -> Dataset:
    """One user's slates of one-letter items (capitals were clicked) and further acts."""
    impressions = tuple(
        Impression(
            f"s{number}",
            "u",
            time,
            (),
            tuple(Candidate(c.lower(), 1 if c.isupper() else 0, p + 1) for p, c in enumerate(shown)),
        )
        for number, (time, shown) in enumerate(slates)
    )
    interactions = tuple(
        Interaction(f"e{number}", "u", item, action, time, value)  # type: ignore[arg-type]
        for number, (time, item, action) in enumerate(acts_done)
    )
    items = tuple(Item(letter, f"Title {letter}") for letter in "abcdef")
    return Dataset("log", "generated", items, interactions, impressions, 1e6, {})


# --- JSON lines


def test_a_slate_keeps_its_items_labels_positions_and_the_past_newest_first(tmp_path: Path) -> None:
    row = slate(1, 100, "bA", history=[("c", "view", 10), ("d", "like", 20)])
    row["candidates"] = [{**each, "position": place} for place, each in zip((2, 1), row["candidates"], strict=True)]
    corpus = open_corpus(jsonlines_folder(tmp_path, "abcd", train=[row]), WHOLE)
    (example,) = corpus.splits["train"]
    assert (example.impression_id, example.user, example.time) == ("1", "u", 100.0)
    assert example.history == (Past(3, "like", 20.0), Past(2, "view", 10.0))
    assert (example.candidates.tolist(), example.candidates.dtype) == ([1, 0], np.int32)
    assert example.positions is not None
    assert example.positions.tolist() == [2, 1]
    assert (example.labels.tolist(), example.labels.dtype) == ([[0.0], [1.0]], np.float32)
    assert [item.title for item in corpus.items] == ["Title a", "Title b", "Title c", "Title d"]


def test_positions_that_are_told_for_some_candidates_only_count_as_unknown(tmp_path: Path) -> None:
    row = slate(1, 100, "aB")
    row["candidates"][0]["position"] = 1
    corpus = open_corpus(jsonlines_folder(tmp_path, "ab", train=[row]), WHOLE)
    assert corpus.splits["train"][0].positions is None


def test_the_column_of_a_label_is_called_what_the_caller_says(tmp_path: Path) -> None:
    folder = jsonlines_folder(tmp_path, "ab", train=[slate(1, 100, "aB")])
    corpus = open_corpus(folder, replace(WHOLE, label_action="like"))
    assert (corpus.actions, acts(corpus)) == (("like",), [("b", "like", 100.0)])


def test_named_splits_keep_their_names_and_are_by_time(tmp_path: Path) -> None:
    folder = jsonlines_folder(
        tmp_path,
        "ab",
        test_popular=[slate(1, 300, "aB")],
        train=[slate(2, 20, "aB"), slate(3, 10, "aB")],
        valid=[slate(4, 200, "aB")],
    )
    corpus = open_corpus(folder, CorpusOptions())
    assert {name: ids(examples) for name, examples in corpus.splits.items()} == {
        "train": ["3", "2"],
        "valid": ["4"],
        "test-popular": ["1"],
    }


def test_a_train_split_without_a_valid_one_gives_its_last_part_even_beside_a_dev_split(tmp_path: Path) -> None:
    rows = [slate(number, number, "aB") for number in range(20)]
    folder = jsonlines_folder(tmp_path, "ab", train=rows, dev=[slate(30, 30, "aB")])
    corpus = open_corpus(folder, CorpusOptions(valid_share=0.1))
    assert ids(corpus.splits["valid"]) == ["18", "19"]
    assert (len(corpus.splits["train"]), ids(corpus.splits["dev"])) == (18, ["30"])


def test_a_single_file_of_any_other_name_is_cut_by_time(tmp_path: Path) -> None:
    folder = jsonlines_folder(tmp_path, "ab", all=[slate(number, number, "aB") for number in range(10)])
    corpus = open_corpus(folder, CorpusOptions(valid_share=0.2, test_share=0.1))
    assert {name: ids(examples) for name, examples in corpus.splits.items()} == {
        "train": [*"0123456"],
        "valid": ["7", "8"],
        "test": ["9"],
    }


def test_a_moment_is_never_torn_by_a_cut(tmp_path: Path) -> None:
    rows = [slate(number, min(number, 6), "aB") for number in range(10)]
    corpus = open_corpus(jsonlines_folder(tmp_path, "ab", all=rows), CorpusOptions(valid_share=0, test_share=0.1))
    assert ids(corpus.splits["test"]) == ["6", "7", "8", "9"]


def test_slates_without_time_are_cut_in_the_order_of_the_file(tmp_path: Path) -> None:
    rows = [slate(number, None if number == 3 else 10 - number, "aB") for number in range(10)]
    corpus = open_corpus(jsonlines_folder(tmp_path, "ab", train=rows), CorpusOptions(valid_share=0.3))
    assert ids(corpus.splits["valid"]) == ["7", "8", "9"]


def test_a_test_split_alone_is_not_learnt_from(tmp_path: Path) -> None:
    corpus = open_corpus(jsonlines_folder(tmp_path, "ab", test=[slate(1, 100, "aB")]), CorpusOptions())
    assert (list(corpus.splits), corpus.events) == (["test"], ())


def test_a_folder_without_slates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there are no slates to learn from"):
        open_corpus(jsonlines_folder(tmp_path, "ab"), CorpusOptions())


def test_acts_not_before_their_slate_are_no_past_and_counted(tmp_path: Path) -> None:
    history = [("a", "like", 10), ("b", "like", 50), ("c", "like", 51), ("d", "impression", 20)]
    folder = jsonlines_folder(tmp_path, "abcd", train=[slate(1, 50, "aB", history=history)])
    corpus = open_corpus(folder, WHOLE)
    assert past(corpus, corpus.splits["train"][0]) == [("a", "like", 10.0)]
    assert corpus.dropped == {"history entry not before its slate": 2}
    same_second = open_corpus(folder, replace(WHOLE, same_second=True))
    assert past(same_second, same_second.splits["train"][0]) == [("b", "like", 50.0), ("a", "like", 10.0)]
    assert same_second.dropped == {"history entry not before its slate": 1}


def test_a_past_out_of_order_is_put_in_order_before_it_is_cut(tmp_path: Path) -> None:
    history = [("a", "like", 30), ("b", "like", 10), ("c", "like", 20)]
    folder = jsonlines_folder(tmp_path, "abc", train=[slate(1, 50, "aB", history=history)])
    corpus = open_corpus(folder, replace(WHOLE, max_history=2))
    assert past(corpus, corpus.splits["train"][0]) == [("a", "like", 30.0), ("c", "like", 20.0)]


def test_what_is_known_is_what_train_tells_before_the_first_slate_that_is_held_out(tmp_path: Path) -> None:
    folder = jsonlines_folder(
        tmp_path,
        "abcdef",
        train=[
            slate(1, 40, "aB", history=[("c", "dislike", 5), ("d", "like", 7)]),
            slate(2, 50, "aB", history=[("c", "dislike", 5), ("e", "like", 45)]),
            slate(3, 90, "Ab", history=[("f", "like", 85)]),
        ],
        valid=[slate(4, 85, "aB", history=[("f", "like", 1)])],
        test=[slate(5, 99, "aB", history=[("f", "like", 2)])],
    )
    corpus = open_corpus(folder, CorpusOptions())
    assert acts(corpus) == [
        ("c", "dislike", 5.0),
        ("d", "like", 7.0),
        ("b", "click", 40.0),
        ("e", "like", 45.0),
        ("b", "click", 50.0),
    ]


# --- few-shot rows


def test_few_shot_rows_are_rows_of_the_file_and_all_that_is_known(tmp_path: Path) -> None:
    unknown = slate(9, 15, "zZ")  # its items are in no library, but it has a row
    train = [slate(0, 40, "aB"), unknown, slate(2, 10, "aB", history=[("c", "like", 5)]), slate(3, 20, "aB")]
    folder = jsonlines_folder(tmp_path, "abc", train=train, valid=[slate(7, 80, "aB")])
    corpus = open_corpus(folder, CorpusOptions(train_rows=(2, 0, 1)))
    assert ids(corpus.splits["train"]) == ["2", "0"]
    assert acts(corpus) == [("c", "like", 5.0), ("b", "click", 10.0), ("b", "click", 40.0)]
    assert ids(corpus.splits["valid"]) == ["7"]


def test_few_shot_rows_that_do_not_exist_or_are_validation_are_refused(tmp_path: Path) -> None:
    folder = jsonlines_folder(tmp_path, "ab", train=[slate(number, number, "aB") for number in range(10)])
    with pytest.raises(DatasetError, match="train_rows names row 10, but train has rows 0 to 9"):
        open_corpus(folder, CorpusOptions(train_rows=(3, 10)))
    with pytest.raises(DatasetError, match="1 of train_rows lie in the part of train that is kept for validation"):
        open_corpus(folder, CorpusOptions(train_rows=(3, 9)))
    with pytest.raises(ValueError, match="negative row"):
        CorpusOptions(train_rows=(-1,))


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real tallrec-movie folder is not at {REAL}")
def test_the_few_shot_lists_of_the_real_folder_are_kept_row_by_row() -> None:
    rows = json.loads((REAL / "fewshot.json").read_text())["16-shot seed 0"]
    corpus = open_corpus(REAL, CorpusOptions(label_action="like", train_rows=tuple(rows), same_second=True))
    assert {int(name) for name in ids(corpus.splits["train"])} == set(rows)  # ids are row numbers there
    assert (len(corpus.splits["valid"]), len(corpus.splits["test"])) == (1000, 1000)
    assert all(len(example.history) == 10 for example in corpus.splits["test"])


# --- the generated world, and whatever knows every act


def test_acts_on_a_slate_fill_columns_until_the_users_next_slate() -> None:
    dataset = logged(
        [(10, "aBc"), (20, "abd")],
        (10, "b", "click"),
        (11, "b", "like"),
        (12, "c", "hide"),
        (13, "d", "share"),  # not on the slate of its time
        (19.9, "a", "share"),
        (20, "a", "like"),  # the next slate has begun
        (99, "d", "purchase"),
    )
    corpus = corpus_of(dataset, WHOLE)
    assert corpus.actions == ("click", "like", "share", "purchase", "hide")
    first, second = corpus.splits["train"]
    assert columns(corpus, first) == {
        "click": [0, 1, 0],
        "like": [0, 1, 0],
        "share": [1, 0, 0],
        "purchase": [0, 0, 0],
        "hide": [0, 0, 1],
    }
    assert columns(corpus, second) == {
        "click": [0, 0, 0],
        "like": [1, 0, 0],
        "share": [0, 0, 0],
        "purchase": [0, 0, 1],
        "hide": [0, 0, 0],
    }


def test_a_short_stay_is_no_act() -> None:
    short = logged([(10, "aB")], (11, "b", "dwell"), value=59.9)
    assert (corpus_of(short, WHOLE).actions, corpus_of(short, WHOLE).events) == (("click",), ())
    long = corpus_of(logged([(10, "aB")], (11, "b", "dwell"), value=60.0), WHOLE)
    assert (long.actions, long.events) == (("click", "dwell"), (Event("u", 1, "dwell", 11.0),))


def test_another_action_may_be_what_is_measured() -> None:
    corpus = corpus_of(logged([(10, "aB")], (11, "a", "like")), replace(WHOLE, label_action="like"))
    assert columns(corpus, corpus.splits["train"][0]) == {"like": [1, 0], "click": [0, 1]}


def test_columns_with_too_few_positives_in_train_are_left_out_but_never_the_first() -> None:
    dataset = logged([(10, "ab"), (20, "ab"), (30, "ab")], (11, "a", "like"), (21, "a", "like"), (22, "b", "hide"))
    assert corpus_of(dataset, replace(WHOLE, least_positives=2)).actions == ("click", "like")
    # The second like is held out, and does not count.
    options = CorpusOptions(valid_share=0.0, test_share=0.6, least_positives=2)
    assert corpus_of(dataset, options).actions == ("click",)


def test_the_generated_world_is_cut_by_time_and_its_columns_agree_with_its_acts() -> None:
    world = generate_world(SMALL_WORLD)
    corpus = corpus_of(world, CorpusOptions(least_positives=1))
    sizes = {name: len(examples) for name, examples in corpus.splits.items()}
    whole = len(world.impressions)
    assert sum(sizes.values()) == whole
    assert sizes["valid"] == pytest.approx(whole * 0.1, abs=2)
    assert sizes["test"] == pytest.approx(whole * 0.1, abs=2)
    assert corpus.splits["train"][-1].time < corpus.splits["valid"][0].time  # type: ignore[operator]
    assert corpus.splits["valid"][-1].time < corpus.splits["test"][0].time  # type: ignore[operator]
    labels = np.concatenate([example.labels for examples in corpus.splits.values() for example in examples])
    for action in ("click", "like", "hide"):
        done = sum(each.action == action for each in world.interactions)
        assert labels[:, corpus.actions.index(action)].sum() == done
    stays = sum(each.action == "dwell" and each.value >= 60 for each in world.interactions)
    assert labels[:, corpus.actions.index("dwell")].sum() == stays


def test_the_same_data_gives_the_same_fingerprint_and_any_change_another() -> None:
    world = generate_world(SMALL_WORLD)
    corpus = corpus_of(world, CorpusOptions())
    assert corpus.fingerprint == corpus_of(generate_world(SMALL_WORLD), CorpusOptions()).fingerprint
    assert len(corpus.fingerprint) == 32
    changes: list[tuple[Dataset, dict[str, Any]]] = [
        (replace(world, items=(replace(world.items[0], title="Changed"), *world.items[1:])), {}),
        (replace(world, interactions=world.interactions[1:]), {}),
        (replace(world, impressions=world.impressions[1:]), {}),
        (world, {"max_history": 3}),
        (world, {"valid_share": 0.2}),
        (world, {"label_action": "tap"}),
    ]
    prints = {corpus_of(data, CorpusOptions(**options)).fingerprint for data, options in changes}
    assert len(prints) == len(changes)
    assert corpus.fingerprint not in prints


@pytest.mark.parametrize(
    "change",
    [
        {"impression_id": "t"},
        {"user_id": "v"},
        {"time": 101.0},
        {"history": (HistoryEntry("d", "click", 50.0),)},
        {"history": (HistoryEntry("c", "like", 50.0),)},
        {"history": (HistoryEntry("c", "click", 51.0),)},
        {"candidates": (Candidate("a", 1, 1), Candidate("d", 0, 2))},
        {"candidates": (Candidate("a", 0, 1), Candidate("b", 1, 2))},
        {"candidates": (Candidate("a", 1, 1), Candidate("b", 0, 3))},
        {"candidates": (Candidate("a", 1), Candidate("b", 0))},
    ],
)
def test_whatever_changes_in_a_slate_changes_the_fingerprint(change: dict[str, Any]) -> None:
    candidates = (Candidate("a", 1, 1), Candidate("b", 0, 2))
    shown = Impression("s", "u", 100.0, (HistoryEntry("c", "click", 50.0),), candidates)
    data = replace(logged([]), impressions=(shown,))
    changed = replace(data, impressions=(replace(shown, **change),))
    assert corpus_of(data, WHOLE).fingerprint != corpus_of(changed, WHOLE).fingerprint


def test_one_dated_history_behind_two_slates_is_cut_by_the_time_of_each() -> None:
    history = (HistoryEntry("c", "like", 15.0),)
    slates = tuple(replace(shown, history=history) for shown in logged([(10, "aB"), (20, "aB")]).impressions)
    corpus = corpus_of(replace(logged([]), impressions=slates), WHOLE)
    assert [len(example.history) for example in corpus.splits["train"]] == [0, 1]


# --- errors


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("items.jsonl", '{"item_id": "a", "title": "T"}\n{"item_id": "b"}\n', r"items.jsonl:2: title is missing"),
        ("impressions.train.jsonl", "\n{\n", r"impressions.train.jsonl:2: not JSON"),
        ("impressions.test.jsonl", "[]\n", r"impressions.test.jsonl:1: a list"),
    ],
)
def test_a_broken_row_is_named_by_file_and_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    jsonlines_folder(tmp_path, "ab", train=[slate(1, 100, "aB")])
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=message):
        open_corpus(tmp_path, CorpusOptions())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"valid_share": 0.5, "test_share": 0.5}, "leave something to train on"),
        ({"test_share": -0.1}, "must not be negative"),
        ({"negatives": 0}, "negatives is 0; make it at least 1"),
        ({"label_action": ""}, "label_action is empty"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CorpusOptions(**options)
