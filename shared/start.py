"""The first and the last moments of a start: signals before the event loop runs, and why a service cannot start."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def end_on_sigterm() -> None:
    """From now until the event loop takes over, SIGTERM ends the process with status 0.

    Otherwise it would be lost while libraries are imported, where the process is the first one of a container.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Ends the process with one line where a package is missing that the project's extra `extra` brings."""
    try:
        yield
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed: pip install '.[{extra}]' brings what this needs", file=sys.stderr)
        raise SystemExit(2) from None


class StartError(Exception):
    """Ends the start with one line. Its text names what to change, and holds no secrets."""
