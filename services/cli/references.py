"""Which version is meant: a folder of its own, "news/v2", or a name for the one that answers under it."""

from pathlib import Path

from services.trainer.promotion import Channel
from shared.model.folders import MANIFEST
from shared.model.object_store import storage_at
from shared.model.registry import RegistryError, Serving, model_of, read_serving
from shared.model.storage import Storage
from shared.model.version_files import Place


def place_of(reference: str, registry: str) -> Place:
    """The version of a folder that holds one, else of a registry: see `named_place`.

    Raises:
        StorageError: when the registry's address cannot be opened.
        RegistryError: as `named_place`.
    """
    folder = Path(reference)
    if folder.joinpath(MANIFEST).is_file():
        return Place.of(folder.resolve())
    return named_place(storage_at(registry), reference)


def named_place(storage: Storage, reference: str) -> Place:
    """The version "news/v2"; or, for "news", "news@champion" and "news@challenger", the one that answers so.

    Raises:
        RegistryError: when nothing does, or there is no such registry.
    """
    called = reference.removesuffix(f"@{Channel.CHAMPION}")
    model, slash, version = called.partition("/")
    if slash:
        return Place(storage, model, version)
    current = (read_serving(storage) or Serving()).version_of(called)
    if current is None:
        raise RegistryError(f"nothing answers under the name {reference!a}; name a version, like news/v2")
    return Place(storage, model_of(called), current)
