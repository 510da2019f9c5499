"""A model version on disk: a folder that appears whole or not at all, and never changes.

    <model name>/<version>/manifest.json                 what the model is, and the SHA-256 of every other file
                           heads.safetensors             bias, and weight or similarity or both; perhaps user_bias
                           adapter_config.json           as peft saves a LoRA adapter; only where there is one
                           adapter_model.safetensors
                           fusion.json                   what blends the model's scores with others; optional
                           crowd.safetensors             the tables that the fusion reads, if it reads any

The base is not in it: it never changes, and the manifest says which one it has to be; so does the tokenizer, which is
the base's. A version is made and loaded in a local folder; shared.model.version_files can copy it anywhere else.
"""

import dataclasses
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from shared.model.adapter import AdapterError, merged
from shared.model.base import Base
from shared.model.blend import Blend
from shared.model.crowd import crowd_bytes, read_crowd
from shared.model.fusion import fusion_bytes, read_fusion
from shared.model.heads import Heads
from shared.model.item_key import lower_key
from shared.model.manifest import ModelManifest
from shared.model.packed import PackedBert
from shared.model.ranking_model import RankingModel
from shared.model.text import TEMPLATE_VERSION
from shared.model.version_files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CROWD,
    FUSION,
    HEADS,
    Place,
    VersionError,
    VersionFiles,
)

__all__ = ["VersionError", "load_blend", "load_version", "read_manifest", "write_version"]

_TENSORS = tuple(field.name for field in dataclasses.fields(Heads))


def write_version(
    parent: Path, manifest: ModelManifest, heads: Heads, adapter: Path | None, blend: Blend | None = None
) -> Path:
    """Writes a version to `parent`/<version> and returns that folder.

    Killed at any point, it leaves a whole version or none that a reader could see; once it returns, the version is on
    disk. It also removes what writers before it left unfinished, a day after.

    Args:
        parent: the folder of the model; its name is the model's. It is made if need be.
        manifest: what the model is; `adapted` says whether there is an adapter.
        heads: in any format; kept as float32.
        adapter: where peft's save_pretrained put a LoRA adapter of the base.
        blend: what is served with the model's scores, if anything is.

    Raises:
        VersionError: when there is such a version already, or no reader would take what was given.
        OSError: when the disk fails or is full.
    """
    folder = parent / manifest.version
    place = Place.of(folder)
    place.check(manifest)
    contents = _contents(place, manifest, heads, adapter)
    place.publish(VersionFiles(manifest, {**contents, **_blend_contents(place, blend)}))
    return folder


def read_manifest(folder: Path) -> ModelManifest:
    """The manifest of the version in `folder`.

    Raises:
        VersionError: when it is missing, damaged, of another format, or not of the model and version that the folders
            are named after.
    """
    return Place.of(folder).manifest()


def load_blend(folder: Path) -> Blend | None:
    """The fusion of the version in `folder` with its tables, ready to serve; None when it has none.

    Raises:
        VersionError: when these files are not what was written, or make no sense to this program.
    """
    place = Place.of(folder)
    contents = place.read_some(FUSION, CROWD)
    if FUSION not in contents:
        return None
    name = FUSION
    try:
        fusion = read_fusion(contents[FUSION])
        name = CROWD
        crowd = read_crowd(contents[CROWD]) if CROWD in contents else None
        name = FUSION
        return Blend(fusion, crowd)
    except ValueError as error:
        raise place.refused(f"{name} cannot be served, {error}; write the version again") from error


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
    place = Place.of(folder)
    files = place.read()
    manifest, contents = files.manifest, files.contents
    _check_made_for(place, manifest, base)
    heads = _heads(place, contents[HEADS])
    bert = base.bert
    try:
        if manifest.adapted:
            bert = merged(base.bert, contents[ADAPTER_CONFIG], contents[ADAPTER_WEIGHTS])
            packed = PackedBert(bert, packed.placement, like=(base.bert, packed))
        return RankingModel(base, packed, manifest, heads, lower_key(base, bert, manifest, packed.placement))
    except AdapterError as error:
        raise place.refused(str(error)) from error
    except ValueError as error:
        raise place.refused(f"{error}; make the version again with parts that fit together") from error


def _contents(place: Place, manifest: ModelManifest, heads: Heads, adapter: Path | None) -> dict[str, bytes]:
    """Contents of heads and adapter by file name."""
    if manifest.adapted != (adapter is not None):
        raise place.refused("its manifest's `adapted` must say whether an adapter is given; set it so")
    try:
        heads.check(len(manifest.actions), 0 if heads.weight is None else int(heads.weight.shape[-1]))
    except ValueError as error:
        raise place.refused(f"{error}; train the heads again") from error
    tensors = {name: getattr(heads, name) for name in _TENSORS}
    files = {HEADS: save({name: _kept(tensor) for name, tensor in tensors.items() if tensor is not None})}
    if adapter is not None:
        for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
            try:
                files[name] = (adapter / name).read_bytes()
            except FileNotFoundError as error:
                raise place.refused(f"its adapter has no {name}; save it with save_pretrained") from error
    return files


def _blend_contents(place: Place, blend: Blend | None) -> dict[str, bytes]:
    """Contents by file name."""
    if blend is None:
        return {}
    try:
        files = {FUSION: fusion_bytes(blend.fusion)}
        return files if blend.crowd is None else {**files, CROWD: crowd_bytes(blend.crowd)}
    except ValueError as error:
        raise place.refused(f"its fusion cannot be written, {error}; fit it again") from error


def _kept(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True).contiguous()


def _check_made_for(place: Place, manifest: ModelManifest, base: Base) -> None:
    if (manifest.base_id, manifest.base_sha256) != (base.base_id, base.sha256):
        raise place.refused(
            f"it is built on the base {manifest.base_id!a} ({manifest.base_sha256[:8]}) and this program runs "
            f"{base.base_id!a} ({base.sha256[:8]}); serve it with its own base, or train it on this one",
        )
    if manifest.template_version != TEMPLATE_VERSION:
        raise place.refused(
            f"it was trained on text template {manifest.template_version} and this program writes template "
            f"{TEMPLATE_VERSION}; train it again",
        )


def _heads(place: Place, content: bytes) -> Heads:
    try:
        tensors = {name: tensor.float() for name, tensor in load(content).items()}
    except Exception as error:  # of many types
        raise place.refused(f"{HEADS} is not safetensors; write the version again") from error
    if "bias" not in tensors or tensors.keys() - {*_TENSORS}:
        raise place.refused(f"{HEADS} must hold bias, and weight or similarity or both; write the version again")
    return Heads(**tensors)
