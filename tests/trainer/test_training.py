"""A training ends with a version that tells how it was made and how good it is, and that the ranker can load."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.trainer.corpus import VALID
from services.trainer.gate import Evidence, Gate, VersionFigures, judge
from services.trainer.training import Target, train
from shared.model.base import Base
from shared.model.packed import PackedBert
from shared.model.versions import VersionError, load_version, read_manifest
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
    assert [each.scorer for each in trained.evaluations] == ["news/v1", "popularity"]
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


def test_scores_of_the_evaluation_are_the_served_probabilities(
    tiny_base: Base, tiny_packed: PackedBert, tmp_path: Path
) -> None:
    from services.trainer.training import FittedScorer
    from tests.trainer.test_served_version import served_scores

    trained = train(CORPUS, tiny_base, replace(RECIPE, most_steps=8), target(tmp_path))
    platt = read_manifest(trained.folder).calibration[0]
    found = np.concatenate(FittedScorer(trained.fitted, platt).scores(CORPUS.splits[VALID]))
    np.testing.assert_allclose(
        found, served_scores(trained.folder, tiny_base, tiny_packed, trained.fitted)[:, 0], atol=1e-4
    )


def test_a_version_that_is_there_is_not_replaced_and_the_training_not_lost(tiny_base: Base, tmp_path: Path) -> None:
    quick = replace(RECIPE, most_steps=4)
    train(CORPUS, tiny_base, quick, target(tmp_path))
    with pytest.raises(VersionError, match="exists"):
        train(CORPUS, tiny_base, quick, target(tmp_path))
    assert train(CORPUS, tiny_base, quick, target(tmp_path, "v2")).folder.name == "v2"
