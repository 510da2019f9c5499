"""`python -m tests.shared.model.killed ACTION FOLDER`: acts in FOLDER/1, FOLDER/2, …, killed each time one line later.

A fork acts and kills itself before the n-th line of our own code that it comes to; the last one gets to the end. By
forking, PyTorch is imported once.
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

OWN_CODE = tuple(f"shared/model/{name}.py" for name in ("folders", "registry", "storage", "version_files", "versions"))


def write(folder: Path) -> None:
    """Writes version v1 of the model "news"."""
    import torch

    from shared.model.heads import Heads
    from shared.model.manifest import InputLayout, ModelManifest, Platt
    from shared.model.versions import write_version

    manifest = ModelManifest("news", "v1", "base", "0" * 64, InputLayout(), ("click",), (Platt(),), calibrated=False)
    write_version(folder / "news", manifest, Heads(torch.zeros(1), similarity=torch.ones(1)), adapter=None)


def activate(folder: Path) -> None:
    """Activates version v2 of the model "news"."""
    from shared.model import registry

    registry.activate(folder, "news", "v2", registry.OTHER_SURFACES)


def roll_back(folder: Path) -> None:
    """Rolls the model "news" back."""
    from shared.model import registry

    registry.rollback(folder, "news")


def killed_at_line(number: int, action: Callable[[Path], None], folder: Path) -> bool:
    """Whether the action was killed before it came to its end."""
    child = os.fork()
    if not child:
        lines = itertools.count(1)

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            own = frame.f_code.co_filename.endswith(OWN_CODE)
            if own and event == "line" and next(lines) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace if own else None

        sys.settrace(trace)
        action(folder)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status and not os.WIFSIGNALED(status):
        sys.exit("the action failed by itself")
    return os.WIFSIGNALED(status)


def main() -> None:
    """See above."""
    action = {"write": write, "activate": activate, "roll_back": roll_back}[sys.argv[1]]
    action(Path(sys.argv[2]) / "imports")
    for number in itertools.count(1):
        if not killed_at_line(number, action, Path(sys.argv[2]) / str(number)):
            return


if __name__ == "__main__":
    main()
