"""Where a model computes and in which number format; one value that is chosen at start and passed around."""

from dataclasses import dataclass
from typing import Literal

import torch

DeviceName = Literal["cpu", "cuda"]
DtypeName = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class Placement:
    """A device and the format of weights and hidden states; heads and vectors are float32 everywhere."""

    device: DeviceName = "cpu"
    dtype: DtypeName = "float32"


def chosen_device(wanted: Literal["auto", "cpu", "cuda"]) -> DeviceName:
    """The device asked for; "auto" takes the GPU where there is one.

    Raises:
        ValueError: when CUDA is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise ValueError("device cuda was asked for, but PyTorch finds no CUDA device; use cpu or auto")
    return "cuda" if available and wanted != "cpu" else "cpu"
