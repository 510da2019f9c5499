"""Versions to be judged: figures and a name, and a few bytes for what would score."""

from pathlib import Path

from services.trainer.gate import AUC, CALIBRATION_ERROR, LATENCY_MS, NDCG
from shared.model.manifest import InputLayout, Metric, ModelManifest, Origin, Platt
from shared.model.storage import LocalStorage, Storage
from shared.model.version_files import HEADS, Place, VersionFiles

ORIGIN = Origin("world", "f" * 32, (0, 1), "0.1.0+abc", 1_767_225_600.0, 42.5, "cpu", {"rank": "8"})


def figures(ndcg: float, *, data: str = "d1", width: float = 0.001) -> tuple[Metric, ...]:
    """Of a model that passes the gate where its nDCG@10 does; `width`: half of every interval."""
    values = {
        NDCG: ndcg,
        AUC: 0.70,
        f"popularity/{NDCG}": 0.30,
        f"popularity/{AUC}": 0.60,
        f"zero-shot/{NDCG}": 0.30,
        f"zero-shot/{AUC}": 0.60,
        CALIBRATION_ERROR: 0.01,
    }
    measured = tuple(
        Metric(name, value, value - width, value + width, split="test", count=1000, data=data)
        for name, value in values.items()
    )
    return (*measured, Metric(LATENCY_MS, 12.0, data=data))


def add_version(
    registry: Path | Storage,
    version: str,
    metrics: tuple[Metric, ...],
    name: str = "news",
    origin: Origin | None = None,
) -> Place:
    """Publishes a version with these figures."""
    storage = LocalStorage(registry) if isinstance(registry, Path) else registry
    place = Place(storage, name, version)
    place.publish(VersionFiles(_manifest(place, metrics, origin), {HEADS: version.encode()}))
    return place


def _manifest(place: Place, metrics: tuple[Metric, ...], origin: Origin | None) -> ModelManifest:
    return ModelManifest(
        name=place.model,
        version=place.version,
        base_id="base",
        base_sha256="0" * 64,
        layout=InputLayout(),
        actions=("click",),
        calibration=(Platt(),),
        calibrated=True,
        metrics=metrics,
        origin=origin,
    )
