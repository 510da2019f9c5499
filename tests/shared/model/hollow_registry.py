"""Registries with versions that nothing is in, and steps that are killed on the way."""

import os
import subprocess
import sys
from pathlib import Path

from shared.model.registry import (
    Serving,
    activate,
)


def activate_unstored(registry: Path, name: str, version: str, surface: str) -> Serving:
    """Without the version's files, which nothing but the check of them reads."""
    return activate(registry, name, version, surface, stored=False)


def add_versions(registry: Path, *versions: str, name: str = "news") -> None:
    """Folders of versions, each a second newer than the one before."""
    for age, version in enumerate(versions):
        folder = registry / name / version
        folder.mkdir(parents=True)
        (folder / "manifest.json").touch()
        os.utime(folder, (1_000_000 + age, 1_000_000 + age))


def killed(action: str, folder: Path) -> None:
    """Does it in folder/1, folder/2, …, killed each time one line later; at last not."""
    subprocess.run([sys.executable, "-m", "tests.shared.model.killed", action, folder], check=True, timeout=100)
