"""The first moments of a process."""

import signal
import subprocess
import sys

import pytest

from shared.start import needing

PROGRAM = """
import signal
from shared.start import end_on_sigterm
end_on_sigterm()
print("importing", flush=True)
signal.pause()
"""


def test_sigterm_counts_before_the_event_loop_runs():
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as raised, needing("retrieval"):
        import no_such_package  # noqa: F401
    assert raised.value.code == 2
    assert capsys.readouterr().err == (
        "no_such_package is not installed: pip install '.[retrieval]' brings what this needs\n"
    )
