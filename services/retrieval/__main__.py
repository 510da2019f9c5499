"""Starts the retrieval service: `python -m services.retrieval`."""

import os
import sys

from services.retrieval.settings import RetrievalSettings
from shared.server import serve
from shared.settings import load_or_exit


def main() -> int:
    """Serves until SIGTERM; returns the exit status."""
    # Read when numpy is first imported. Searches run side by side already; BLAS threads that wait for one another made
    # a small product five times slower on two busy cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from services.retrieval.service import RetrievalService

    settings = load_or_exit(RetrievalSettings, sys.argv[1:])
    return serve("retrieval", settings, lambda runtime: RetrievalService(runtime, settings))


if __name__ == "__main__":
    sys.exit(main())
