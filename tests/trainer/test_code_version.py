"""A version says which commit made it, where there is one."""

import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from services.trainer.code_version import code_version

RELEASE = version("homepage-recommender")


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A committed file."""
    git(tmp_path, "init")
    file = tmp_path / "program.py"
    file.write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    return file


def test_the_commit_is_named_and_whether_there_are_changes(source: Path) -> None:
    commit = git(source.parent, "rev-parse", "--short=12", "HEAD")
    assert code_version(source) == f"{RELEASE}+{commit}"
    source.write_text("2")
    assert code_version(source) == f"{RELEASE}+{commit}-dirty"


def test_a_checkout_of_something_else_says_nothing(source: Path) -> None:
    installed = source.parent / "venv" / "program.py"
    installed.parent.mkdir()
    installed.write_text("1")
    assert code_version(installed) == RELEASE


def test_without_git_the_release_is_known(source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_version(source) == RELEASE
