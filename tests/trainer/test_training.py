"""A training ends with a version that tells how it was made and how good it is, and that the ranker can load."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.trainer.corpus import TEST, VALID
from services.trainer.evaluation import evaluate
from services.trainer.gate import Evidence, Gate, VersionFigures, judge
from services.trainer.nearest_source import NearestSource
from services.trainer.served_scorer import ServedScorer
from services.trainer.shipped_fusion import BlendedScorer
from services.trainer.training import Target, train
from shared.model.base import Base
from shared.model.packed import PackedBert
from shared.model.versions import VersionError, load_blend, load_version, read_manifest
from shared.model.zero_shot import zero_shot_model
from tests.trainer.small_corpus import RECIPE, small_corpus

CORPUS = small_corpus()


def target(folder: Path, version: str = "v1") -> Target:
    return Target(folder / "models", "news", version, folder / "work")


def test_a_version_is_written_with_its_origin_and_its_figures_beside_popularity(
    tiny_base: Base, tiny_packed: PackedBert, tmp_path: Path
) -> None:
    trained = train(CORPUS, tiny_base, RECIPE, target(tmp_path))
    manifest = read_manifest(trained.folder)
    assert trained.folder == tmp_path / "models" / "news" / "v1"
    assert load_version(trained.folder, tiny_base, tiny_packed).manifest == manifest
    assert manifest.calibrated
    assert manifest.origin is not None
    assert (manifest.origin.data, manifest.origin.seeds) == ("small", (0,))
    assert manifest.origin.settings["layout.split_depth"] == "1"
    figures = {(each.name, each.split): each.value for each in manifest.metrics if not each.slice}
    assert figures["auc", VALID] > 0.9
    assert figures["popularity/auc", VALID] == 0.5  # nothing is known of it
    assert [each.scorer for each in trained.evaluations] == ["news/v1", "zero-shot", "popularity"]
    assert not (tmp_path / "work").exists()


def test_the_gate_reads_what_was_measured(tiny_base: Base, tmp_path: Path) -> None:
    folder = train(CORPUS, tiny_base, RECIPE, target(tmp_path)).folder
    figures = VersionFigures.of(read_manifest(folder))
    gate = Gate(split=VALID, most_calibration_error=1.0)
    assert judge(Evidence(figures, None), gate).passed
    worse = VersionFigures(
        "news/v2", tuple(replace(each, value=0.1) if each.name == "auc" else each for each in figures.metrics)
    )
    assert not judge(Evidence(worse, figures), gate).passed


def test_the_figures_are_those_of_the_written_version_with_its_fusion_and_without(
    tiny_base: Base, tiny_packed: PackedBert, tmp_path: Path
) -> None:
    valid = CORPUS.splits[VALID]
    corpus = replace(CORPUS, splits={**CORPUS.splits, VALID: valid[:24], TEST: valid[24:]})
    trained = train(corpus, tiny_base, replace(RECIPE, most_steps=8, fusion=True), target(tmp_path))
    model = ServedScorer(corpus, load_version(trained.folder, tiny_base, tiny_packed))
    blend = load_blend(trained.folder)
    assert blend is not None
    zero_shot = zero_shot_model(tiny_base, tiny_packed)
    vectors = zero_shot.vectors(ServedScorer(corpus, zero_shot).states(range(len(corpus.items))))
    blended = BlendedScorer(corpus, model, blend, NearestSource(vectors), "news/v1")
    alone = "news/v1 without its fusion"
    assert [each.scorer for each in trained.of_splits[0]] == [alone, "popularity"]  # valid is what the blend knows
    assert [each.scorer for each in trained.of_splits[1]] == ["news/v1", alone, "zero-shot", "popularity"]
    for scorer, found in zip((blended, model), trained.of_splits[1], strict=False):
        measured = evaluate(scorer, corpus, TEST)
        for name in ("auc", "ndcg@10", "log_loss"):
            assert found.metric(name).value == pytest.approx(measured.metric(name).value, abs=1e-3)
    recorded = {(each.split, each.name): each.value for each in read_manifest(trained.folder).metrics if not each.slice}
    for of_split in trained.of_splits:
        assert recorded[of_split[0].split, "log_loss"] == of_split[0].metric("log_loss").value


def test_a_version_that_is_there_is_not_replaced_and_the_training_not_lost(tiny_base: Base, tmp_path: Path) -> None:
    quick = replace(RECIPE, most_steps=4)
    train(CORPUS, tiny_base, quick, target(tmp_path))
    with pytest.raises(VersionError, match="exists"):
        train(CORPUS, tiny_base, quick, target(tmp_path))
    assert train(CORPUS, tiny_base, quick, target(tmp_path, "v2")).folder.name == "v2"


def test_one_of_several_finds_what_it_has_written_and_nothing_else(tiny_base: Base, tmp_path: Path) -> None:
    quick = replace(RECIPE, most_steps=4)
    one = replace(target(tmp_path), one_of_several=True)
    written = (train(CORPUS, tiny_base, quick, one).folder / "manifest.json").stat().st_mtime_ns
    assert one.work.exists()
    again = train(CORPUS, tiny_base, quick, one)
    assert (again.folder / "manifest.json").stat().st_mtime_ns == written
    assert len(again.evaluations) == 3
    other = replace(one, work=tmp_path / "other")
    with pytest.raises(VersionError, match="exists"):
        train(CORPUS, tiny_base, replace(quick, seed=1), other)
