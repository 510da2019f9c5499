"""Two processes train what one would."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from services.trainer.distributed import Processes, processes
from services.trainer.fitting import fit
from shared.model.base import Base
from tests.trainer.small_corpus import small_corpus
from tests.trainer.training_run import SPREAD


def test_two_processes_give_the_result_of_one_with_the_same_batches(tiny_base: Base, tmp_path: Path) -> None:
    torchrun = (
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "tests.trainer.training_run",
        "spread",
    )
    arguments = (tiny_base.bert.name_or_path, tmp_path)
    subprocess.run(
        [sys.executable, *torchrun, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        timeout=100,
    )
    two = torch.load(tmp_path / "spread.pt", weights_only=True)
    one = fit(small_corpus(), tiny_base, SPREAD, tmp_path / "one")
    assert [step for step, _, _ in two["curve"]] == [point.step for point in one.history]
    for (_, loss, metric), point in zip(two["curve"], one.history, strict=True):
        assert abs(loss - point.loss) < 1e-3
        assert abs(metric - (point.metric or 0.0)) < 0.02
    for name, tensor in one.model.trained().items():
        torch.testing.assert_close(two["trained"][name], tensor, atol=1e-3, rtol=1e-2, msg=name)


def test_shares_cover_all_values_once() -> None:
    shares = [Processes(rank, 3).share(range(8)) for rank in range(3)]
    assert sorted(value for share in shares for value in share) == list(range(8))


def test_a_process_that_nobody_started_with_others_is_alone() -> None:
    with processes("cpu") as group:
        assert (group.rank, group.world, group.leads) == (0, 1, True)
        assert group.gathered([1, 2]) == [1, 2]
        assert group.total(1.5) == 1.5
        group.meet()  # nobody to wait for
