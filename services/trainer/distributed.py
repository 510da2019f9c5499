"""Several processes that train one model: each computes its share of every step's slates.

torchrun starts them and says in the environment who is who. All of them draw the same order and see the same
evaluation, so they take the same decisions without asking each other.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from shared.model.placement import DeviceName

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among all that train; by default it is alone."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"
    """As PyTorch names it, e.g. "cuda:1"."""

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes files and shows progress."""
        return self.rank == 0

    def share(self, values: Sequence[Value]) -> Sequence[Value]:
        """What of `values`, which are the same everywhere, this process has to do."""
        return values[self.rank :: self.world]

    def gathered(self, mine: Sequence[Value]) -> list[Value]:
        """The results for all values, in their order, from each process' results for its share."""
        if self.world == 1:
            return list(mine)
        shares: list[Any] = [None] * self.world
        distributed.all_gather_object(shares, list(mine))
        total = sum(len(share) for share in shares)
        return [shares[place % self.world][place // self.world] for place in range(total)]

    def total(self, mine: float) -> float:
        """The sum over all processes."""
        if self.world == 1:
            return mine
        summed = torch.tensor(mine, dtype=torch.float64, device=self.device)
        distributed.all_reduce(summed)
        return float(summed)

    def meet(self) -> None:
        """Waits until all processes are here."""
        self.total(0.0)

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model whose gradients are the mean over all processes."""
        if self.world == 1:
            return model
        # A batch of users without history leaves what reads users unused.
        return DistributedDataParallel(model, find_unused_parameters=True, broadcast_buffers=False)


@contextmanager
def processes(device: DeviceName) -> Iterator[Processes]:
    """The processes that torchrun started; alone without it. On CUDA each takes the GPU of its local rank.

    Raises:
        RuntimeError: of PyTorch, when the others do not answer.
    """
    if "WORLD_SIZE" not in os.environ:
        yield Processes(device=device)
        return
    number = int(os.environ["LOCAL_RANK"])
    if device == "cuda":
        torch.cuda.set_device(number)
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield Processes(
            distributed.get_rank(), distributed.get_world_size(), f"cuda:{number}" if device == "cuda" else device
        )
    finally:
        distributed.destroy_process_group()
