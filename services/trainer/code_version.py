"""Which program made a version: its release, and the commit where it runs from a checkout."""

import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_DISTRIBUTION = "homepage-recommender"
_LONGEST_S = 10.0


def code_version(source: Path = Path(__file__)) -> str:
    """E.g. "0.1.0+1a2b3c4d5e6f", with "-dirty" where the checkout has changes; without git the release alone.

    `source` is a file of the program: only a checkout that has it says anything about it.
    """
    try:
        release = version(_DISTRIBUTION)
    except PackageNotFoundError:
        release = "unknown"
    tracked = _git(source.parent, "ls-files", "--error-unmatch", source.name)
    commit = _git(source.parent, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*") if tracked else ""
    return f"{release}+{commit}" if commit else release


def _git(folder: Path, *arguments: str) -> str:
    """What git answers; nothing where it cannot."""
    git = shutil.which("git")
    if git is None:
        return ""
    try:
        command = [git, "-C", str(folder), *arguments]
        answer = subprocess.run(command, capture_output=True, check=True, text=True, timeout=_LONGEST_S)  # noqa: S603
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return answer.stdout.strip()
