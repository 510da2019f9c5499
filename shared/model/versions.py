"""A model version on disk: a folder that appears whole or not at all, and never changes.

    <model name>/<version>/manifest.json                 what the model is, and the SHA-256 of every other file
                           heads.safetensors             bias, and weight or similarity or both
                           adapter_config.json           as peft saves a LoRA adapter; only where there is one
                           adapter_model.safetensors

The base is not in it: it never changes, and the manifest says which one it has to be.
"""

import errno
import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from shared.model.adapter import AdapterError, merged
from shared.model.base import Base
from shared.model.folders import (
    MANIFEST,
    NAME_RULE,
    TEMPORARY,
    flush_folder,
    is_safe_name,
    temporary_sibling,
    write_flushed,
)
from shared.model.heads import Heads
from shared.model.item_key import lower_key
from shared.model.manifest import ModelManifest
from shared.model.packed import PackedBert
from shared.model.ranking_model import RankingModel
from shared.model.records import RecordError, decoded, encoded, parsed
from shared.model.text import TEMPLATE_VERSION

FORMAT = 1
"""Of the folder; it changes when older programs could not read a version any more."""
_HEADS = "heads.safetensors"
_ADAPTER_CONFIG, _ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_ABANDONED_AFTER_S = 86_400.0
"""Nothing takes a day to write: what is still unfinished then was left by a process that is gone."""


class VersionError(ValueError):
    """A version that cannot be written or served; the text is one sentence for whoever made it."""


@dataclass(frozen=True, slots=True)
class _Contents:
    """What manifest.json holds. `files`: SHA-256 of every other file, hexadecimal, by name."""

    format: int
    manifest: ModelManifest
    files: Mapping[str, str]


def write_version(parent: Path, manifest: ModelManifest, heads: Heads, adapter: Path | None) -> Path:
    """Writes a version to `parent`/<version> and returns that folder.

    Killed at any point, it leaves a whole version or none that a reader could see; once it returns, the version is on
    disk. It also removes what writers before it left unfinished, a day after.

    Args:
        parent: the folder of the model; its name is the model's. It is made if need be.
        manifest: what the model is; `adapted` says whether there is an adapter.
        heads: in any format; kept as float32.
        adapter: where peft's save_pretrained put a LoRA adapter of the base.

    Raises:
        VersionError: when there is such a version already, or no reader would take what was given.
        OSError: when the disk fails or is full.
    """
    folder = parent / manifest.version
    _check_manifest(folder, manifest)
    files = _files_to_write(folder, manifest, heads, adapter)
    if folder.exists():
        raise _refused(folder, "it exists already, and versions never change; choose another version")
    parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_sibling(folder)
    temporary.mkdir()
    try:
        _remove_abandoned(temporary)
        for name, content in files.items():
            write_flushed(temporary / name, content)
        flush_folder(temporary)
        _publish(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    flush_folder(parent)
    flush_folder(parent.parent)
    return folder


def read_manifest(folder: Path) -> ModelManifest:
    """The manifest of the version in `folder`.

    Raises:
        VersionError: when it is missing, damaged, of a newer format, or not of the model and version that the folders
            are named after.
    """
    return _read(folder).manifest


def load_version(folder: Path, base: Base, packed: PackedBert) -> RankingModel:
    """The version in `folder`, ready to score; it shares with `packed` all layers that its adapter leaves alone.

    Args:
        folder: <model name>/<version>.
        base: what the version must be built on.
        packed: the weights of `base`, where the version shall compute.

    Raises:
        VersionError: when the version is not whole, not made for this base and program, or makes no sense.
        RuntimeError: of PyTorch, when the device has no memory for it.
    """
    contents = _read(folder)
    manifest = contents.manifest
    _check_made_for(folder, manifest, base)
    files = {name: _verified(folder, name, sha256) for name, sha256 in contents.files.items()}
    heads = _heads(folder, files[_HEADS])
    bert = base.bert
    try:
        if manifest.adapted:
            bert = merged(base.bert, files[_ADAPTER_CONFIG], files[_ADAPTER_WEIGHTS])
            packed = PackedBert(bert, packed.placement, like=(base.bert, packed))
        return RankingModel(base, packed, manifest, heads, lower_key(base, bert, manifest, packed.placement))
    except AdapterError as error:
        raise _refused(folder, str(error)) from error
    except ValueError as error:
        raise _refused(folder, f"{error}; make the version again with parts that fit together") from error


def _refused(folder: Path, why: str) -> VersionError:
    named = ascii(f"{folder.parent.name}/{folder.name}")[1:-1]  # it may be anything, this being about to be refused
    return VersionError(f"model version {named}: {why}")


def _files_of(manifest: ModelManifest) -> tuple[str, ...]:
    return (_HEADS, _ADAPTER_CONFIG, _ADAPTER_WEIGHTS) if manifest.adapted else (_HEADS,)


def _files_to_write(folder: Path, manifest: ModelManifest, heads: Heads, adapter: Path | None) -> Mapping[str, bytes]:
    """Contents by file name, in the order in which they are written."""
    if manifest.adapted != (adapter is not None):
        raise _refused(folder, "its manifest's `adapted` must say whether an adapter is given; set it so")
    try:
        heads.check(len(manifest.actions), 0 if heads.weight is None else int(heads.weight.shape[-1]))
    except ValueError as error:
        raise _refused(folder, f"{error}; train the heads again") from error
    tensors = {"bias": heads.bias, "weight": heads.weight, "similarity": heads.similarity}
    files = {_HEADS: save({name: _kept(tensor) for name, tensor in tensors.items() if tensor is not None})}
    if adapter is not None:
        for name in (_ADAPTER_CONFIG, _ADAPTER_WEIGHTS):
            try:
                files[name] = (adapter / name).read_bytes()
            except FileNotFoundError as error:
                raise _refused(folder, f"its adapter has no {name}; save it with save_pretrained") from error
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    try:
        return {**files, MANIFEST: encoded(_Contents(FORMAT, manifest, checksums))}
    except RecordError as error:
        raise _refused(folder, f"its manifest cannot be written, {error}; correct it") from error


def _kept(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True).contiguous()


def _publish(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise _refused(folder, "another writer has just made it; choose another version") from error
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


def _read(folder: Path) -> _Contents:
    try:
        value = parsed((folder / MANIFEST).read_bytes())
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise _refused(folder, f"its format is not {FORMAT}, the one this program reads; update the older of both")
        contents = decoded(_Contents, value)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _refused(folder, f"it has no {MANIFEST}, so it is not whole; copy or write it again") from error
    except OSError as error:
        raise _refused(folder, f"{MANIFEST} cannot be read; check its permissions and the disk") from error
    except RecordError as error:
        raise _refused(folder, f"{MANIFEST} is damaged, {error}; copy or write it again") from error
    _check_manifest(folder, contents.manifest)
    if contents.files.keys() != set(_files_of(contents.manifest)):
        wanted = ", ".join(_files_of(contents.manifest))
        raise _refused(folder, f"{MANIFEST} must have the checksums of {wanted} and no others; write it again")
    return contents


def _check_manifest(folder: Path, manifest: ModelManifest) -> None:
    """What can be said without a base."""
    if not (is_safe_name(manifest.name) and is_safe_name(manifest.version)):
        raise _refused(folder, f"the names of model and version must be {NAME_RULE}; rename it")
    if (manifest.name, manifest.version) != (folder.parent.name, folder.name):
        raise _refused(folder, "its manifest names another model or version than its folders; put it where it belongs")
    if not manifest.actions or len({*manifest.actions, ""}) != len(manifest.actions) + 1:
        raise _refused(folder, "its actions must be different names, one at least; correct its manifest")


def _check_made_for(folder: Path, manifest: ModelManifest, base: Base) -> None:
    if (manifest.base_id, manifest.base_sha256) != (base.base_id, base.sha256):
        raise _refused(
            folder,
            f"it is built on the base {manifest.base_id!a} ({manifest.base_sha256[:8]}) and this program runs "
            f"{base.base_id!a} ({base.sha256[:8]}); serve it with its own base, or train it on this one",
        )
    if manifest.template_version != TEMPLATE_VERSION:
        raise _refused(
            folder,
            f"it was trained on text template {manifest.template_version} and this program writes template "
            f"{TEMPLATE_VERSION}; train it again",
        )


def _verified(folder: Path, name: str, sha256: str) -> bytes:
    """The content of a file, read once: what is checked is what is used."""
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise _refused(folder, f"{name} is missing or cannot be read; copy or write the version again") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise _refused(folder, f"{name} is not what was written, its checksum differs; copy the version again")
    return content


def _heads(folder: Path, content: bytes) -> Heads:
    try:
        tensors = {name: tensor.float() for name, tensor in load(content).items()}
    except Exception as error:  # of many types
        raise _refused(folder, f"{_HEADS} is not safetensors; write the version again") from error
    if "bias" not in tensors or tensors.keys() - {"bias", "weight", "similarity"}:
        raise _refused(folder, f"{_HEADS} must hold bias, and weight or similarity or both; write the version again")
    return Heads(**tensors)
