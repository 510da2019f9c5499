"""A trained model as a version that the ranker serves: adapter, heads, layout and calibration, and nothing lost.

What is written scores like the model in training, to rounding: the same tokens, the same mask, the same heads.
"""

import tempfile
from pathlib import Path

from services.trainer.adapters import save_adapter
from services.trainer.calibration import Calibration
from services.trainer.fitting import Fitted
from shared.model.base import Base
from shared.model.manifest import ModelManifest
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


def write_fitted(registry: Path, fitted: Fitted, base: Base, manifest: ModelManifest) -> Path:
    """Writes the version to `registry`/<name>/<version>; returns that folder.

    Raises:
        VersionError: as write_version.
        OSError: as write_version.
    """
    with tempfile.TemporaryDirectory() as temporary:
        save_adapter(fitted.model.adapter, base, fitted.recipe, Path(temporary))
        return write_version(registry / manifest.name, manifest, fitted.heads, Path(temporary))
