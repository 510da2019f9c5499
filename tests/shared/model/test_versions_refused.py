"""A version that is damaged, or made for another base or program, is never served, and says why."""

import json
import os
import pickle
import shutil
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save

from shared.model.base import Base, load_base
from shared.model.blend import POPULARITY, Blend
from shared.model.fusion import fusion_bytes
from shared.model.manifest import InputLayout, Metric, ModelManifest, Origin
from shared.model.packed import PackedBert
from shared.model.placement import Placement
from shared.model.versions import load_blend, load_version, read_manifest, write_version
from tests.shared.model.made_blend import made_blend, made_fusion
from tests.shared.model.made_version import make_version, manifest_for, random_heads, save_random_adapter
from tests.shared.model.refusal import change, put, refused
from tests.shared.model.tiny_bert import write_tiny_bert

ORIGIN = Origin("world", "f" * 32, (0,), "1.0", 1.0, 2.0, "cpu", {"rank": "8"})


@pytest.fixture(scope="module")
def other_base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Like tiny_base, with other weights."""
    return load_base(str(write_tiny_bert(tmp_path_factory.mktemp("other") / "tiny", seed=1)))


@pytest.fixture(scope="module")
def adapter(tiny_base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    save_random_adapter(folder, tiny_base)
    return folder


def unreadable(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "not whole"),
        (unreadable, "cannot be read"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"{"), "not valid JSON"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe"), "not valid JSON"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"[" * 100_000), "not valid JSON"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"[]"), "format is not 1"),
        (lambda folder: change(folder, "format", to=2), "format is not 1"),
        (lambda folder: change(folder, "format", to=None), "format is not 1"),
        (lambda folder: change(folder, "format", to=True), "format must be a whole number"),
        (lambda folder: change(folder, "more", to=1), "'more' is unknown"),
        (lambda folder: change(folder, "manifest", "layout", "more", to=1), "'manifest.layout.more' is unknown"),
        (lambda folder: change(folder, "manifest", "layout", to=[]), "manifest.layout must be an object"),
        (lambda folder: change(folder, "manifest", "layout", "split_depth", to=1.0), "split_depth must be a whole"),
        (lambda folder: change(folder, "manifest", "layout", "split_depth", to=True), "split_depth must be a whole"),
        (lambda folder: change(folder, "manifest", "layout", "pooling", to="max"), "one of mean, first, last"),
        (lambda folder: change(folder, "manifest", "layout", "pooling", to=[]), "one of mean, first, last"),
        (lambda folder: change(folder, "manifest", "calibrated", to=0), "calibrated must be true or false"),
        (lambda folder: change(folder, "manifest", "base_id", to=None), "base_id must be a text"),
        (lambda folder: change(folder, "manifest", "actions", to="click"), "actions must be a list"),
        (lambda folder: change(folder, "manifest", "actions", 1, to=2), "actions[1] must be a text"),
        (lambda folder: change(folder, "manifest", "calibration", 0, "slope", to="1"), "slope must be a finite"),
        (lambda folder: change(folder, "manifest", "calibration", 0, "slope", to=10**400), "slope must be a finite"),
        (lambda folder: change(folder, "manifest", "calibration", 0, "slope", to=float("nan")), "not valid JSON"),
        (lambda folder: change(folder, "manifest", "actions", to=[]), "one at least"),
        (lambda folder: change(folder, "manifest", "name", to="../news"), "names of model and version"),
        (lambda folder: change(folder, "manifest", "version", to="v2"), "another model or version"),
        (lambda folder: change(folder, "manifest", "name", to="sport"), "another model or version"),
        (lambda folder: change(folder, "files", to={}), "must have the checksums"),
        (lambda folder: change(folder, "files", "../../secret", to="0"), "must have the checksums"),
        (lambda folder: change(folder, "files", "heads.safetensors", to=1), "must be a text"),
        (lambda folder: change(folder, "manifest", "adapted", to=False), "must have the checksums"),
        (
            lambda folder: change(folder, "manifest", "metrics", 0, "value", to=None),
            "metrics[0].value must be a finite",
        ),
        (lambda folder: change(folder, "manifest", "metrics", 0, "low", to="0"), "metrics[0].low must be a finite"),
        (lambda folder: change(folder, "manifest", "origin", to=[]), "manifest.origin must be an object"),
        (lambda folder: change(folder, "manifest", "origin", "seeds", 0, to=0.5), "origin.seeds[0] must be a whole"),
        (lambda folder: change(folder, "manifest", "origin", "settings", "rank", to=8), "settings must be a text"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(
    tmp_path: Path, tiny_base: Base, adapter: Path, damage: Callable[[Path], None], words: str
) -> None:
    folder = make_version(tmp_path, tiny_base, adapter, metrics=(Metric("auc", 0.7),), origin=ORIGIN)
    read_manifest(folder)
    damage(folder)
    with refused(words, tmp_path):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("record", "path"),
    [(ModelManifest, ()), (InputLayout, ("layout",)), (Origin, ("origin",)), (Metric, ("metrics", 0))],
)
def test_a_manifest_without_one_of_its_fields_is_refused(
    tmp_path: Path, tiny_base: Base, record: type[Any], path: Sequence[str | int]
) -> None:
    folder = make_version(tmp_path, tiny_base, metrics=(Metric("auc", 0.7),), origin=ORIGIN)
    content = (folder / "manifest.json").read_text()
    for field in fields(record):
        lacking = json.loads(content)
        place = lacking["manifest"]
        for step in path:
            place = place[step]
        del place[field.name]
        (folder / "manifest.json").write_text(json.dumps(lacking))
        with refused(f".{field.name}' is missing", tmp_path):
            read_manifest(folder)


def test_a_version_under_another_name_is_refused(tmp_path: Path, tiny_base: Base) -> None:
    folder = make_version(tmp_path, tiny_base)
    shutil.copytree(folder, tmp_path / "news" / "v2")
    shutil.copytree(folder, tmp_path / "sport" / "v1")
    for copied in (tmp_path / "news" / "v2", tmp_path / "sport" / "v1"):
        with refused("put it where it belongs", tmp_path):
            read_manifest(copied)


def test_a_file_that_is_cut_missing_or_changed_is_refused(
    tmp_path: Path, tiny_base: Base, tiny_packed: PackedBert, adapter: Path
) -> None:
    manifest = manifest_for(tiny_base, adapted=True)
    heads = random_heads(manifest, tiny_base)
    folder = write_version(tmp_path / "news", manifest, heads, adapter, made_blend())
    load_version(folder, tiny_base, tiny_packed)
    assert len(list(folder.iterdir())) == 6
    for file in sorted(folder.iterdir()):
        whole = file.read_bytes()
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        damaged = [whole[: len(whole) * part // 4] for part in range(4)]
        if file.name != "manifest.json":  # it has no checksum of its own; what it means is checked
            damaged.append(flipped)
        for content in damaged:
            file.write_bytes(content)
            with refused(file.name, tmp_path):
                load_version(folder, tiny_base, tiny_packed)
        file.unlink()
        with refused(file.name, tmp_path):
            load_version(folder, tiny_base, tiny_packed)
        file.write_bytes(whole)
    load_version(folder, tiny_base, tiny_packed)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("fusion.json", b"weights", "fusion.json cannot be served, it is not valid JSON"),
        ("fusion.json", fusion_bytes(made_fusion(("karma",))), "signals that this program does not know"),
        ("crowd.safetensors", b"tables", "crowd.safetensors cannot be served, it is not safetensors"),
    ],
)
def test_a_fusion_that_cannot_be_served_is_refused(
    tmp_path: Path, tiny_base: Base, name: str, content: bytes, words: str
) -> None:
    manifest = manifest_for(tiny_base)
    folder = write_version(tmp_path / "news", manifest, random_heads(manifest, tiny_base), None, made_blend())
    assert load_blend(folder) is not None
    put(folder, name, content)
    with refused(words, tmp_path):
        load_blend(folder)


def test_a_fusion_whose_tables_are_not_there_is_refused(tmp_path: Path, tiny_base: Base) -> None:
    manifest = manifest_for(tiny_base)
    names = (POPULARITY,)
    blend = Blend(made_fusion(names), made_blend().crowd)
    folder = write_version(tmp_path / "news", manifest, random_heads(manifest, tiny_base), None, blend)
    described = json.loads((folder / "manifest.json").read_text())
    del described["files"]["crowd.safetensors"]
    (folder / "manifest.json").write_text(json.dumps(described))
    with refused("it reads tables of the crowd, and there are none", tmp_path):
        load_blend(folder)


def test_a_version_for_another_base_or_template_is_refused(
    tmp_path: Path, tiny_base: Base, tiny_packed: PackedBert, other_base: Base
) -> None:
    folder = make_version(tmp_path, tiny_base)
    with refused("built on the base", tmp_path):
        load_version(folder, other_base, PackedBert(other_base.bert, Placement()))
    with refused("built on the base", tmp_path):
        load_version(folder, replace(tiny_base, base_id="other"), tiny_packed)
    change(folder, "manifest", "template_version", to=99)
    with refused("text template 99", tmp_path):
        load_version(folder, tiny_base, tiny_packed)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("layout", "split_depth"), 4, "split_depth must be 0 to 3"),
        (("layout", "split_depth"), -1, "split_depth must be 0 to 3"),
        (("layout", "max_user_tokens"), 193, "max_user_tokens must be 3 to 192"),
        (("layout", "candidate_offset"), 190, "candidate_offset 190"),
        (("layout", "candidate_token_type"), 2, "candidate_token_type must be 0 or 1"),
        (("actions",), ["click"], "bias must have shape (1,)"),
        (("calibration",), [], "one calibration for each action"),
    ],
)
def test_a_version_whose_parts_do_not_fit_together_is_refused(
    tmp_path: Path, tiny_base: Base, tiny_packed: PackedBert, path: Sequence[str], value: Any, words: str
) -> None:
    folder = make_version(tmp_path, tiny_base)
    change(folder, "manifest", *path, to=value)
    with refused(words, tmp_path):
        load_version(folder, tiny_base, tiny_packed)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"weight": torch.zeros(2, 32)}, "must hold bias"),
        ({"bias": torch.zeros(2), "weight": torch.zeros(2, 32), "more": torch.zeros(2)}, "must hold bias"),
        ({"bias": torch.zeros(2)}, "they read nothing"),
        ({"bias": torch.zeros(2), "weight": torch.zeros(2, 31)}, "weight must have shape (2, 32)"),
        ({"bias": torch.zeros(2, 1), "similarity": torch.zeros(2)}, "bias must have shape (2,)"),
        ({"bias": torch.zeros(2), "similarity": torch.tensor([1.0, float("inf")])}, "similarity is not finite"),
    ],
)
def test_heads_that_make_no_sense_are_refused(
    tmp_path: Path, tiny_base: Base, tiny_packed: PackedBert, tensors: dict[str, torch.Tensor], words: str
) -> None:
    folder = make_version(tmp_path, tiny_base)
    put(folder, "heads.safetensors", save(tensors))
    with refused(words, tmp_path):
        load_version(folder, tiny_base, tiny_packed)


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._folder),)


@pytest.mark.parametrize("name", ["heads.safetensors", "adapter_model.safetensors"])
def test_a_pickle_is_refused_and_never_unpickled(
    tmp_path: Path, tiny_base: Base, tiny_packed: PackedBert, adapter: Path, name: str
) -> None:
    folder = make_version(tmp_path, tiny_base, adapter)
    put(folder, name, pickle.dumps(Trap(tmp_path / "sprung")))
    with refused(f"{name} is not safetensors", tmp_path):
        load_version(folder, tiny_base, tiny_packed)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"peft_type": "IA3"}, "not of type LORA"),
        ({"layer_replication": [[0, 3], [1, 3]]}, "'layer_replication'"),
        ({"use_qalora": True}, "'use_qalora'"),
        ({"unheard_of": {"a": 1}}, "'unheard_of'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"r": "four"}, "peft cannot load"),
        ({"r": 8}, "do not fit the base's layers"),
        ({"target_modules": ["nowhere"]}, "peft cannot load"),
        ({"target_modules": ["query"]}, "do not fit the base's layers"),
        ({"layers_to_transform": [0, 1]}, "do not fit the base's layers"),
    ],
)
def test_an_adapter_with_settings_that_are_not_understood_or_do_not_fit_is_refused(
    tmp_path: Path, tiny_base: Base, tiny_packed: PackedBert, adapter: Path, setting: dict[str, Any], words: str
) -> None:
    folder = make_version(tmp_path, tiny_base, adapter)
    config = json.loads((folder / "adapter_config.json").read_text())
    put(folder, "adapter_config.json", json.dumps({**config, **setting}).encode())
    with refused(words, tmp_path):
        load_version(folder, tiny_base, tiny_packed)


@pytest.mark.parametrize("content", [b"{", b"[]", b"null"])
def test_an_adapter_config_that_is_none_is_refused(
    tmp_path: Path, tiny_base: Base, tiny_packed: PackedBert, adapter: Path, content: bytes
) -> None:
    folder = make_version(tmp_path, tiny_base, adapter)
    put(folder, "adapter_config.json", content)
    with refused("adapter", tmp_path):
        load_version(folder, tiny_base, tiny_packed)


def test_an_adapter_whose_tensors_fit_no_layer_are_missing_or_are_not_finite_is_refused(
    tmp_path: Path, tiny_base: Base, tiny_packed: PackedBert, adapter: Path
) -> None:
    folder = make_version(tmp_path, tiny_base, adapter)
    tensors = load_file(adapter / "adapter_model.safetensors")
    first, *others = sorted(tensors)
    wrong = {
        "missing": {name: tensors[name] for name in others},
        "elsewhere": {**tensors, first.replace("layer.0", "layer.7"): tensors[first].clone()},
        "transposed": {**tensors, first: tensors[first].T.contiguous()},
    }
    for content in wrong.values():
        put(folder, "adapter_model.safetensors", save(content))
        with refused("do not fit the base's layers", tmp_path):
            load_version(folder, tiny_base, tiny_packed)
    put(folder, "adapter_model.safetensors", save({**tensors, first: tensors[first] / 0}))
    with refused("not finite", tmp_path):
        load_version(folder, tiny_base, tiny_packed)
