"""What was trained is what is served."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.trainer.calibration import fit_calibration
from services.trainer.corpus import VALID
from services.trainer.fitting import Fitted, fit
from services.trainer.served_version import manifest_of, write_fitted
from shared.model.base import Base
from shared.model.packed import PackedBert
from shared.model.ranking_model import Group
from shared.model.versions import load_version, read_manifest
from tests.trainer.small_corpus import LAYOUT, RECIPE, small_corpus, training_scores

CORPUS = small_corpus()


def served_scores(folder: Path, base: Base, packed: PackedBert, fitted: Fitted) -> np.ndarray:
    model = load_version(folder, base, packed)
    parts = []
    for example in CORPUS.splits[VALID]:
        context = fitted.tokens.context(example.history)
        states = model.encode_items([fitted.tokens.candidates[item] for item in example.candidates])
        parts += model.score([Group(model.encode_contexts([context])[0] if context else None, states)])
    return np.concatenate(parts)


@pytest.mark.parametrize(
    "changes",
    [
        *({"layout": replace(LAYOUT, split_depth=depth)} for depth in (0, 2, 3)),
        {"layout": replace(LAYOUT, pooling="last"), "rslora": True, "adapted_layers": (1, 2)},
        {"method": "adalora", "learning_rate": 2e-2, "most_steps": 20},
        {"layout": replace(LAYOUT, split_depth=1), "user_bias_start": 2.0},
        {"state_weight": False, "targets": ("query", "value")},
    ],
    ids="-".join,
)
def test_a_version_scores_like_the_model_in_training(
    tiny_base: Base, tiny_packed: PackedBert, tmp_path: Path, changes: dict
) -> None:
    recipe = replace(RECIPE, **{"most_steps": 8, **changes})
    fitted = fit(CORPUS, tiny_base, recipe, tmp_path / "checkpoints")
    valid = CORPUS.splits[VALID]
    logits = np.concatenate(fitted.predict(valid))
    calibration = fit_calibration(logits, np.concatenate([example.labels for example in valid]))
    manifest = manifest_of(fitted, tiny_base, "news", "v1", calibration)
    folder = write_fitted(tmp_path, fitted, tiny_base, manifest)
    assert folder == tmp_path / "news" / "v1"
    assert read_manifest(folder) == manifest
    assert manifest.calibrated == calibration.fitted
    wanted = training_scores(fitted, calibration.platts, valid)
    found = served_scores(folder, tiny_base, tiny_packed, fitted)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert str(tmp_path) not in (folder / "adapter_config.json").read_text()
    without = replace(manifest, version="v0", adapted=False)
    assert not np.allclose(found, unadapted(tmp_path, fitted, tiny_base, tiny_packed, without), atol=1e-3)


def unadapted(registry: Path, fitted: Fitted, base: Base, packed: PackedBert, manifest) -> np.ndarray:
    from shared.model.versions import write_version

    folder = write_version(registry / manifest.name, manifest, fitted.heads, None)
    return served_scores(folder, base, packed, fitted)
