"""Brings what serves from one registry to another: how a ranker, which reads a local folder, follows an object store.

Versions come first and serving.json last, so the local registry never names a version that is not there yet. Run it
again and again; what is there already is not copied again.
"""

from pathlib import Path

from shared.model.registry import RegistryError, change, model_of, read_serving
from shared.model.storage import LocalStorage, Storage
from shared.model.version_files import Place


def copy_version(place: Place, to: Storage) -> Place:
    """Copies one version, whole or not at all; its checksums are verified on the way.

    Raises:
        VersionError: when it is not whole, or there is such a version already.
        OSError: when the storage fails or is full.
    """
    copied = Place(to, place.model, place.version)
    copied.publish(place.read())
    return copied


def pull(source: Storage, folder: Path) -> tuple[Place, ...]:
    """Makes the registry in `folder` serve what `source` serves; returns the versions that had to be copied.

    Raises:
        RegistryError: when one of both does not exist, has a damaged file, or nothing serves in `source`.
        VersionError: when a version that serves is not whole; then nothing of what serves has changed.
        OSError: when a storage fails or is full.
    """
    serving = read_serving(source)
    if serving is None:
        raise RegistryError("nothing serves in the registry to be followed; promote a version there")
    target = LocalStorage(folder)
    before = read_serving(target)
    copied = []
    for called, version in serving.current.items():
        model = model_of(called)
        built_in = not source.versions(model)
        if not built_in and not target.whole(model, version):
            copied.append(copy_version(Place(source, model, version), target))
    if serving != before:
        change(target, lambda _: serving)
    return tuple(copied)
