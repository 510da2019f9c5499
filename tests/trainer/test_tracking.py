"""Observers show what happened."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from services.trainer.tracking import Observers, Point, ProgressBar, Stepped, TensorBoard, tensorboard_if_installed


def test_tensorboard_files_hold_loss_and_metric_by_step(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    observers = Observers(tensorboard_if_installed(tmp_path))
    observers.stepped(Stepped(1, 2, 0.5, 1e-4, 30.0))
    observers.stepped(Stepped(2, 2, 0.25, 5e-5, 30.0))
    observers.measured(Point(2, 0.375, 0.9))
    observers.measured(Point(3, 0.375, None))
    observers.close()
    read = EventAccumulator(str(tmp_path)).Reload()
    assert [(one.step, one.value) for one in read.Scalars("train/loss")] == [(1, 0.5), (2, 0.25)]
    assert [(one.step, round(one.value, 6)) for one in read.Scalars("valid/metric")] == [(2, 0.9)]


def test_without_tensorboard_nobody_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert tensorboard_if_installed(tmp_path) == ()
    with pytest.raises(ImportError):
        TensorBoard(tmp_path)


def test_the_progress_bar_tells_rate_loss_and_metric() -> None:
    shown = StringIO()
    bar = ProgressBar(Console(file=shown, force_terminal=True, width=160))
    bar.measured(Point(1, 0.5, 0.8125))
    bar.stepped(Stepped(3, 4, 0.5, 1e-4, 30.0))
    bar.close()
    assert "3/4" in shown.getvalue()
    assert "loss 0.5000 · metric 0.8125 · 30 slates/s" in shown.getvalue()
