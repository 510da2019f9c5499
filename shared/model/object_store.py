"""A registry on whatever fsspec reaches: s3://bucket/models, gs://…, memory://….

There are no folders, renames or locks there; one put of one file is all that happens at once. So a version's manifest
is put last, and a version without one is not there. What that leaves open: of two writers of one version both may
succeed, and the checksums in the manifest then refuse what they mixed; of two that change what serves at the same
moment one change may be lost. Give every version a name of its own, and let one process at a time promote.
"""

import errno
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import Any

from shared.model.folders import MANIFEST, is_safe_name
from shared.model.storage import LocalStorage, Storage

_LOCAL = "file://"


class StorageError(ValueError):
    """No place for a registry; the text is one sentence for whoever named it."""


def storage_at(place: str) -> Storage:
    """The storage of a path, or of a URL that fsspec knows.

    Raises:
        StorageError: for a URL that nothing here can open.
    """
    if "://" in place and not place.startswith(_LOCAL):
        return ObjectStore(place)
    return LocalStorage(Path(place.removeprefix(_LOCAL)))


class ObjectStore:
    """See Storage, and the head of this module."""

    def __init__(self, url: str) -> None:
        """`url` as fsspec reads it; credentials come from where its backend looks for them.

        Raises:
            StorageError: when it cannot be opened.
        """
        kind = ascii(url.partition("://")[0])[1:-1]
        try:
            from fsspec.core import url_to_fs  # type: ignore[import-untyped]

            self._files, self._root = url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            raise StorageError(f"{kind}:// needs fsspec and its backend; install them, e.g. fsspec[s3]") from error
        except Exception as error:  # of many types
            raise StorageError(f"the {kind}:// address cannot be opened; correct it") from error

    def exists(self) -> bool:
        """Always: a prefix needs no making, and without objects cannot be told from a misspelt one."""
        return True

    def read(self, *names: str) -> bytes:
        """See Storage."""
        with _failures():
            content: bytes = self._files.cat_file(self._path(*names))
            return content

    def models(self) -> list[str]:
        """See Storage."""
        return sorted(self._folders())

    def versions(self, model: str) -> list[str]:
        """See Storage; only what is whole."""
        found = []
        for version in self._folders(model):
            try:
                with _failures():
                    found.append((self._files.modified(self._path(model, version, MANIFEST)), version))
            except FileNotFoundError:
                continue
        return [version for _, version in sorted(found)]

    def whole(self, model: str, version: str) -> bool:
        """See Storage."""
        with _failures():
            return bool(self._files.exists(self._path(model, version, MANIFEST)))

    def size(self, model: str, version: str) -> int:
        """See Storage."""
        with _failures():
            return int(self._files.du(self._path(model, version)))

    def publish(self, model: str, version: str, files: Mapping[str, bytes]) -> None:
        """See Storage; of writers at the same time, see the head of this module."""
        if self.whole(model, version):
            raise FileExistsError(errno.EEXIST, "the version exists")
        for name, content in files.items():
            self._put(content, model, version, name)

    def replace(self, name: str, content: bytes) -> None:
        """See Storage."""
        self._put(content, name)

    def remove(self, model: str, version: str) -> None:
        """See Storage."""
        with _failures():
            self._files.rm_file(self._path(model, version, MANIFEST))  # from here on it is not there
            self._files.rm(self._path(model, version), recursive=True)

    def only_writer(self) -> AbstractContextManager[None]:
        """Nothing: there is no lock."""
        return nullcontext()

    def _put(self, content: bytes, *names: str) -> None:
        with _failures():
            self._files.pipe_file(self._path(*names), content)

    def _path(self, *names: str) -> str:
        return "/".join((self._root.rstrip("/"), *names))

    def _folders(self, *names: str) -> list[str]:
        try:
            with _failures():
                entries: list[dict[str, Any]] = self._files.ls(self._path(*names), detail=True)
        except FileNotFoundError:
            return []
        found = [PurePosixPath(entry["name"]).name for entry in entries if entry["type"] == "directory"]
        return [name for name in found if is_safe_name(name)]


@contextmanager
def _failures() -> Iterator[None]:
    """Backends raise what their clients raise; here every failure is an OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(errno.EIO, f"the object store failed ({type(error).__name__})") from error
