"""A base model is what it says it is, or it is not loaded."""

import json
from pathlib import Path

import pytest
import torch

from shared.model import base as base_module
from shared.model.base import PACKAGED_ID, PACKAGED_SHA256, Base, BaseModelError, load_base, sha256_of
from tests.shared.model.tiny_bert import write_tiny_bert


def test_the_packaged_base_has_the_pinned_weights(packaged_base: Base) -> None:
    assert packaged_base.base_id == PACKAGED_ID
    assert packaged_base.sha256 == PACKAGED_SHA256
    assert (packaged_base.layers, packaged_base.width, packaged_base.positions) == (6, 384, 512)


def test_packaged_weights_with_another_checksum_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tiny_bert(tmp_path / "changed")
    monkeypatch.setattr(base_module, "_packaged_folder", lambda: folder)
    with pytest.raises(BaseModelError, match=f"expected {PACKAGED_SHA256}"):
        load_base(PACKAGED_ID)


def test_a_folder_gives_its_name_checksum_and_shape(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path / "small-bert", layers=2)
    base = load_base(str(folder))
    assert base.base_id == "small-bert"
    assert base.sha256 == sha256_of(folder / "model.safetensors")
    assert (base.layers, base.width, base.positions) == (2, 32, 192)


def test_a_base_is_loaded_for_inference_in_float32_with_sdpa_attention(tiny_base: Base) -> None:
    assert not tiny_base.bert.training
    assert {parameter.dtype for parameter in tiny_base.bert.parameters()} == {torch.float32}
    assert tiny_base.bert.config._attn_implementation == "sdpa"


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match=r"no model\.safetensors"):
        load_base(str(tmp_path))


def test_a_model_of_another_architecture_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "roberta"}))
    with pytest.raises(BaseModelError, match="roberta"):
        load_base(str(folder))


def test_weights_that_lack_layers_are_refused(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path / "short", layers=2)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(BaseModelError, match="lack"):
        load_base(str(folder))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", "version https://git-lfs.github.com/spec/v1"),  # fetched without its contents
        ("config.json", "{}"),
        ("config.json", "{"),
        ("tokenizer.json", "{}"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, file: str, content: str) -> None:
    folder = write_tiny_bert(tmp_path / "damaged")
    (folder / file).write_text(content)
    with pytest.raises(BaseModelError, match=f"{file} is missing, damaged"):
        load_base(str(folder))


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path / "wide")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))
    with pytest.raises(BaseModelError, match="of another model"):
        load_base(str(folder))


def test_a_folder_without_a_tokenizer_is_refused_and_none_made_up(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path / "mute")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(BaseModelError, match="no vocabulary"):
        load_base(str(folder))


def test_a_tokenizer_of_a_larger_model_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path / "mixed")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"]["unheard"] = len(content["model"]["vocab"])
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(BaseModelError, match="take both from the same model"):
        load_base(str(folder))


def test_a_hub_model_that_cannot_be_reached_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(base_module, "cached_file", unreachable)
    with pytest.raises(BaseModelError, match="neither the packaged model, nor a folder"):
        load_base("nobody/no-such-model")


def test_what_was_fetched_from_the_hub_before_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tiny_bert(tmp_path / "tiny")

    def cached(_: str, name: str, *, local_files_only: bool = False) -> str:
        assert local_files_only
        return str(folder / name)

    def loaded(location: str, base_id: str, sha256: str, *, local_files_only: bool) -> tuple[str, bool]:
        assert base_id == location
        return sha256, local_files_only

    monkeypatch.setattr(base_module, "cached_file", cached)
    monkeypatch.setattr(base_module, "_load", loaded)
    assert load_base("somebody/tiny") == (sha256_of(folder / "model.safetensors"), True)


@pytest.mark.parametrize(("field", "value"), [("hidden_act", "relu"), ("position_embedding_type", "relative_key")])
def test_a_bert_of_another_kind_is_refused(tmp_path: Path, field: str, value: str) -> None:
    folder = write_tiny_bert(tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, field: value}))
    with pytest.raises(BaseModelError, match="absolute positions and gelu"):
        load_base(str(folder))
