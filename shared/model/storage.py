"""Where a registry lies, as versions and registry use it: a folder of this machine, or an object store.

One small protocol with two implementations. A folder gives every guarantee there is; what an object store cannot give
is said in shared.model.object_store. Knows names, not meanings: what is in a version is for others to judge.
"""

import errno
import fcntl
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from shared.model.folders import MANIFEST, TEMPORARY, flush_folder, subfolders, temporary_sibling, write_flushed

_LOCK = ".lock"
_LOCK_S, _LOCK_AGAIN_S = 5.0, 0.01
"""A writer takes milliseconds; one that stands still must not stop all others for ever."""
_ABANDONED_AFTER_S = 86_400.0
"""Nothing takes a day to write: what is still unfinished then was left by a process that is gone."""


class Storage(Protocol):
    """Holds versions, <model>/<version>/<file>, and small files beside the models. All names given are safe ones.

    Every method raises OSError where the storage fails.
    """

    def exists(self) -> bool:
        """Whether there is such a registry."""

    def read(self, *names: str) -> bytes:
        """The content of a file, e.g. read("news", "v1", "manifest.json"); FileNotFoundError when there is none."""

    def models(self) -> list[str]:
        """The models that have a folder, by name."""

    def versions(self, model: str) -> list[str]:
        """The versions of a model, oldest first."""

    def whole(self, model: str, version: str) -> bool:
        """Whether the version is there, with all its files."""

    def size(self, model: str, version: str) -> int:
        """Of all its files, in bytes."""

    def publish(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        """Adds a version, whole or not at all; `files` by name, the manifest last.

        Raises:
            FileExistsError: when there is such a version already.
        """

    def replace(self, name: str, content: bytes) -> None:
        """Replaces a small file beside the models: readers see the old content or the new one."""

    def remove(self, model: str, version: str) -> None:
        """Removes a version; readers see all of it or nothing."""

    def only_writer(self) -> AbstractContextManager[None]:
        """Inside, nobody else replaces or removes, where the storage has a lock."""


class LocalStorage:
    """A folder of a file system with atomic renames. What returned is on disk; kills leave all or nothing of a step."""

    def __init__(self, folder: Path) -> None:
        """The folder need not exist; the first version that is published makes it."""
        self._folder = folder

    def exists(self) -> bool:
        """See Storage."""
        return self._folder.is_dir()

    def read(self, *names: str) -> bytes:
        """See Storage."""
        return self._folder.joinpath(*names).read_bytes()

    def models(self) -> list[str]:
        """See Storage."""
        return sorted(each.name for each in subfolders(self._folder))

    def versions(self, model: str) -> list[str]:
        """See Storage; whole or not, for a version is in its place only when it is whole."""
        ages = [(each.stat().st_mtime_ns, each.name) for each in subfolders(self._folder / model)]
        return [version for _, version in sorted(ages)]

    def whole(self, model: str, version: str) -> bool:
        """See Storage."""
        return (self._folder / model / version / MANIFEST).exists()

    def size(self, model: str, version: str) -> int:
        """See Storage."""
        return sum(each.stat().st_size for each in (self._folder / model / version).iterdir())

    def publish(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        """See Storage. It also removes what killed writers left of versions of this model, a day after."""
        folder = self._folder / model / version
        if folder.exists():
            raise FileExistsError(errno.EEXIST, "the version exists")
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_sibling(folder)
        temporary.mkdir()
        try:
            _remove_abandoned(temporary)
            for name, content in files.items():
                write_flushed(temporary / name, content)
            flush_folder(temporary)
            _rename(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        flush_folder(folder.parent)
        flush_folder(self._folder)

    def replace(self, name: str, content: bytes) -> None:
        """See Storage."""
        unfinished = self._folder / f"{TEMPORARY}{name}"
        write_flushed(unfinished, content)
        unfinished.replace(self._folder / name)
        flush_folder(self._folder)

    def remove(self, model: str, version: str) -> None:
        """See Storage."""
        folder = self._folder / model / version
        hidden = temporary_sibling(folder)
        folder.rename(hidden)  # at once; deleting file by file would show a broken version
        shutil.rmtree(hidden, ignore_errors=True)

    @contextmanager
    def only_writer(self) -> Iterator[None]:
        """See Storage; the system lets go of the lock should the process die. TimeoutError where another keeps it."""
        until = time.monotonic() + _LOCK_S
        with (self._folder / _LOCK).open("ab") as lock:
            while not _locked(lock):
                if time.monotonic() > until:
                    raise TimeoutError(errno.ETIMEDOUT, "another writer keeps the lock")
                time.sleep(_LOCK_AGAIN_S)
            yield


def _locked(lock: BinaryIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _rename(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):  # another writer has just made it
            raise FileExistsError(errno.EEXIST, "the version exists") from error
        raise


def _remove_abandoned(temporary: Path) -> None:
    """Removes unfinished versions beside `temporary`, which was made just now: so one clock tells both ages."""
    now = temporary.stat().st_mtime
    for other in temporary.parent.glob(f"{TEMPORARY}*"):
        try:
            abandoned = now - other.stat().st_mtime > _ABANDONED_AFTER_S
        except FileNotFoundError:  # its writer has just finished
            continue
        if abandoned:
            shutil.rmtree(other, ignore_errors=True)
