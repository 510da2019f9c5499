"""Becomes the program it is given, bound to its parent: Linux kills it when the parent is gone.

Run as a file with the parent's process id and the program's arguments. The request to the kernel (prctl
PR_SET_PDEATHSIG) survives exec, so the program itself need not know.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Binds, then execs; ends with status 1 when the parent ended before the binding took hold."""
    parent, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(1)
    os.execvp(arguments[0], arguments)  # noqa: S606


if __name__ == "__main__":
    main()
