"""Checkpoints are whole or not there."""

from pathlib import Path

import pytest
import torch

from services.trainer.adapters import Importance
from services.trainer.checkpoints import Best, Checkpoint, CheckpointError, last_checkpoint, save_checkpoint
from services.trainer.tracking import Point


def checkpoint(step: int, run: str = "run") -> Checkpoint:
    return Checkpoint(
        run=run,
        step=step,
        trained={"bias": torch.full((2,), float(step))},
        optimizer={"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]},
        importance=Importance(sensitivity={"a": torch.ones(1)}, kept={"a": [True, False]}),
        best=Best(0.75, 1, {"bias": torch.zeros(2)}),
        waited=2,
        losses=(0.5, 0.25),
        history=(Point(1, 0.7, 0.75), Point(2, 0.6, None)),
        seconds=3.5,
    )


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "new", checkpoint(7))
    found = last_checkpoint(tmp_path / "new", "run")
    assert found is not None
    wanted = checkpoint(7)
    torch.testing.assert_close(dict(found.trained), dict(wanted.trained))
    torch.testing.assert_close(found.importance.sensitivity, wanted.importance.sensitivity)
    assert found.importance.kept == wanted.importance.kept
    assert found.best is not None
    assert (found.best.metric, found.best.step) == (0.75, 1)
    assert (found.step, found.waited, found.losses, found.history) == (7, 2, (0.5, 0.25), wanted.history)
    assert found.optimizer["param_groups"] == [{"lr": 0.1}]


def test_the_last_two_are_kept_and_leftovers_removed(tmp_path: Path) -> None:
    (tmp_path / ".tmp-step-00000001.pt-abc").write_bytes(b"half")
    for step in (1, 2, 3, 100_000_000):
        save_checkpoint(tmp_path, checkpoint(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003.pt", "step-100000000.pt"]
    found = last_checkpoint(tmp_path, "run")
    assert found is not None
    assert found.step == 100_000_000


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    save_checkpoint(tmp_path, checkpoint(2))
    path = tmp_path / "step-00000002.pt"
    path.write_bytes(path.read_bytes()[:100])
    found = last_checkpoint(tmp_path, "run")
    assert found is not None
    assert found.step == 1


def test_another_training_s_checkpoint_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(1))
    with pytest.raises(CheckpointError, match="another recipe, data set or base"):
        last_checkpoint(tmp_path, "other")


def test_an_empty_or_missing_folder_has_none(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path, "run") is None
    assert last_checkpoint(tmp_path / "missing", "run") is None
