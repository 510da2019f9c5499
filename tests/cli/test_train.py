"""`homepage train` on a folder of JSON lines, with a tiny base."""

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from services.cli.__main__ import app
from shared.model.versions import read_manifest
from tests.shared.model.tiny_bert import write_tiny_bert
from tests.trainer.data_folders import jsonlines_folder, slate

RECIPE = """
most_steps = 4
batch_slates = 4
rank = 2

[layout]
max_user_tokens = 16
max_candidate_tokens = 8
candidate_offset = 16
split_depth = 1
"""


def run(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, ["train", *map(str, arguments)])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [slate(row, 100 + row, "aBcd", user_id=f"u{row}", history=[("b", "click", row)]) for row in range(40)]
    return jsonlines_folder(folder, "abcd", train=rows[:20], valid=rows[20:30], test=rows[30:])


@pytest.fixture
def given(tmp_path: Path) -> tuple[object, ...]:
    base = write_tiny_bert(tmp_path / "tiny")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return ("--base", base, "--recipe", tmp_path / "recipe.toml", "--out", tmp_path / "models", "--name", "news")


def test_it_writes_a_version_and_prints_its_figures(data: Path, given: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text("[0, 1, 2, 3, 4, 5, 6, 7]")
    result = run("--data", data, *given, "--version", "v1", "--rows", tmp_path / "rows.json")
    assert result.exit_code == 0, result.output
    manifest = read_manifest(tmp_path / "models" / "news" / "v1")
    assert {each.split for each in manifest.metrics} == {"valid", "test"}
    assert "| news/v1 |" in result.stdout
    assert "| popularity |" in result.stdout
    assert str(tmp_path / "models" / "news" / "v1") in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--version", "a/b"), "the names of model and version must be"),
        (("--recipe", "missing.toml"), "missing.toml"),
        (("--base", "/nowhere/at/all"), "/nowhere/at/all"),
    ],
)
def test_wrong_input_is_one_sentence_and_status_1(
    data: Path, given: tuple[object, ...], arguments: tuple[str, ...], words: str
) -> None:
    result = run("--data", data, *given, *arguments)
    assert (result.exit_code, words in result.stderr) == (1, True), result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("content", ["{}", "[true]", "[", "[1.5]"])
def test_rows_that_are_none_are_refused(data: Path, given: tuple[object, ...], tmp_path: Path, content: str) -> None:
    (tmp_path / "rows.json").write_text(content)
    result = run("--data", data, *given, "--rows", tmp_path / "rows.json")
    assert result.exit_code == 1
    assert "rows.json" in result.stderr
