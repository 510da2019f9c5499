"""What `homepage data describe` tells agrees with what one counts by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from services.cli.data import app
from services.trainer.assembly import CorpusOptions
from services.trainer.corpora import open_corpus
from services.trainer.described import Lengths, describe
from tests.trainer.data_folders import jsonlines_folder, slate


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, ["describe", *arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three users, one in test only. In train: u acts on c, d and b; v on a. Texts of 7 characters, one of 13."""
    data = jsonlines_folder(
        tmp_path,
        "abcd",
        train=[
            slate(1, 100, "aBc", history=[("c", "like", 10), ("d", "view", 20)]),
            slate(2, 200, "Abcd", user_id="v"),
            slate(3, 300, "ab", history=[("c", "like", 10), ("b", "click", 100), ("z", "like", 5)]),
        ],
        valid=[slate(4, 400, "aB", history=[("c", "like", 10), ("d", "view", 20), ("b", "click", 100)])],
        test=[slate(5, 500, "aB", user_id="w")],
    )
    lines = (data / "items.jsonl").read_text().splitlines()
    lines[0] = json.dumps({"item_id": "a", "title": "Title a", "category": "ads"})
    (data / "items.jsonl").write_text("\n".join([*lines, json.dumps({"item_id": "e", "title": ""})]))
    return data


def test_everything_is_counted(folder: Path) -> None:
    told = describe(open_corpus(folder, CorpusOptions()))
    assert (told.users, told.items, told.first, told.last) == (3, 4, 10.0, 500.0)
    # like c, view d, click b (told twice, once by the slate itself), click a
    assert [(each.name, each.count) for each in told.acts] == [("click", 2), ("like", 1), ("view", 1)]
    assert told.density == pytest.approx(4 / (2 * 4))
    assert told.title_characters == Lengths(7.0, 7, 7)
    assert told.text_characters == Lengths(7.0, 13, 13)
    assert [(each.name, each.count) for each in told.dropped] == [
        ("history of unknown item", 1),
        ("item without title", 1),
    ]
    train, valid, _ = told.splits
    assert (train.name, train.slates, train.candidates, train.users) == ("train", 3, 9, 2)
    assert [(each.name, each.count) for each in train.positives] == [("click", 2)]
    assert (train.history, train.first, train.last) == (Lengths(2.0, 2, 2), 100.0, 300.0)
    assert (valid.name, valid.slates, valid.candidates, valid.users) == ("valid", 1, 2, 1)
    assert valid.history == Lengths(3.0, 3, 3)


def test_percentiles_are_lengths_that_occur(tmp_path: Path) -> None:
    rows = [slate(n, 1000 + n, "aB", history=[("a", "click", at) for at in range(n)]) for n in range(1, 11)]
    told = describe(open_corpus(jsonlines_folder(tmp_path, "ab", train=rows), CorpusOptions(valid_share=0)))
    assert told.splits[0].history == Lengths(5.5, 9, 10)


def test_json_prints_the_same_numbers_and_nothing_else(folder: Path) -> None:
    result = run(str(folder), "--json")
    told: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == 0
    assert told["fingerprint"] == open_corpus(folder, CorpusOptions()).fingerprint
    assert told["acts"] == [{"name": "click", "count": 2}, {"name": "like", "count": 1}, {"name": "view", "count": 1}]
    assert told["splits"][1]["history"] == {"median": 3.0, "p90": 3, "longest": 3}


def test_the_table_shows_users_density_splits_and_what_was_dropped(folder: Path) -> None:
    result = run(str(folder))
    assert result.exit_code == 0
    for shown in ("50.000%", "1970-01-01 00:00", "train", "valid", "item without title 1", "median 7, 90 % up to 13"):
        assert shown in result.stdout


def test_a_label_goes_by_the_name_that_it_is_given(folder: Path) -> None:
    result = run(str(folder), "--label-action", "like", "--json")
    assert json.loads(result.stdout)["splits"][0]["positives"] == [{"name": "like", "count": 2}]


def test_acts_of_the_same_second_stay_where_it_is_asked_for(tmp_path: Path) -> None:
    data = jsonlines_folder(tmp_path, "ab", train=[slate(1, 100, "aB", history=[("a", "click", 100)])])
    for options, longest in ((), 0), (("--same-second",), 1):
        told = json.loads(run(str(data), "--json", *options).stdout)
        assert told["splits"][0]["history"]["longest"] == longest


def test_the_generated_world_is_described_without_any_path() -> None:
    told = json.loads(run("--json").stdout)
    assert (told["items"], told["users"]) == (3200, 600)
    assert [split["name"] for split in told["splits"]] == ["train", "valid", "test"]


def test_a_broken_row_ends_with_status_1_and_its_file_and_line(folder: Path) -> None:
    (folder / "impressions.train.jsonl").write_text("{}\n")
    result = run(str(folder))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "impressions.train.jsonl:1: impression_id is None; write a non-empty string" in result.stderr


def placed(number: int, candidates: str, *positions: int) -> dict[str, Any]:
    row = slate(number, number, candidates)
    shown = [{**each, "position": place} for each, place in zip(row["candidates"], positions, strict=True)]
    return {**row, "candidates": shown}


def test_how_often_each_position_was_chosen_is_shown_with_what_it_is_good_for(tmp_path: Path) -> None:
    rows = [placed(number, "Abc" if number < 8 else "abC", 1, 2, 12) for number in range(10)]
    rows += [placed(20 + number, "aB" if number < 2 else "ab", 1, 2) for number in range(10)]
    data = jsonlines_folder(tmp_path, "abc", train=[*rows, slate(40, 40, "aB")], test=[placed(50, "aB", 1, 2)])
    (tmp_path / "impressions.valid.jsonl").write_text("")
    result = run(str(data))
    assert "1.00, 0.25, –, –, –, –, –, –, –, – (train; first = 1.00)" in result.stdout
    assert "These are the propensities for a recipe only where the order of slates was random." in result.stdout
    told = json.loads(run(str(data), "--json").stdout)
    assert told["rate_by_position"] == [1.0, pytest.approx(0.25), *[None] * 8]


def test_without_positions_none_is_shown(folder: Path) -> None:
    assert "Chosen by" not in run(str(folder)).stdout
    assert json.loads(run(str(folder), "--json").stdout)["rate_by_position"] == []


def test_what_one_should_know_is_said_and_counted(tmp_path: Path) -> None:
    rows = [slate(1, 100, "A"), slate(2, 300, "Ab"), slate(3, None, "Ab")]
    data = jsonlines_folder(
        tmp_path, "ab", train=rows, valid=[slate(4, 200, "Ab", user_id="v", history=[("b", "view", 1)])]
    )
    result = run(str(data))
    sentences = (
        "Slates that tell only what was chosen were given sampled negatives: 1 of train.",
        "1 of 3 train slates lie later than the first held-out slate: models may know what came after what they are "
        "measured on.",
        "1 of 3 train slates have no time: popularity and item-kNN count nothing of what was chosen on them.",
    )
    told = json.loads(run(str(data), "--json").stdout)
    assert tuple(told["remarks"]) == sentences
    assert (told["sampled"], told["later_than_held_out"], told["without_time"]) == (
        [{"name": "train", "count": 1}],
        1,
        1,
    )
    assert all(" ".join(sentence.split()) in " ".join(result.stdout.split()) for sentence in sentences)


def test_nothing_is_remarked_where_all_is_well(folder: Path) -> None:
    assert json.loads(run(str(folder), "--json").stdout)["remarks"] == []


def test_names_with_brackets_are_shown_as_they_are(tmp_path: Path) -> None:
    odd = tmp_path / "data[bold]"
    odd.mkdir()
    result = run(str(jsonlines_folder(odd, "ab", train=[slate(1, 100, "aB")])))
    assert "data[bold]" in result.stdout


def test_data_without_any_time_or_act_is_described(tmp_path: Path) -> None:
    result = run(str(jsonlines_folder(tmp_path, "ab", train=[slate(1, None, "aB")])))
    assert result.exit_code == 0
    assert "not known to not known" in result.stdout
