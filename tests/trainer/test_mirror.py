"""A local registry follows another one, and never names what it does not have."""

from pathlib import Path
from uuid import uuid4

import pytest

from services.trainer.mirror import copy_version, pull
from shared.model.object_store import ObjectStore
from shared.model.registry import RegistryError, Serving, activate, read_serving, rollback
from shared.model.storage import LocalStorage
from shared.model.version_files import HEADS, Place, VersionError
from tests.trainer.promoted import add_version, figures


@pytest.fixture
def source() -> ObjectStore:
    """A registry with three versions; the first serves."""
    storage = ObjectStore(f"memory://{uuid4().hex}/models")
    for version in ("v1", "v2", "v3"):
        add_version(storage, version, figures(0.4))
    activate(storage, "news", "v1", "home")
    return storage


def names(places: tuple[Place, ...]) -> list[str]:
    return [f"{place.model}/{place.version}" for place in places]


def test_what_serves_is_copied_once_and_followed(source: ObjectStore, tmp_path: Path) -> None:
    assert names(pull(source, tmp_path)) == ["news/v1"]
    assert names(pull(source, tmp_path)) == []
    activate(source, "news", "v2", None)
    activate(source, "news@challenger", "v3", None)
    activate(source, "zero-shot", "1", "mail", stored=False)
    assert names(pull(source, tmp_path)) == ["news/v2", "news/v3"]
    assert read_serving(tmp_path) == read_serving(source)
    rollback(source, "news")
    assert names(pull(source, tmp_path)) == []
    assert (read_serving(tmp_path) or Serving()).version_of("news") == "v1"
    for version in ("v1", "v2", "v3"):
        assert Place(LocalStorage(tmp_path), "news", version).read() == Place(source, "news", version).read()


def test_a_version_that_is_not_whole_leaves_what_serves_alone(source: ObjectStore, tmp_path: Path) -> None:
    pull(source, tmp_path)
    activate(source, "news", "v2", None)
    manifest = source.read("news", "v2", "manifest.json")
    source.remove("news", "v2")
    with pytest.raises(VersionError, match="there is no such version"):
        pull(source, tmp_path)
    source.publish("news", "v2", {HEADS: b"other", "manifest.json": manifest})
    with pytest.raises(VersionError, match="checksum differs"):
        pull(source, tmp_path)
    assert (read_serving(tmp_path) or Serving()).version_of("news") == "v1"
    assert LocalStorage(tmp_path).versions("news") == ["v1"]


def test_there_must_be_something_to_follow_and_a_folder_for_it(source: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="nothing serves"):
        pull(ObjectStore(f"memory://{uuid4().hex}"), tmp_path)
    with pytest.raises(RegistryError, match="the registry folder does not exist"):
        pull(source, tmp_path / "absent")


def test_a_version_is_copied_to_an_object_store_and_back(source: ObjectStore, tmp_path: Path) -> None:
    copied = copy_version(Place(source, "news", "v2"), LocalStorage(tmp_path))
    assert copied.read() == Place(source, "news", "v2").read()
    with pytest.raises(VersionError, match="exists already"):
        copy_version(copied, source)
