"""Where a model computes and in which number format; one value that is chosen at start and passed around."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

DeviceName = Literal["auto", "cpu", "cuda"]
DtypeName = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class Placement:
    """A device and the format of its matrix products. Weights stay float32: bfloat16 is by autocast."""

    device: Literal["cpu", "cuda"] = "cpu"
    dtype: DtypeName = "float32"

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Inside, nothing is recorded for gradients and products are made in `dtype`."""
        reduced = self.dtype == "bfloat16"
        with torch.inference_mode(), torch.autocast(self.device, dtype=torch.bfloat16, enabled=reduced):
            yield


def place(device: DeviceName, dtype: DtypeName) -> Placement:
    """The placement asked for; "auto" takes the GPU where there is one.

    Raises:
        ValueError: when CUDA is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise ValueError("device cuda was asked for, but PyTorch finds no CUDA device; use cpu or auto")
    return Placement("cuda" if available and device != "cpu" else "cpu", dtype)
