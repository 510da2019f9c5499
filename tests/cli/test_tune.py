"""`homepage tune` on a folder of JSON lines, with a tiny base."""

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from services.cli.__main__ import app
from services.cli.tune import trial_line
from services.trainer.assembly import CorpusOptions
from services.trainer.corpora import open_corpus
from services.trainer.recipe import read_recipe
from services.trainer.tuning import TrialEnd
from tests.shared.model.tiny_bert import write_tiny_bert
from tests.trainer.data_folders import jsonlines_folder, slate

RECIPE = """
most_steps = 4
batch_slates = 4
evaluate_every = 2
rank = 2

[layout]
max_user_tokens = 16
max_candidate_tokens = 8
candidate_offset = 16
split_depth = 1
"""


def run(command: str, *arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, [command, *map(str, arguments)])


@pytest.fixture
def given(tmp_path: Path) -> tuple[object, ...]:
    data = tmp_path / "data"
    data.mkdir()
    rows = [slate(row, 100 + row, "aBcd", user_id=f"u{row}", history=[("b", "click", row)]) for row in range(30)]
    jsonlines_folder(data, "abcd", train=rows[:20], valid=rows[20:])
    (tmp_path / "start.toml").write_text(RECIPE)
    base = write_tiny_bert(tmp_path / "tiny")
    return ("--data", data, "--base", base, "--recipe", tmp_path / "start.toml")


def test_the_best_trial_becomes_a_recipe_that_train_takes(given: tuple[object, ...], tmp_path: Path) -> None:
    best = tmp_path / "best.toml"
    result = run("tune", *given, "--out", best, "--trials", 2)
    assert result.exit_code == 0, result.output
    trials = [line for line in result.stdout.splitlines() if line.startswith("trial ")]
    assert [line.split()[1] for line in trials] == ["1/2", "2/2"]
    assert f"--recipe {best}" in result.stdout
    assert read_recipe(best).layout.split_depth == 1
    trained = run("train", *given, "--recipe", best, "--out", tmp_path / "models")
    assert trained.exit_code == 0, trained.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--out", "best.yaml"), "name a file that ends in .toml or .json"),
        (("--space", "missing.toml"), "missing.toml"),
        (("--minutes", "0"), "give the search more time"),
    ],
)
def test_wrong_input_is_one_sentence_and_status_1(
    given: tuple[object, ...], tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    result = run("tune", *given, "--out", tmp_path / "best.toml", *arguments)
    assert (result.exit_code, words in result.stderr) == (1, True), result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("option", ["--recipe", "--space"])
def test_what_the_search_starts_from_is_not_overwritten(given: tuple[object, ...], tmp_path: Path, option: str) -> None:
    start, link = tmp_path / "begin.toml", tmp_path / "best.toml"
    start.write_text(RECIPE)
    link.symlink_to(start)
    result = run("tune", *given, option, start, "--out", link)
    assert (result.exit_code, "which the search starts from; name another file" in result.stderr) == (1, True)
    assert start.read_text() == RECIPE


def test_acts_of_the_same_second_stay_where_it_is_asked_for(given: tuple[object, ...], tmp_path: Path) -> None:
    rows = [slate(row, 100 + row, "aBcd", user_id=f"u{row}", history=[("b", "click", 100 + row)]) for row in range(30)]
    data = jsonlines_folder(tmp_path / "data", "abcd", train=rows[:20], valid=rows[20:])
    best = tmp_path / "best.toml"
    result = run("tune", *given, "--out", best, "--trials", 1, "--same-second")
    assert result.exit_code == 0, result.output
    told = best.read_text().splitlines()[0]
    kept, left_out = (open_corpus(data, CorpusOptions(same_second=same)).fingerprint for same in (True, False))
    assert kept != left_out
    assert told.endswith(kept)


def test_a_misspelt_field_of_the_space_is_refused(given: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text("[learning_rat]\nlow = 1e-4\nhigh = 1e-3\n")
    result = run("tune", *given, "--out", tmp_path / "best.toml", "--space", tmp_path / "space.toml")
    assert (result.exit_code, "space.toml is no search space: its field 'learning_rat'" in result.stderr) == (1, True)


def test_a_trial_is_one_line_with_best_rate_time_left_and_values() -> None:
    end = TrialEnd(3, 20, "fell behind", {"rank": 8, "loss": "bce"}, 0.71, 0.8125, 2, 41.4, 87.6, 700.0)
    assert trial_line(end, "auc") == (
        'trial 3/20  auc 0.7100  fell behind  best 0.8125 (trial 2)  41 s, 88 trials/h, 12 min left  rank=8 loss="bce"'
    )
