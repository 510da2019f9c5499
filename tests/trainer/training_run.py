"""`python -m tests.trainer.training_run killed|spread BASE FOLDER`: small trainings to be killed, or spread.

killed: trains whole, and again killed twice and resumed, each in a fork, so that PyTorch is imported once.
spread: one of the processes that torchrun started.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from services.trainer.distributed import Processes, processes
from services.trainer.fitting import Around, fit
from services.trainer.recipe import TrainRecipe
from services.trainer.tracking import Observers, Stepped
from shared.model.base import load_base
from tests.trainer.small_corpus import RECIPE, small_corpus

SPREAD = replace(RECIPE, lora_dropout=0.0, accumulation=2, most_steps=6, evaluate_every=3)


class Killer(Observers):
    """Kills the process after a step, at 0 never; keeps the first step it is told of."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after
        self.first = 0

    def stepped(self, done: Stepped) -> None:
        self.first = self.first or done.step
        if done.step == self._after:
            os.kill(os.getpid(), signal.SIGKILL)


def train(base: str, folder: Path, out: Path, recipe: TrainRecipe, around: Around) -> None:
    """Writes weights, learning curve and the first step of this attempt to `out`."""
    fitted = fit(small_corpus(), load_base(base), recipe, folder, around)
    if around.processes.leads:
        curve = [(point.step, point.loss, point.metric) for point in fitted.history]
        first = around.observer.first if isinstance(around.observer, Killer) else 0
        torch.save({"trained": dict(fitted.model.trained()), "curve": curve, "first": first}, out)


def in_fork(work: Callable[[], None]) -> int:
    """How the fork ended: 0 or the signal."""
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return status


def main() -> None:
    """See above."""
    torch.set_num_threads(1)
    what, base, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if what == "spread":
        with processes("cpu") as group:
            train(base, folder / "spread", folder / "spread.pt", SPREAD, Around(group))
        return
    for method in ("lora", "adalora"):
        recipe = replace(RECIPE, method=method, hidden_dropout=0.1, most_steps=28)
        for name, kills in (("whole", (0,)), ("killed", (7, 22, 0))):
            for after in kills:
                around = Around(Processes(), Killer(after))
                checkpoints, out = folder / f"{method}-{name}", folder / f"{method}-{name}.pt"
                ended = in_fork(lambda: train(base, checkpoints, out, recipe, around))  # noqa: B023 - called at once
                if ended != (signal.SIGKILL if after else 0):
                    sys.exit(f"{method} {name} {after} ended with {ended}")


if __name__ == "__main__":
    main()
