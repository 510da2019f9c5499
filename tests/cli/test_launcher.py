"""Children of the command line: real processes that end as they should."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.launcher import ChildDiedError, Command, Launcher

DRAINS = """
import signal, sys
def drain(*_):
    print("drained", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, drain)
print("ready", flush=True)
while True:
    signal.pause()
"""
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
print("ready", flush=True)
while True:
    signal.pause()
"""


def python(name: str, code: str, *arguments: str) -> Command:
    return Command(name, (sys.executable, "-c", code, *arguments), {"GREETING": f"hello {name}"})


class Ready:
    """Echo that lets a test wait for a line of a child."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def __call__(self, name: str, line: str) -> None:
        os.write(self._write, f"{name}:{line}\n".encode())

    def wait_for(self, count: int) -> list[str]:
        """The next lines of any child, at least `count` of them."""
        lines: list[str] = []
        while len(lines) < count:
            assert select.select([self._read], [], [], 20)[0], "no line in 20 s"
            lines += os.read(self._read, 4096).decode().splitlines()
        return lines


def test_a_child_that_dies_is_reported_with_its_status_and_last_lines() -> None:
    code = "import os, sys; print(os.environ['GREETING']); print('no such model', file=sys.stderr); sys.exit(3)"
    with Launcher() as launcher:
        launcher.start([python("ranker", code)])
        assert launcher.children[0].wait(20)
        with pytest.raises(ChildDiedError, match="ranker ended with status 3") as caught:
            launcher.check()
    assert set(caught.value.last_lines) == {"hello ranker", "no such model"}


def test_a_child_killed_by_a_signal_is_reported_by_its_name() -> None:
    with Launcher() as launcher:
        launcher.start([python("ranker", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")])
        assert launcher.children[0].wait(20)
        with pytest.raises(ChildDiedError, match="SIGKILL"):
            launcher.check()


def test_running_children_pass_the_check_and_drain_in_reverse_order() -> None:
    ready = Ready()
    with Launcher(ready) as launcher:
        launcher.start([python("first", DRAINS), python("second", DRAINS)])
        ready.wait_for(2)
        launcher.check()
    assert ready.wait_for(2) == ["second:drained", "first:drained"]
    assert [child.status for child in launcher.children] == [0, 0]


def test_a_child_that_ignores_sigterm_is_killed_with_what_it_started() -> None:
    ready = Ready()
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}])\n{STUBBORN}"
    launcher = Launcher(ready)
    launcher.start([python("stubborn", code)])
    ready.wait_for(2)
    launcher.stop(timeout_s=0.2)
    assert launcher.children[0].status == -signal.SIGKILL
    assert launcher.children[0].wait(20), "the grandchild holds the output open"


def test_an_exception_in_the_parent_stops_the_children() -> None:
    ready = Ready()
    launcher = Launcher(ready)

    def fail() -> None:
        with launcher:
            launcher.start([python("first", DRAINS)])
            ready.wait_for(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert launcher.children[0].status == 0


def test_a_second_interrupt_while_draining_kills_all() -> None:
    ready = Ready()

    def interrupt(name: str, line: str) -> None:
        ready(name, line)
        if line == "asked":
            os.kill(os.getpid(), signal.SIGINT)

    launcher = Launcher(interrupt)
    launcher.start([python("first", STUBBORN), python("second", STUBBORN)])
    ready.wait_for(2)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            launcher.stop()
    finally:
        signal.signal(signal.SIGINT, before)
    assert [child.status for child in launcher.children] == [-signal.SIGKILL] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_killed_parent_leaves_no_child(tmp_path: Path) -> None:
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    child = f"import signal; held = open({str(fifo)!r}, 'w'); print('ready', file=held, flush=True); signal.pause()"
    parent = (
        "import sys, signal\n"
        "from services.cli.launcher import Command, Launcher\n"
        f"Launcher().start([Command('child', (sys.executable, '-c', {child!r}), {{}})])\n"
        "signal.pause()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    try:
        with fifo.open() as held:  # its end of file comes when the child, the only writer, is gone
            assert held.readline() == "ready\n"
            process.kill()
            assert select.select([held], [], [], 20)[0], "the child outlives its parent"
            assert held.read() == ""
    finally:
        process.kill()
        process.wait()
