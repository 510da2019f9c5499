"""`python -m services.ranker`: reads the settings from the environment and serves until a signal."""

import os
import sys

from shared.start import end_on_sigterm, needing


def main() -> None:
    """Ends the process with its exit status."""
    end_on_sigterm()
    from services.ranker.settings import RankerSettings
    from shared.settings import load_or_exit

    settings = load_or_exit(RankerSettings, sys.argv[1:])  # a wrong one is told before PyTorch is imported
    # OpenMP's threads spin while they wait, which on a shared machine makes two threads slower than one. It is read
    # once, when PyTorch is imported; so that comes after.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with needing("ranker"):
        from services.ranker.service import RankerService
    from shared.server import serve

    serve("ranker", settings, lambda runtime: RankerService(settings, runtime))


if __name__ == "__main__":
    main()
