"""A folder of models, and one small file that says which of them serve.

    <registry>/<model name>/<version>/    see shared.model.versions
    <registry>/serving.json               {"current": {model name: version}, "defaults": {surface: model name}}

In serving.json a model name may have a label, "news@challenger": so versions of one model answer side by side.
Versions never change, so all that ever changes is serving.json. It is replaced whole, by one writer at a time; readers
take no lock and need no right to write. Knows no model: what is activated is loaded, or refused, by whoever serves it.
"""

import fcntl
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from shared.model.folders import (
    MANIFEST,
    NAME_RULE,
    TEMPORARY,
    flush_folder,
    is_safe_name,
    subfolders,
    temporary_sibling,
    write_flushed,
)
from shared.model.records import RecordError, decoded, encoded, parsed

OTHER_SURFACES = ""
"""Stands for every surface that has no default of its own."""
CALLED_RULE = f"{NAME_RULE}; then, if wanted, @ and a label of the same kind"
_MOST_SURFACE_CHARACTERS = 64
_SERVING = "serving.json"
_LOCK = ".lock"


def model_of(called: str) -> str:
    """The model that is meant by a name, which may have a label."""
    return called.partition("@")[0]


def label_of(called: str) -> str:
    """The label of a name; empty without."""
    return called.partition("@")[2]


def is_called_name(called: str) -> bool:
    """Whether it keeps CALLED_RULE."""
    name, at, label = called.partition("@")
    return is_safe_name(name) and (not at or is_safe_name(label))


class RegistryError(ValueError):
    """The registry says nothing that makes sense, or is asked for what makes none; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What serves. A model may be a default without a current version: not every model comes from the registry."""

    current: Mapping[str, str] = field(default_factory=dict)
    """Version by model name, with its label."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    """Model name by surface."""

    def version_of(self, name: str) -> str | None:
        """The version that answers for a model, if one was activated."""
        return self.current.get(name)

    def default_for(self, surface: str) -> str | None:
        """The model that answers for a surface when a call names none, if one was activated."""
        return self.defaults.get(surface, self.defaults.get(OTHER_SURFACES))


def read_serving(folder: Path) -> Serving | None:
    """What serves; None before the first activation.

    Raises:
        RegistryError: when there is no such folder, or the file is damaged.
    """
    _check_folder(folder)
    try:
        serving = decoded(Serving, parsed((folder / _SERVING).read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RegistryError(f"{_SERVING} cannot be read; check its permissions and the disk") from error
    except RecordError as error:
        raise RegistryError(f"{_SERVING} is damaged, {error}; restore it, or delete it and activate again") from error
    for name, version in serving.current.items():
        _check_called(name)
        _check_version(version)
    for surface, name in serving.defaults.items():
        _check_surface(surface)
        _check_called(name)
    return serving


def activate(folder: Path, name: str, version: str, surface: str, *, stored: bool = True) -> Serving:
    """Makes a version answer for its model, and the model the default of a surface; returns what serves then.

    With a label the model is the default of nothing: it answers only calls that name it. It is on disk when this
    returns. Waits for other writers, so call it off an event loop.

    Args:
        folder: the registry.
        name: of the model, with a label where another version of it is to go on beside this one.
        version: of the model; whether it can be served is for the caller to find out before.
        surface: 1 to 64 characters, or OTHER_SURFACES, which leaves those with a default of their own as they are;
            the only one for a name with a label.
        stored: whether the version is one of the registry's; a built-in model's is not.

    Raises:
        RegistryError: for a name, version or surface that cannot be one, when the registry or the version does not
            exist, or when the file is damaged.
        OSError: when the registry cannot be written.
    """
    _check_called(name)
    _check_version(version)
    _check_surface(surface)
    _check_folder(folder)
    if surface and label_of(name):
        raise RegistryError("a model with a label cannot be the default of a surface; leave one of the two out")
    with _only_writer(folder):
        if stored and not (folder / model_of(name) / version / MANIFEST).exists():  # only here is nobody pruning
            raise RegistryError(f"model version {name}/{version}: it has gone meanwhile; activate one that is there")
        before = read_serving(folder) or Serving()
        taken = {} if label_of(name) else {surface: name}
        after = Serving({**before.current, name: version}, {**before.defaults, **taken})
        _write(folder, after)
    return after


def deactivate(folder: Path, name: str) -> Serving:
    """Takes a model, with or without a label, out of what serves, and from its surfaces; returns what serves then.

    It is on disk when this returns; nothing changes where the model does not serve.

    Raises:
        RegistryError: for a name that cannot be one, when there is no such registry, or when the file is damaged.
        OSError: when the registry cannot be written.
    """
    _check_called(name)
    _check_folder(folder)
    with _only_writer(folder):
        before = read_serving(folder) or Serving()
        after = Serving(
            {each: version for each, version in before.current.items() if each != name},
            {surface: each for surface, each in before.defaults.items() if each != name},
        )
        _write(folder, after)
    return after


def _write(folder: Path, serving: Serving) -> None:
    unfinished = folder / f"{TEMPORARY}{_SERVING}"
    write_flushed(unfinished, encoded(serving))
    unfinished.replace(folder / _SERVING)
    flush_folder(folder)


def versions_of(folder: Path, name: str) -> tuple[str, ...]:
    """The versions of a model that have a folder, whole or not, oldest first."""
    if not is_safe_name(name):
        return ()
    ages = [(each.stat().st_mtime_ns, each.name) for each in subfolders(folder / name)]
    return tuple(version for _, version in sorted(ages))


def prune(folder: Path, name: str, keep: int) -> tuple[str, ...]:
    """Removes all versions of a model but the newest `keep` and those that serve; returns what was removed.

    Raises:
        RegistryError: when serving.json is damaged: then nobody can tell which version is current; or when there is
            no such folder.
        OSError: when the registry cannot be written.
    """
    _check_folder(folder)
    with _only_writer(folder):
        serving = (read_serving(folder) or Serving()).current
        current = {version for called, version in serving.items() if model_of(called) == name}
        versions = versions_of(folder, name)
        old = tuple(each for each in versions[: max(len(versions) - keep, 0)] if each not in current)
        for version in old:
            hidden = temporary_sibling(folder / name / version)
            (folder / name / version).rename(hidden)  # at once; deleting file by file would show a broken version
            shutil.rmtree(hidden, ignore_errors=True)
    return old


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Holds the registry's lock; the system lets go of it should the process die."""
    with (folder / _LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check_folder(folder: Path) -> None:
    """A folder that is not there is never made: it may be a volume that is not mounted, or a misspelt path."""
    if not folder.is_dir():
        raise RegistryError("the registry folder does not exist; make it, mount it, or correct its path")


def _check_called(name: str) -> None:
    if not is_called_name(name):
        raise RegistryError(f"the name of a model must be {CALLED_RULE}")


def _check_version(version: str) -> None:
    if not is_safe_name(version):
        raise RegistryError(f"the name of a version must be {NAME_RULE}")


def _check_surface(surface: str) -> None:
    if len(surface) > _MOST_SURFACE_CHARACTERS:
        raise RegistryError(f"the name of a surface must have at most {_MOST_SURFACE_CHARACTERS} characters")
