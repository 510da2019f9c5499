"""A version as files and bytes: what is in it, whether it is whole, and how it gets from one registry to another.

Needs no PyTorch, so that whoever lists, compares or copies versions needs none. What the files mean to a model is in
shared.model.versions.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.model.folders import MANIFEST, NAME_RULE, is_safe_name
from shared.model.manifest import ModelManifest
from shared.model.records import RecordError, decoded, encoded, parsed
from shared.model.storage import LocalStorage, Storage

FORMAT = 1
"""Of the files and of the manifest's fields. Programs read exactly theirs, strictly, so whoever changes either raises
it; while no version has left the house there is nothing to tell apart, and it stays 1."""
HEADS = "heads.safetensors"
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FUSION, CROWD = "fusion.json", "crowd.safetensors"
_OPTIONAL = frozenset({FUSION, CROWD})
_LISTED = 5


class VersionError(ValueError):
    """A version that cannot be written or served; the text is one sentence for whoever made it."""


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """A whole version: its manifest, and the content of every other file by name."""

    manifest: ModelManifest
    contents: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class _Contents:
    """What manifest.json holds. `files`: SHA-256 of every other file, hexadecimal, by name."""

    format: int
    manifest: ModelManifest
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """A version of a registry, by the names of its folders."""

    storage: Storage
    model: str
    version: str

    @classmethod
    def of(cls, folder: Path) -> "Place":
        """Of <registry>/<model>/<version>."""
        return cls(LocalStorage(folder.parent.parent), folder.parent.name, folder.name)

    def refused(self, why: str) -> VersionError:
        """An error that names the version."""
        named = ascii(f"{self.model}/{self.version}")[1:-1]  # it may be anything, this being about to be refused
        return VersionError(f"model version {named}: {why}")

    def manifest(self) -> ModelManifest:
        """What the version says of itself.

        Raises:
            VersionError: when it is missing, damaged, of another format, or not of the model and version that the
                folders are named after.
        """
        return self._described().manifest

    def read(self) -> VersionFiles:
        """All of it, each file read once: what is checked is what is used.

        Raises:
            VersionError: as `manifest`, and for files that are missing or not what was written.
        """
        described = self._described()
        contents = {name: self._verified(name, sha256) for name, sha256 in described.files.items()}
        return VersionFiles(described.manifest, contents)

    def read_some(self, *names: str) -> Mapping[str, bytes]:
        """Those of these files that the version has, by name; the others are not looked at.

        Raises:
            VersionError: as `read`.
        """
        files = self._described().files
        return {name: self._verified(name, files[name]) for name in names if name in files}

    def publish(self, files: VersionFiles) -> None:
        """Adds the version.

        Raises:
            VersionError: when there is such a version already, or no reader would take the manifest.
            OSError: when the storage fails or is full.
        """
        self.check(files.manifest)
        checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.contents.items()}
        try:
            manifest = encoded(_Contents(FORMAT, files.manifest, checksums))
        except RecordError as error:
            raise self.refused(f"its manifest cannot be written, {error}; correct it") from error
        try:
            self.storage.publish(self.model, self.version, {**files.contents, MANIFEST: manifest})
        except FileExistsError as error:
            raise self.refused("it exists already, and versions never change; choose another version") from error

    def check(self, manifest: ModelManifest) -> None:
        """What can be said of a manifest without a base.

        Raises:
            VersionError: when it cannot be that of this version.
        """
        self._check_names(manifest.name, manifest.version)
        if (manifest.name, manifest.version) != (self.model, self.version):
            raise self.refused("its manifest names another model or version than its folders; put it where it belongs")
        if not manifest.actions or len({*manifest.actions, ""}) != len(manifest.actions) + 1:
            raise self.refused("its actions must be different names, one at least; correct its manifest")

    def _check_names(self, *names: str) -> None:
        if not all(is_safe_name(each) for each in names):
            raise self.refused(f"the names of model and version must be {NAME_RULE}; rename it")

    def _described(self) -> _Contents:
        self._check_names(self.model, self.version)
        try:
            value = parsed(self.storage.read(self.model, self.version, MANIFEST))
            if not isinstance(value, dict) or value.get("format") != FORMAT:
                raise self.refused(f"its format is not {FORMAT}, the one this program reads; update the older of both")
            described = decoded(_Contents, value)
        except (FileNotFoundError, NotADirectoryError) as error:
            versions = self.storage.versions(self.model)
            if self.version not in versions:
                there = f"{self.model} has {', '.join(versions[-_LISTED:])}" if versions else "its model has none"
                raise self.refused(f"there is no such version, {there}; correct the name, or write it") from error
            raise self.refused(f"it has no {MANIFEST}, so it is not whole; copy or write it again") from error
        except OSError as error:
            raise self.refused(f"{MANIFEST} cannot be read; check its permissions and the disk") from error
        except RecordError as error:
            raise self.refused(f"{MANIFEST} is damaged, {error}; copy or write it again") from error
        self.check(described.manifest)
        wanted = files_of(described.manifest)
        if described.files.keys() - _OPTIONAL != set(wanted):
            named = ", ".join(wanted)
            raise self.refused(f"{MANIFEST} must have the checksums of {named} and no others; write it again")
        return described

    def _verified(self, name: str, sha256: str) -> bytes:
        try:
            content = self.storage.read(self.model, self.version, name)
        except OSError as error:
            raise self.refused(f"{name} is missing or cannot be read; copy or write the version again") from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise self.refused(f"{name} is not what was written, its checksum differs; copy the version again")
        return content


def files_of(manifest: ModelManifest) -> tuple[str, ...]:
    """Names of the files that the version must have besides the manifest; it may have a fusion and its tables too."""
    return (HEADS, ADAPTER_CONFIG, ADAPTER_WEIGHTS) if manifest.adapted else (HEADS,)
