"""`python -m services.retrieval`: reads the settings from the environment and serves until a signal."""

import os
import sys

from shared.start import end_on_sigterm, needing


def main() -> None:
    """Ends the process with its exit status."""
    end_on_sigterm()
    # Read when numpy is first imported. Searches run side by side already; BLAS threads that wait for one another made
    # a small product five times slower on two busy cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with needing("retrieval"):
        from services.retrieval.service import RetrievalService
    from services.retrieval.settings import RetrievalSettings
    from shared.server import serve
    from shared.settings import load_or_exit

    settings = load_or_exit(RetrievalSettings, sys.argv[1:])
    serve("retrieval", settings, lambda runtime: RetrievalService(runtime, settings))


if __name__ == "__main__":
    main()
