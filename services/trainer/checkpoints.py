"""Where a training stands, on disk: written whole or not at all, the last two kept.

A step's random numbers depend on its number alone, so a checkpoint needs none: weights, the optimizer's moments and
what was best so far are all there is to resume from.
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from services.trainer.adapters import Importance
from services.trainer.tracking import Point
from shared.model.folders import flush_folder, temporary_sibling, write_flushed

_KEPT = 2
_NAME = re.compile(r"step-(\d{8,})\.pt")
_LEFT = ".tmp-step-*"


class CheckpointError(ValueError):
    """A folder of checkpoints that cannot be resumed from; the text is one sentence for whoever started it."""


@dataclass(frozen=True, slots=True, eq=False)
class Best:
    """The best model so far by the validation metric; without validation the last."""

    metric: float
    step: int
    trained: Mapping[str, Tensor]
    """By parameter name, on the CPU."""


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """After `step` steps."""

    run: str
    """Fingerprint of recipe, data and base: nothing else may be resumed from this."""
    step: int
    trained: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    importance: Importance
    best: Best | None
    waited: int
    """Evaluations since the best."""
    losses: tuple[float, ...]
    """Of the steps since the last evaluation."""
    history: tuple[Point, ...]
    seconds: float


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Writes it and removes all but the last two. Killed at any point, it leaves those there were or one more."""
    folder.mkdir(parents=True, exist_ok=True)
    best, found = checkpoint.best, checkpoint.importance
    content = {
        **_shallow(checkpoint),
        "importance": _shallow(found),
        "best": None if best is None else _shallow(best),
        "history": [_shallow(point) for point in checkpoint.history],
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path = folder / f"step-{checkpoint.step:08d}.pt"
    temporary = temporary_sibling(path)
    write_flushed(temporary, buffer.getvalue())
    temporary.rename(path)
    flush_folder(folder)
    for old in [*_newest_first(folder)[_KEPT:], *folder.glob(_LEFT)]:
        old.unlink(missing_ok=True)


def last_checkpoint(folder: Path, run: str) -> Checkpoint | None:
    """The newest checkpoint that is whole; None when there is none.

    Raises:
        CheckpointError: when it is of another run.
    """
    for path in _newest_first(folder):
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # noqa: S112 - of many types; the one before is as good, only older
            continue
        if content["run"] != run:
            raise CheckpointError(
                f"the checkpoints in {folder.name} are of another recipe, data set or base; "
                "train into another folder, or remove them"
            )
        best = content.pop("best")
        return Checkpoint(
            **{
                **content,
                "importance": Importance(**content["importance"]),
                "best": None if best is None else Best(**best),
                "losses": tuple(content["losses"]),
                "history": tuple(Point(**point) for point in content["history"]),
            }
        )
    return None


def _newest_first(folder: Path) -> list[Path]:
    found = [(int(match[1]), path) for path in folder.glob("step-*.pt") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def _shallow(record: Any) -> dict[str, Any]:
    """Tensors are not copied, as dataclasses.asdict would."""
    return {each.name: getattr(record, each.name) for each in fields(record)}
