"""The file system as versions and registry use it: names that are safe, and writes that are whole or not there.

What is being made has a hidden name in the same folder and gets its real one by a rename, which the file system does
at once or not at all; before that, everything is flushed, so that a power cut cannot leave a name without its content.
"""

import os
import re
import secrets
from pathlib import Path

MANIFEST = "manifest.json"
"""In every version; written last, so a folder that has it is whole."""
TEMPORARY = ".tmp-"
"""How the names of unfinished things begin; they are not safe names, so no reader takes them for real ones."""
NAME_RULE = "1 to 128 letters, digits, dots, dashes and underscores, the first a letter or digit"
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_safe_name(name: str) -> bool:
    """Whether `name` keeps NAME_RULE: it stays in its folder, is not hidden, and means the same everywhere."""
    return _SAFE.fullmatch(name) is not None


def subfolders(folder: Path) -> list[Path]:
    """Folders with safe names in `folder`, in no order; none when it does not exist."""
    try:
        return [each for each in folder.iterdir() if is_safe_name(each.name) and each.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def temporary_sibling(path: Path) -> Path:
    """A hidden name beside `path` that nobody else uses."""
    return path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(8)}")


def write_flushed(path: Path, content: bytes) -> None:
    """Writes a file and waits until it is on disk; its name may not be before `flush_folder`."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Waits until the names in a folder are on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
