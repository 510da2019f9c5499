"""`python -m services.ranker`: reads settings from the environment and serves until a signal."""

import os
import sys

from services.ranker.settings import RankerSettings
from shared.server import serve
from shared.settings import load_or_exit


def main() -> int:
    """Returns the exit status."""
    settings = load_or_exit(RankerSettings, sys.argv[1:])
    # OpenMP's threads spin while they wait, which on a shared machine makes two threads slower than one. It is read
    # once, when PyTorch is imported; so that comes after.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from services.ranker.service import RankerService

    return serve("ranker", settings, lambda runtime: RankerService(settings, runtime))


if __name__ == "__main__":
    sys.exit(main())
