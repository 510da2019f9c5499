"""The first and the last moments of a start: signals before the event loop runs, and why a service cannot start."""

import signal
import sys


def end_on_sigterm() -> None:
    """From now until the event loop takes over, SIGTERM ends the process with status 0.

    Otherwise it would be lost while libraries are imported, where the process is the first one of a container.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


class StartError(Exception):
    """Ends the start with one line. Its text names what to change, and holds no secrets."""
