"""How a version is damaged, and how it must be refused."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shared.model.versions import VersionError


@contextmanager
def refused(words: str, folder: Path) -> Iterator[None]:
    """Inside, a VersionError is raised whose text is one sentence of ours, with `words`, that says what to do."""
    with pytest.raises(VersionError) as caught:
        yield
    text = str(caught.value)
    assert words in text
    assert text.startswith("model version ")
    assert "; " in text
    assert "\n" not in text
    assert str(folder) not in text
    root: BaseException = caught.value
    while root.__cause__ is not None:
        root = root.__cause__
    ours = type(root) is ValueError or type(root).__module__.startswith("shared.")
    assert ours or str(root) not in text


def change(folder: Path, *path: str | int, to: Any) -> None:
    """Sets one value in manifest.json."""
    content = json.loads((folder / "manifest.json").read_text())
    place = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    (folder / "manifest.json").write_text(json.dumps(content))


def put(folder: Path, name: str, content: bytes) -> None:
    """Replaces a file, with its checksum: as if it had been written that way."""
    (folder / name).write_bytes(content)
    change(folder, "files", name, to=hashlib.sha256(content).hexdigest())
