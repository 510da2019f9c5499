"""A version is on disk whole or not at all, and what was written is what serves."""

import copy
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from shared.model.base import Base, load_base
from shared.model.blend import MODEL, Act, Blend
from shared.model.heads import Heads
from shared.model.isolation import Reference
from shared.model.manifest import InputLayout, Metric, ModelManifest, Origin, Platt, Pooling
from shared.model.packed import PackedBert
from shared.model.placement import Placement
from shared.model.ranking_model import Group, RankingModel
from shared.model.registry import versions_of
from shared.model.tokens import TokenIds
from shared.model.versions import VersionError, load_blend, load_version, read_manifest, write_version
from shared.model.zero_shot import zero_shot_heads, zero_shot_manifest, zero_shot_model
from tests.shared.model.made_blend import made_ask, made_blend, made_fusion
from tests.shared.model.made_version import LAYOUT, make_version, manifest_for, random_heads, save_random_adapter
from tests.shared.model.refusal import refused
from tests.shared.model.tiny_bert import write_tiny_bert

USER: TokenIds = (2, 5, 6, 11, 7, 8, 3)
CANDIDATES: tuple[TokenIds, ...] = ((5, 6, 3), (7, 8, 9, 10, 7, 3), (12, 3), (10, 11, 5, 5, 3))
WHOLE = st.integers(-(2**40), 2**40)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
FOLDER_NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True)
MAYBE = st.none() | FINITE
ORIGINS = st.builds(
    Origin,
    data=st.text(),
    fingerprint=st.text(),
    seeds=st.lists(WHOLE, max_size=3).map(tuple),
    code=st.text(),
    started_at=FINITE,
    seconds=FINITE,
    device=st.text(),
    settings=st.dictionaries(st.text(), st.text(), max_size=3),
)
MANIFESTS = st.builds(
    ModelManifest,
    name=FOLDER_NAME,
    version=FOLDER_NAME,
    base_id=st.text(),
    base_sha256=st.text(),
    layout=st.builds(
        InputLayout, WHOLE, WHOLE, WHOLE, st.booleans(), WHOLE, WHOLE, st.sampled_from(sorted(get_args(Pooling)))
    ),
    actions=st.lists(st.text(min_size=1), min_size=1, max_size=3, unique=True).map(tuple),
    calibration=st.lists(st.builds(Platt, FINITE, FINITE), max_size=3).map(tuple),
    calibrated=st.booleans(),
    adapted=st.just(False),
    template_version=WHOLE,
    metrics=st.lists(
        st.builds(Metric, st.text(), FINITE, MAYBE, MAYBE, st.text(), st.text(), WHOLE, st.text()), max_size=3
    ).map(tuple),
    origin=st.none() | ORIGINS,
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other over tiny tensors made these tests three times as slow on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def scores(model: RankingModel) -> np.ndarray:
    """Probabilities [candidates, actions]."""
    (context,) = model.encode_contexts([USER])
    (found,) = model.score([Group(context, model.encode_items(CANDIDATES))])
    return found


# Written and read


@settings(deadline=None, max_examples=50)
@given(manifest=MANIFESTS)
def test_a_manifest_is_read_as_it_was_written(manifest: ModelManifest) -> None:
    with tempfile.TemporaryDirectory() as folder:
        heads = Heads(torch.zeros(len(manifest.actions)), similarity=torch.ones(len(manifest.actions)))
        written = write_version(Path(folder) / manifest.name, manifest, heads, adapter=None)
        assert written == Path(folder) / manifest.name / manifest.version
        assert read_manifest(written) == manifest


@pytest.mark.parametrize("depth", range(4))
def test_a_version_without_adapter_scores_like_the_base_with_its_heads(
    tmp_path: Path, tiny_base: Base, tiny_packed: PackedBert, depth: int
) -> None:
    folder = make_version(tmp_path, tiny_base, layout=replace(LAYOUT, split_depth=depth))
    model = load_version(folder, tiny_base, tiny_packed)
    wanted = Reference(tiny_base.bert, read_manifest(folder), random_heads(model.manifest, tiny_base))
    np.testing.assert_allclose(scores(model), wanted.score(USER, CANDIDATES), atol=1e-4)


@pytest.mark.parametrize(
    "lora",
    [
        {},
        {"layers_to_transform": [1], "lora_alpha": 32, "use_rslora": True},
        {"rank_pattern": {"layer.0.attention.self.query": 2}, "alpha_pattern": {"layer.2.output.dense": 2}},
        {"bias": "all"},
        {"bias": "lora_only"},
        {"modules_to_save": ["LayerNorm"]},
        {"modules_to_save": ["position_embeddings"]},
        {"target_modules": ["word_embeddings", "value"]},
        {"use_dora": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_merged_adapter_scores_like_the_unmerged_one(
    tmp_path: Path, tiny_base: Base, tiny_packed: PackedBert, depth: int, lora: dict[str, Any]
) -> None:
    before = copy.deepcopy(tiny_base.bert.state_dict())
    unmerged = save_random_adapter(tmp_path / "adapter", tiny_base, **lora)
    folder = make_version(tmp_path, tiny_base, tmp_path / "adapter", layout=replace(LAYOUT, split_depth=depth))
    model = load_version(folder, tiny_base, tiny_packed)
    heads = random_heads(model.manifest, tiny_base)
    wanted = Reference(unmerged, model.manifest, heads).score(USER, CANDIDATES)
    np.testing.assert_allclose(scores(model), wanted, atol=1e-4)
    bare = Reference(tiny_base.bert, model.manifest, heads).score(USER, CANDIDATES)
    assert np.abs(wanted - bare).max() > 0.01
    assert all(torch.equal(before[name], now) for name, now in tiny_base.bert.state_dict().items())


def test_the_item_key_changes_with_what_an_items_state_depends_on_and_with_nothing_else(
    tmp_path: Path, tiny_base: Base
) -> None:
    other_base = load_base(str(write_tiny_bert(tmp_path / "other" / "tiny", seed=1)))

    def key(version: str, base: Base = tiny_base, dtype: Any = "float32", **changes: Any) -> str:
        layers = changes.pop("adapted_layers", None)
        folder = tmp_path / f"adapter-{version}"
        if layers is not None:
            save_random_adapter(folder, base, target_modules=["query"], layers_to_transform=layers)
        made = make_version(tmp_path, base, folder if layers is not None else None, version=version, **changes)
        return load_version(made, base, PackedBert(base.bert, Placement(dtype=dtype))).item_key

    plain = key("plain")
    same = {
        "again": key("again", actions=("like",), calibration=(Platt(),)),
        "above": key("above", adapted_layers=[2]),
        "readers": key("readers", layout=replace(LAYOUT, pooling="first", max_user_tokens=20)),
    }
    assert set(same.values()) == {plain}
    others = {
        "below": key("below", adapted_layers=[0]),
        "next": key("next", adapted_layers=[1]),
        "base": key("base", base=other_base),
        "dtype": key("dtype", dtype="bfloat16"),
        "offset": key("offset", layout=replace(LAYOUT, candidate_offset=49)),
        "depth": key("depth", layout=replace(LAYOUT, split_depth=1)),
        "cls": key("cls", layout=replace(LAYOUT, candidate_cls=True)),
        "type": key("type", layout=replace(LAYOUT, candidate_token_type=0)),
        "length": key("length", layout=replace(LAYOUT, max_candidate_tokens=12)),
    }
    assert len({plain, *others.values()}) == 1 + len(others)


def test_equal_item_keys_mean_equal_states(tmp_path: Path, tiny_base: Base, tiny_packed: PackedBert) -> None:
    save_random_adapter(tmp_path / "adapter", tiny_base, layers_to_transform=[2])
    one = load_version(make_version(tmp_path, tiny_base, version="v1"), tiny_base, tiny_packed)
    other = load_version(make_version(tmp_path, tiny_base, tmp_path / "adapter", version="v2"), tiny_base, tiny_packed)
    assert one.item_key == other.item_key
    for state, same in zip(one.encode_items(CANDIDATES), other.encode_items(CANDIDATES), strict=True):
        assert torch.equal(state, same)


def test_the_zero_shot_model_has_the_key_of_the_same_model_on_disk(
    tmp_path: Path, tiny_base: Base, tiny_packed: PackedBert
) -> None:
    manifest = zero_shot_manifest(tiny_base)
    folder = write_version(tmp_path / manifest.name, manifest, zero_shot_heads(), adapter=None)
    assert load_version(folder, tiny_base, tiny_packed).item_key == zero_shot_model(tiny_base, tiny_packed).item_key


def test_a_fusion_is_read_with_its_tables_as_it_was_written_and_changes_nothing_else(
    tmp_path: Path, tiny_base: Base, tiny_packed: PackedBert
) -> None:
    blend = made_blend()
    plain = make_version(tmp_path, tiny_base)
    manifest = manifest_for(tiny_base, version="v2")
    fused = write_version(tmp_path / "news", manifest, random_heads(manifest, tiny_base), adapter=None, blend=blend)
    assert load_blend(plain) is None
    read = load_blend(fused)
    assert read is not None
    assert read.fusion == blend.fusion
    ask = made_ask(history=(Act("b", "like"),))
    np.testing.assert_array_equal(read.probabilities(ask), blend.probabilities(ask))
    np.testing.assert_array_equal(
        scores(load_version(plain, tiny_base, tiny_packed)), scores(load_version(fused, tiny_base, tiny_packed))
    )


def test_a_fusion_without_tables_is_a_file_less(tmp_path: Path, tiny_base: Base) -> None:
    manifest = manifest_for(tiny_base)
    blend = Blend(made_fusion((MODEL,)), None)
    folder = write_version(tmp_path / "news", manifest, random_heads(manifest, tiny_base), adapter=None, blend=blend)
    assert not (folder / "crowd.safetensors").exists()
    read = load_blend(folder)
    assert read is not None
    assert read.crowd is None


# Writing


def test_an_existing_version_is_never_overwritten(tmp_path: Path, tiny_base: Base) -> None:
    folder = make_version(tmp_path, tiny_base)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with refused("exists already", tmp_path):
        make_version(tmp_path, tiny_base, actions=("like",), calibration=(Platt(),))
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_of_writers_of_one_version_one_wins_and_the_others_are_told(
    tmp_path: Path, tiny_base: Base, tiny_packed: PackedBert
) -> None:
    manifest = manifest_for(tiny_base)

    def write(seed: int) -> bool:
        try:
            write_version(tmp_path / "news", manifest, random_heads(manifest, tiny_base, seed), adapter=None)
        except VersionError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(write, range(8)))
    assert sum(won) == 1
    assert [each.name for each in (tmp_path / "news").iterdir()] == ["v1"]
    heads = load_file(tmp_path / "news" / "v1" / "heads.safetensors")
    assert torch.equal(heads["bias"], random_heads(manifest, tiny_base, won.index(True)).bias)
    load_version(tmp_path / "news" / "v1", tiny_base, tiny_packed)


def test_a_writer_killed_at_any_line_leaves_a_whole_version_or_none(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "tests.shared.model.killed", "write", tmp_path], check=True, timeout=100)
    whole = read_manifest(tmp_path / "imports" / "news" / "v1")
    seen = []
    last = max(int(each.name) for each in tmp_path.iterdir() if each.name.isdigit())
    for number in range(1, last):
        folder = tmp_path / str(number)
        seen.append(versions_of(folder, "news"))
        if not seen[-1]:
            write_version(folder / "news", whole, zero_shot_heads(), adapter=None)
        assert read_manifest(folder / "news" / "v1") == whole
        assert {file.name for file in (folder / "news" / "v1").iterdir()} == {"manifest.json", "heads.safetensors"}
    assert set(seen) == {(), ("v1",)}
    assert seen.count(()) > 20


def test_what_killed_writers_left_is_removed_a_day_later_and_not_before(tmp_path: Path, tiny_base: Base) -> None:
    first = make_version(tmp_path, tiny_base)
    now = first.stat().st_mtime
    for name, age in ((".tmp-old", 90_000), (".tmp-young", 80_000), (".other", 90_000)):
        (first.parent / name).mkdir()
        (first.parent / name / "heads.safetensors").touch()
        os.utime(first.parent / name, (now - age, now - age))
    make_version(tmp_path, tiny_base, version="v2")
    assert {each.name for each in first.parent.iterdir()} == {"v1", "v2", ".tmp-young", ".other"}


@pytest.mark.parametrize("name", ["", ".v1", "-v1", "..", "a/b", "a\\b", "v 1", "v1\n", "ü", "a" * 129])
def test_names_that_are_no_safe_folder_names_are_refused(tmp_path: Path, tiny_base: Base, name: str) -> None:
    with refused("names of model and version", tmp_path):
        make_version(tmp_path, tiny_base, version=name)
    with refused("names of model and version", tmp_path):
        make_version(tmp_path, tiny_base, name=name)
    assert not list(tmp_path.iterdir())


def test_what_no_reader_would_take_is_not_written(tmp_path: Path, tiny_base: Base) -> None:
    adapter = tmp_path / "adapter"
    save_random_adapter(adapter, tiny_base)
    manifest = manifest_for(tiny_base)
    heads = random_heads(manifest, tiny_base)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    shutil.copy(adapter / "adapter_config.json", pickled)
    (pickled / "adapter_model.bin").touch()
    adapted, nan = replace(manifest, adapted=True), float("nan")
    wrong = [
        ("`adapted`", manifest, heads, adapter),
        ("`adapted`", adapted, heads, None),
        ("adapter_model.safetensors", adapted, heads, pickled),
        ("bias must have shape", manifest, replace(heads, bias=torch.zeros(3)), None),
        ("not finite", manifest, replace(heads, similarity=torch.full((2,), nan)), None),
        ("they read nothing", manifest, Heads(heads.bias), None),
        ("JSON has no form", replace(manifest, metrics=(Metric("auc", nan),)), heads, None),
        ("calibrated must be true or false", replace(manifest, calibrated=1), heads, None),  # type: ignore[arg-type]
        ("different names", replace(manifest, actions=("click", "click")), heads, None),
    ]
    for words, described, made, trained in wrong:
        with refused(words, tmp_path):
            write_version(tmp_path / "news", described, made, trained)
    assert not (tmp_path / "news").exists()
    with refused("put it where it belongs", tmp_path):
        write_version(tmp_path / "sport", manifest, heads, adapter=None)
