"""A folder of models, and one small file that says which of them serve.

    <registry>/<model name>/<version>/    see shared.model.versions
    <registry>/serving.json               {"current": {model name: version}, "defaults": {surface: model name}}
    <registry>/history.json               {"before": {model name: [versions that served before, oldest first]}}

In serving.json a model name may have a label, "news@challenger": so versions of one model answer side by side.
Versions never change, so all that ever changes is serving.json, and beside it the history that a rollback follows.
Each is replaced whole, by one writer at a time; readers take no lock and need no right to write. Knows no model: what
is activated is loaded, or refused, by whoever serves it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from shared.model.folders import NAME_RULE, is_safe_name
from shared.model.records import RecordError, decoded, encoded, parsed
from shared.model.storage import LocalStorage, Storage

OTHER_SURFACES = ""
"""Stands for every surface that has no default of its own."""
CALLED_RULE = f"{NAME_RULE}; then, if wanted, @ and a label of the same kind"
_MOST_SURFACE_CHARACTERS = 64
_SERVING, _HISTORY = "serving.json", "history.json"
_LONGEST_HISTORY = 32
"""Versions that are remembered of each name."""

Record = TypeVar("Record")


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

    def activated(self, name: str, version: str, surface: str | None = None) -> "Serving":
        """With a version that answers for a name, and the name as the default of a surface.

        Without a surface the defaults stay; but a name without a label becomes the default of OTHER_SURFACES where
        there is none yet.
        """
        if surface is None and OTHER_SURFACES not in self.defaults:
            surface = OTHER_SURFACES
        taken = {} if label_of(name) or surface is None else {surface: name}
        return Serving({**self.current, name: version}, {**self.defaults, **taken})

    def deactivated(self, name: str) -> "Serving":
        """Without a name, and without the surfaces that it was the default of."""
        return Serving(
            {each: version for each, version in self.current.items() if each != name},
            {surface: each for surface, each in self.defaults.items() if each != name},
        )


@dataclass(frozen=True, slots=True)
class _History:
    """Versions that served before, by name, the oldest first.

    It is written before serving.json when one is added, and after it when one is gone back to. So it never lacks one,
    but may end, after a kill between the two, with the version that serves: that one does not count.
    """

    before: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, name: str, current: str) -> tuple[str, ...]:
        """The versions before the current one."""
        versions = self.before.get(name, ())
        return versions[:-1] if versions and versions[-1] == current else versions

    def changed(self, name: str, versions: tuple[str, ...]) -> "_History":
        """With other versions before."""
        return _History({**self.before, name: versions[-_LONGEST_HISTORY:]})


NOTHING = Serving()


def read_serving(registry: Path | Storage) -> Serving | None:
    """What serves; None before the first activation.

    Raises:
        RegistryError: when there is no such registry, or the file is damaged.
    """
    storage = _storage(registry)
    serving = _read(storage, _SERVING, Serving, "delete it and activate again")
    if serving is None:
        return None
    try:
        for name, version in serving.current.items():
            _check_called(name)
            _check_version(version)
        for surface, name in serving.defaults.items():
            _check_surface(surface)
            _check_called(name)
    except RegistryError as error:
        raise RegistryError(f"{_SERVING} is damaged, {error}; correct or restore it") from None
    return serving


def activate(
    registry: Path | Storage,
    name: str,
    version: str,
    surface: str | None,
    *,
    stored: bool = True,
    lost: Serving = NOTHING,
) -> Serving:
    """Makes a version answer for its model, and the model the default of a surface; returns what serves then.

    With a label the model is the default of nothing: it answers only calls that name it. It is on disk when this
    returns. Waits for other writers, so call it off an event loop.

    Args:
        registry: its folder, or where else it lies.
        name: of the model, with a label where another version of it is to go on beside this one.
        version: of the model; whether it can be served is for the caller to find out before.
        surface: 1 to 64 characters, or OTHER_SURFACES, which leaves those with a default of their own as they are;
            None or OTHER_SURFACES for a name with a label. None = see Serving.activated.
        stored: whether the version is one of the registry's; a built-in model's is not.
        lost: see `change`.

    Raises:
        RegistryError: for a name, version or surface that cannot be one, when the registry or the version does not
            exist, or when a file is damaged.
        OSError: when the registry cannot be written.
    """
    _check_called(name)
    _check_version(version)
    _check_surface(surface or OTHER_SURFACES)
    if surface and label_of(name):
        raise RegistryError("a model with a label cannot be the default of a surface; leave one of the two out")
    storage = _storage(registry)

    def step(before: Serving) -> Serving:
        if stored and not storage.whole(model_of(name), version):  # only here is nobody pruning
            raise RegistryError(f"model version {name}/{version}: it has gone meanwhile; activate one that is there")
        return before.activated(name, version, surface)

    return change(storage, step, lost=lost)


def deactivate(registry: Path | Storage, name: str, *, lost: Serving = NOTHING) -> Serving:
    """Takes a model, with or without a label, out of what serves, and from its surfaces; returns what serves then.

    It is on disk when this returns; nothing changes where the model does not serve. `lost`: see `change`.

    Raises:
        RegistryError: for a name that cannot be one, when there is no such registry, or when a file is damaged.
        OSError: when the registry cannot be written.
    """
    _check_called(name)
    return change(registry, lambda before: before.deactivated(name), lost=lost)


def change(registry: Path | Storage, step: Callable[[Serving], Serving], *, lost: Serving = NOTHING) -> Serving:
    """Replaces what serves by what `step` makes of it, as the only writer; returns it. Versions left are remembered.

    What `step` looks at cannot change under it, where the storage has a lock; what it raises changes nothing. Where
    there is no file, `step` gets `lost`: whoever knows what served before the file was lost says so.

    Raises:
        RegistryError: when there is no such registry, or a file is damaged.
        OSError: when the registry cannot be written.
    """
    storage = _storage(registry)
    with storage.only_writer():
        said = read_serving(storage)
        before = lost if said is None else said
        after = step(before)
        if after == (NOTHING if said is None else said):
            return after
        known = history = _read_history(storage)
        for name, version in before.current.items():
            if after.current.get(name) != version:
                history = history.changed(name, (*history.of(name, version), version))
        if history != known:
            storage.replace(_HISTORY, encoded(history))
        storage.replace(_SERVING, encoded(after))
    return after


def rollback(registry: Path | Storage, name: str) -> str:
    """Makes the version answer that answered for a name before the one that does now; returns it.

    Again and again it goes further back. Versions that have been removed meanwhile are passed over; surfaces stay.

    Raises:
        RegistryError: when the name does not serve, or nothing that is still there served before; when there is no
            such registry, or a file is damaged.
        OSError: when the registry cannot be written.
    """
    _check_called(name)
    storage = _storage(registry)
    with storage.only_writer():
        serving, history = read_serving(storage) or Serving(), _read_history(storage)
        current = serving.version_of(name)
        if current is None:
            raise RegistryError(f"the model {name} does not serve, so nothing can be rolled back; activate a version")
        versions = history.of(name, current)
        while versions and not (storage.whole(model_of(name), versions[-1]) and versions[-1] != current):
            versions = versions[:-1]
        if not versions:
            raise RegistryError(f"no version of {name} that is still there served before; activate one by its name")
        storage.replace(_SERVING, encoded(Serving({**serving.current, name: versions[-1]}, serving.defaults)))
        storage.replace(_HISTORY, encoded(history.changed(name, versions[:-1])))
    return versions[-1]


def versions_of(registry: Path | Storage, name: str) -> tuple[str, ...]:
    """The versions of a model that have a folder, oldest first."""
    storage = LocalStorage(registry) if isinstance(registry, Path) else registry
    return tuple(storage.versions(name)) if is_safe_name(name) else ()


def prune(registry: Path | Storage, name: str, keep: int) -> tuple[str, ...]:
    """Removes all versions of a model but the newest `keep`, those that serve, and those a rollback would return to.

    Returns what was removed.

    Raises:
        RegistryError: when a file is damaged: then nobody can tell which version is current; or when there is no such
            registry.
        OSError: when the registry cannot be written.
    """
    storage = _storage(registry)
    with storage.only_writer():
        serving, history = (read_serving(storage) or Serving()).current, _read_history(storage)
        wanted: set[str] = set()
        for called, version in serving.items():
            if model_of(called) == name:
                wanted.update((version, *history.of(called, version)[-1:]))
        versions = versions_of(storage, name)
        old = tuple(each for each in versions[: max(len(versions) - keep, 0)] if each not in wanted)
        for version in old:
            storage.remove(name, version)
    return old


def _read_history(storage: Storage) -> _History:
    history = _read(storage, _HISTORY, _History, "delete it, which forgets what served before") or _History()
    for name, versions in history.before.items():
        _check_called(name)
        for version in versions:
            _check_version(version)
    return history


def _read(storage: Storage, name: str, kind: type[Record], otherwise: str) -> Record | None:
    """A small file of the registry; None when there is none."""
    try:
        return decoded(kind, parsed(storage.read(name)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RegistryError(f"{name} cannot be read; check its permissions and the disk") from error
    except RecordError as error:
        raise RegistryError(f"{name} is damaged, {error}; restore it, or {otherwise}") from error


def _storage(registry: Path | Storage) -> Storage:
    """A folder that is not there is never made: it may be a volume that is not mounted, or a misspelt path."""
    storage = LocalStorage(registry) if isinstance(registry, Path) else registry
    if not storage.exists():
        raise RegistryError("the registry folder does not exist; make it, mount it, or correct its path")
    return storage


def _check_called(name: str) -> None:
    if not is_called_name(name):
        raise RegistryError(f"the name of a model must be {CALLED_RULE}")


def _check_version(version: str) -> None:
    if not is_safe_name(version):
        raise RegistryError(f"the name of a version must be {NAME_RULE}")


def _check_surface(surface: str) -> None:
    if len(surface) > _MOST_SURFACE_CHARACTERS:
        raise RegistryError(f"the name of a surface must have at most {_MOST_SURFACE_CHARACTERS} characters")
