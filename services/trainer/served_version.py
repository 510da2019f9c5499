"""A trained model as a version that the ranker serves: adapter, heads, layout and calibration, and nothing lost.

What is written scores like the model in training, to rounding: the same tokens, the same mask, the same heads.
"""

import tempfile
from pathlib import Path

from services.trainer.adapters import save_adapter
from services.trainer.calibration import Calibration
from services.trainer.fitting import Fitted
from shared.model.adapter import merged
from shared.model.base import Base
from shared.model.blend import Blend
from shared.model.item_key import lower_key
from shared.model.manifest import ModelManifest
from shared.model.packed import PackedBert
from shared.model.ranking_model import RankingModel
from shared.model.version_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from shared.model.versions import write_version


def manifest_of(fitted: Fitted, base: Base, name: str, version: str, calibration: Calibration) -> ModelManifest:
    """The manifest of a trained model; what else is known of it may be added with dataclasses.replace."""
    return ModelManifest(
        name=name,
        version=version,
        base_id=base.base_id,
        base_sha256=base.sha256,
        layout=fitted.recipe.layout,
        actions=fitted.actions,
        calibration=calibration.platts,
        calibrated=calibration.fitted,
        adapted=True,
    )


def served_model(fitted: Fitted, base: Base, manifest: ModelManifest, packed: PackedBert) -> RankingModel:
    """The model as a ranker would have it after loading the version; `packed` holds the weights of `base`."""
    with tempfile.TemporaryDirectory() as temporary:
        save_adapter(fitted.model.adapter, base, fitted.recipe, Path(temporary))
        config, weights = (Path(temporary, name).read_bytes() for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS))
    bert = merged(base.bert, config, weights)
    packed = PackedBert(bert, packed.placement, like=(base.bert, packed))
    key = lower_key(base, bert, manifest, packed.placement)
    return RankingModel(base, packed, manifest, fitted.heads, key)


def write_fitted(
    registry: Path, fitted: Fitted, base: Base, manifest: ModelManifest, blend: Blend | None = None
) -> Path:
    """Writes the version to `registry`/<name>/<version>, with `blend` if there is one; returns that folder.

    Raises:
        VersionError: as write_version.
        OSError: as write_version.
    """
    with tempfile.TemporaryDirectory() as temporary:
        save_adapter(fitted.model.adapter, base, fitted.recipe, Path(temporary))
        return write_version(registry / manifest.name, manifest, fitted.heads, Path(temporary), blend)
