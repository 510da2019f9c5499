"""Child processes that never outlive their parent.

Each child leads a session of its own, so that Ctrl-C reaches the parent only and the parent decides the order of
the end. A child that is not stopped in an orderly way dies with the parent (services/cli/bound_child.py), and what the
services acknowledged is on disk by then. Nothing of ours runs between fork and exec: gRPC's fork handlers would run
there too, beside its own threads, and have aborted a child before its program began.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

STOP_AFTER_S = 15.0
"""From SIGTERM to SIGKILL; longer than the ten seconds a service takes at most to drain."""
REMEMBERED_LINES = 200
_BOUND_CHILD = Path(__file__).with_name("bound_child.py")

Echo = Callable[[str, str], None]
"""Called with the child's name and a line of its output, from the child's reader thread."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. `environment` is added to the parent's."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]


class ChildDiedError(RuntimeError):
    """A child ended although nobody asked it to."""

    def __init__(self, name: str, status: int, last_lines: Sequence[str]) -> None:
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        super().__init__(f"{name} ended with {how}")
        self.name = name
        self.last_lines = tuple(last_lines)


class Child:
    """One running process; its output is read all the time and the last lines are kept."""

    def __init__(self, command: Command, echo: Echo | None) -> None:
        self.name = command.name
        self._echo = echo
        self._lines: deque[str] = deque(maxlen=REMEMBERED_LINES)
        self._process = subprocess.Popen(
            # -I -S: the binding needs the standard library only, and must not wait for the child's own packages.
            (sys.executable, "-I", "-S", str(_BOUND_CHILD), str(os.getpid()), *command.arguments),
            env={**os.environ, **command.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {self.name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id, which is also the id of its group."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def last_lines(self, count: int) -> tuple[str, ...]:
        """The newest lines of its output, oldest first."""
        return tuple(self._lines)[-count:]

    def terminate(self) -> None:
        """Asks it to drain and end."""
        if self.status is None:
            self._process.terminate()

    def wait(self, timeout_s: float) -> bool:
        """Waits for its end and for the last of its output; False when it still runs after `timeout_s`."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        self._reader.join(1.0)
        return True

    def kill(self) -> None:
        """Ends it and what it started, at once."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def _read(self) -> None:
        stream = self._process.stdout
        if stream is None:
            return
        with stream:
            for line in stream:
                text = line.rstrip("\n")
                self._lines.append(text)
                if self._echo is not None:
                    self._echo(self.name, text)


class Launcher:
    """Starts children and, as a context manager, ends them whatever happens.

    Use it from the main thread: PR_SET_PDEATHSIG follows the thread that started the child.
    """

    def __init__(self, echo: Echo | None = None) -> None:
        self._echo = echo
        self.children: list[Child] = []

    def __enter__(self) -> "Launcher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, commands: Sequence[Command]) -> None:
        """Starts the commands side by side."""
        for command in commands:
            self.children.append(Child(command, self._echo))

    def check(self) -> None:
        """Raises ChildDiedError when a child has ended, with what it wrote last."""
        for child in self.children:
            status = child.status
            if status is not None:
                child.wait(0)
                raise ChildDiedError(child.name, status, child.last_lines(REMEMBERED_LINES))

    def stop(self, timeout_s: float = STOP_AFTER_S) -> None:
        """Ends the children one by one, the last started first: SIGTERM, at most `timeout_s`, then SIGKILL.

        An exception on the way (a second Ctrl-C) kills all that are left.
        """
        try:
            for child in reversed(self.children):
                child.terminate()
                child.wait(timeout_s)
        finally:
            for child in self.children:
                child.kill()


def end_on_signals() -> None:
    """SIGINT and SIGTERM both raise KeyboardInterrupt in the main thread from now on.

    SIGINT is set too: a shell starts background commands with it ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
