"""`homepage train` on a folder of JSON lines, with a tiny base."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from services.cli.__main__ import app
from services.trainer.gate import LATENCY_MS
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
    assert {each.split for each in manifest.metrics if each.name != LATENCY_MS} == {"valid", "test"}
    assert next(each.value for each in manifest.metrics if each.name == LATENCY_MS) > 0
    assert "| news/v1 |" in result.stdout
    assert "| popularity |" in result.stdout
    assert str(tmp_path / "models" / "news" / "v1") in result.stdout


def test_the_manifest_tells_what_propensities_from_data_came_to(given: tuple[object, ...], tmp_path: Path) -> None:
    rows = [slate(row, 100 + row, "aBcd" if row % 3 else "Abcd", user_id=f"u{row}") for row in range(40)]
    for row in rows:
        row["candidates"] = [{**each, "position": place} for place, each in enumerate(row["candidates"], start=1)]
    (tmp_path / "placed").mkdir()
    data = jsonlines_folder(tmp_path / "placed", "abcd", train=rows[:20], valid=rows[20:30], test=rows[30:])
    (tmp_path / "recipe.toml").write_text('propensities_from = "data"\n' + RECIPE)
    result = run("--data", data, *given, "--version", "v1")
    assert result.exit_code == 0, result.output
    origin = read_manifest(tmp_path / "models" / "news" / "v1").origin
    assert origin is not None
    told = json.loads(origin.settings["propensities"].replace("(", "[").replace(")", "]"))
    assert (len(told), told[0]) == (4, 1.0)


def test_it_says_once_what_one_should_know_of_the_data(data: Path, given: tuple[object, ...]) -> None:
    late = slate(99, 1000, "aBcd", user_id="late")
    with (data / "impressions.train.jsonl").open("a") as file:
        file.write(json.dumps(late) + "\n")
    result = run("--data", data, *given, "--version", "v1", "--seeds", "0,1")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("1 of 21 train slates lie later than the first held-out slate: models may know") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--version", "a/b"), "the names of model and version must be"),
        (("--recipe", "missing.toml"), "missing.toml"),
        (("--base", "/nowhere/at/all"), "/nowhere/at/all"),
        (("--seeds", "0,1,0"), "write different whole numbers"),
        (("--seeds", "one"), "write different whole numbers"),
        (("--seeds", "0,,1"), "write different whole numbers"),
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


def test_every_seed_becomes_a_version_and_the_spread_is_printed(
    data: Path, given: tuple[object, ...], tmp_path: Path
) -> None:
    result = run("--data", data, *given, "--version", "v1", "--seeds", "3, 4", "--html", tmp_path / "pages")
    assert result.exit_code == 0, result.output
    manifests = [read_manifest(tmp_path / "models" / "news" / f"v1-seed{seed}") for seed in (3, 4)]
    assert [each.origin.seeds for each in manifests if each.origin] == [(3,), (4,)]
    losses = [
        next(one.value for one in each.metrics if (one.name, one.split) == ("log_loss", "test")) for each in manifests
    ]
    _, _, table = result.stdout.partition("test, all seeds")
    head, _, *rows = [line.split(" | ") for line in table.splitlines() if line.startswith("|")]
    assert [row[0] for row in rows[:2]] == ["| news/v1-seed3", "| news/v1-seed4"]
    assert rows[2][0] == "| mean ± spread of 2 seeds (news/v1-seed3, news/v1-seed4)"
    deviation = abs(losses[0] - losses[1]) / 2**0.5
    assert rows[2][head.index("log_loss")] == f"{sum(losses) / 2:.4f} ± {deviation:.4f}"
    assert {path.name for path in (tmp_path / "pages").iterdir()} == {
        f"v1-seed{seed}.{split}.html" for seed in (3, 4) for split in ("valid", "test")
    }
    assert "Learning curve" in (tmp_path / "pages" / "v1-seed3.test.html").read_text()
    assert not list((tmp_path / "models").glob(".training*"))


def test_after_a_seed_that_failed_the_same_command_keeps_what_was_done(
    data: Path, given: tuple[object, ...], tmp_path: Path
) -> None:
    """The second seed finds something under its version's name, which the user then takes away."""
    command = ("--data", data, *given, "--version", "v1", "--seeds", "0,1")
    in_the_way = tmp_path / "models" / "news" / "v1-seed1"
    in_the_way.mkdir(parents=True)
    (in_the_way / "manifest.json").write_text("{}")
    assert run(*command).exit_code == 1
    first = (tmp_path / "models" / "news" / "v1-seed0" / "manifest.json").stat()
    (in_the_way / "manifest.json").unlink()
    in_the_way.rmdir()
    result = run(*command)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "models" / "news" / "v1-seed0" / "manifest.json").stat().st_mtime_ns == first.st_mtime_ns
    assert (in_the_way / "manifest.json").is_file()


def test_a_report_that_cannot_be_drawn_is_refused_before_the_training(
    data: Path, given: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run("--data", data, *given, "--html", tmp_path / "pages")
    assert (result.exit_code, "pip install 'homepage-recommender[trainer]'" in result.stderr) == (1, True)
    assert not (tmp_path / "models").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused(data: Path, given: tuple[object, ...]) -> None:
    result = run("--data", data, *given, "--device", "cuda")
    assert (result.exit_code, "PyTorch finds no CUDA device" in result.stderr) == (1, True)


def test_of_two_processes_one_prints_and_writes(data: Path, given: tuple[object, ...], tmp_path: Path) -> None:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "services.cli", "train")
    command = [sys.executable, *torchrun, "--data", data, *given, "--version", "v1", "--seeds", "0,1"]
    done = subprocess.run(
        [str(each) for each in command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| news/v1-seed0 |") == 2  # on test, alone and beside the other seed
    assert done.stdout.count("Written:") == 2
    assert {path.name for path in (tmp_path / "models" / "news").iterdir()} == {"v1-seed0", "v1-seed1"}
    assert not list((tmp_path / "models").glob(".training*"))
