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


def test_names_with_brackets_are_shown_as_they_are(tmp_path: Path) -> None:
    odd = tmp_path / "data[bold]"
    odd.mkdir()
    result = run(str(jsonlines_folder(odd, "ab", train=[slate(1, 100, "aB")])))
    assert "data[bold]" in result.stdout


def test_data_without_any_time_or_act_is_described(tmp_path: Path) -> None:
    result = run(str(jsonlines_folder(tmp_path, "ab", train=[slate(1, None, "aB")])))
    assert result.exit_code == 0
    assert "not known to not known" in result.stdout
