"""What a registry asks of a storage, every storage does; what only a folder can promise is tested beside it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from shared.model.manifest import InputLayout, ModelManifest, Platt
from shared.model.object_store import ObjectStore, StorageError, storage_at
from shared.model.registry import (
    OTHER_SURFACES,
    RegistryError,
    Serving,
    activate,
    deactivate,
    prune,
    read_serving,
    rollback,
    versions_of,
)
from shared.model.storage import LocalStorage, Storage
from shared.model.version_files import CROWD, FUSION, HEADS, Place, VersionError, VersionFiles

FILES = {"heads.safetensors": b"heads", "manifest.json": b"{}"}


@pytest.fixture(params=["folder", "objects"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """An empty registry."""
    if request.param == "folder":
        yield LocalStorage(tmp_path)
        return
    name = uuid4().hex
    yield ObjectStore(f"memory://{name}/models")
    files = fsspec.filesystem("memory")
    if files.exists(name):
        files.rm(name, recursive=True)


def version_files(name: str = "news", version: str = "v1", heads: bytes = b"heads") -> VersionFiles:
    manifest = ModelManifest(name, version, "base", "0" * 64, InputLayout(), ("click",), (Platt(),), calibrated=False)
    return VersionFiles(manifest, {HEADS: heads, FUSION: b"weights", CROWD: b"tables"})


def add(storage: Storage, *versions: str, name: str = "news") -> None:
    for version in versions:
        Place(storage, name, version).publish(version_files(name, version))


# What every storage does


def test_an_empty_storage_has_nothing(storage: Storage) -> None:
    assert storage.exists()
    assert (storage.models(), storage.versions("news")) == ([], [])
    assert not storage.whole("news", "v1")
    with pytest.raises(FileNotFoundError):
        storage.read("serving.json")


def test_what_is_published_is_read_as_it_was(storage: Storage) -> None:
    storage.publish("news", "v1", FILES)
    assert {name: storage.read("news", "v1", name) for name in FILES} == FILES
    assert storage.whole("news", "v1")
    assert storage.size("news", "v1") == 7
    with pytest.raises(FileNotFoundError):
        storage.read("news", "v1", "fusion.json")


def test_a_version_that_exists_is_not_published_again(storage: Storage) -> None:
    storage.publish("news", "v1", FILES)
    with pytest.raises(FileExistsError):
        storage.publish("news", "v1", {**FILES, "heads.safetensors": b"other"})
    assert storage.read("news", "v1", "heads.safetensors") == b"heads"


def test_models_are_listed_by_name_and_versions_oldest_first(storage: Storage) -> None:
    for model, version in (("sport", "v1"), ("news", "v9"), ("news", "v10"), ("news", "v1")):
        storage.publish(model, version, FILES)
    storage.replace("serving.json", b"{}")
    assert storage.models() == ["news", "sport"]
    assert storage.versions("news") == ["v9", "v10", "v1"]
    assert storage.versions("music") == []


def test_a_small_file_is_replaced(storage: Storage) -> None:
    for content in (b"1", b"22", b""):
        storage.replace("serving.json", content)
        assert storage.read("serving.json") == content


def test_a_version_that_is_removed_is_gone_with_its_files(storage: Storage) -> None:
    for version in ("v1", "v2"):
        storage.publish("news", version, FILES)
    storage.remove("news", "v1")
    assert storage.versions("news") == ["v2"]
    with pytest.raises(FileNotFoundError):
        storage.read("news", "v1", "heads.safetensors")
    storage.publish("news", "v1", FILES)
    assert storage.whole("news", "v1")


# Registries and versions on it


def test_a_version_is_read_with_all_its_files(storage: Storage) -> None:
    place = Place(storage, "news", "v1")
    place.publish(version_files())
    assert place.read() == version_files()
    assert place.manifest() == version_files().manifest
    with pytest.raises(VersionError, match="exists already"):
        place.publish(version_files(heads=b"other"))
    with pytest.raises(VersionError, match="there is no such version"):
        Place(storage, "news", "v2").read()
    with pytest.raises(VersionError, match="names of model and version"):
        Place(storage, "..", "news").read()


def test_a_registry_serves_follows_and_returns(storage: Storage) -> None:
    assert read_serving(storage) is None
    add(storage, "v1", "v2", "v3")
    for version in ("v1", "v2", "v3"):
        serving = activate(storage, "news", version, OTHER_SURFACES)
        assert read_serving(storage) == serving == Serving({"news": version}, {OTHER_SURFACES: "news"})
    assert (rollback(storage, "news"), rollback(storage, "news")) == ("v2", "v1")
    with pytest.raises(RegistryError, match="it has gone meanwhile"):
        activate(storage, "news", "v4", OTHER_SURFACES)
    assert versions_of(storage, "news") == ("v1", "v2", "v3")
    assert prune(storage, "news", keep=1) == ("v2",)
    assert deactivate(storage, "news") == Serving()


@pytest.mark.parametrize("damage", [b"", b"head"])
def test_a_file_that_is_not_what_was_written_is_refused(storage: Storage, damage: bytes) -> None:
    described = version_files()
    Place(storage, "news", "v1").publish(described)
    manifest = storage.read("news", "v1", "manifest.json")
    storage.remove("news", "v1")
    storage.publish("news", "v1", {**described.contents, HEADS: damage, "manifest.json": manifest})
    with pytest.raises(VersionError, match=r"heads\.safetensors is not what was written"):
        Place(storage, "news", "v1").read()


# What only one of them does


def test_an_object_stores_version_without_a_manifest_is_not_there() -> None:
    url = f"memory://{uuid4().hex}/models"
    fsspec.filesystem("memory").pipe_file(f"{url}/news/v1/heads.safetensors", b"heads")
    storage = ObjectStore(url)
    assert storage.versions("news") == []
    with pytest.raises(VersionError, match="there is no such version"):
        Place(storage, "news", "v1").read()
    storage.publish("news", "v1", FILES)  # a writer that was killed may write it again
    assert storage.versions("news") == ["v1"]


def test_the_manifest_is_put_last(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = ObjectStore(f"memory://{uuid4().hex}/models")
    files = fsspec.filesystem("memory")
    put = []
    original = type(files).pipe_file

    def noting(self: object, path: str, *arguments: object, **named: object) -> None:
        put.append(Path(path).name)
        original(self, path, *arguments, **named)

    monkeypatch.setattr(type(files), "pipe_file", noting)
    Place(storage, "news", "v1").publish(version_files())
    assert put == [HEADS, FUSION, CROWD, "manifest.json"]


def test_a_failure_of_the_backend_is_an_os_error_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = ObjectStore(f"memory://{uuid4().hex}/models")

    def broken(self: object, path: str) -> bytes:
        raise ValueError("secret")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", broken)
    with pytest.raises(OSError, match=r"the object store failed \(ValueError\)"):
        storage.read("serving.json")


def test_a_path_is_a_folder_and_a_url_is_an_object_store(tmp_path: Path) -> None:
    storage_at(str(tmp_path)).publish("news", "v1", FILES)
    assert storage_at(f"file://{tmp_path}").versions("news") == ["v1"]
    assert isinstance(storage_at("memory://models"), ObjectStore)
    with pytest.raises(StorageError, match="the nowhere:// address cannot be opened"):
        storage_at("nowhere://models")


def test_what_killed_writers_left_in_a_folder_is_removed_a_day_later(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.publish("news", "v1", FILES)
    now = (tmp_path / "news" / "v1").stat().st_mtime
    for name, age in ((".tmp-old", 90_000), (".tmp-young", 80_000)):
        (tmp_path / "news" / name).mkdir()
        os.utime(tmp_path / "news" / name, (now - age, now - age))
    storage.publish("news", "v2", FILES)
    assert {each.name for each in (tmp_path / "news").iterdir()} == {"v1", "v2", ".tmp-young"}


def test_who_lists_copies_and_promotes_needs_neither_pytorch_nor_fsspec(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; import services.trainer.promotion, services.trainer.mirror\n"
        "from shared.model.object_store import storage_at; storage_at(sys.argv[1]).models()\n"
        "sys.exit(','.join({'torch', 'fsspec', 'numpy'} & {*sys.modules}) or 0)"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True, timeout=60)
