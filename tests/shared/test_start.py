"""The first moments of a process."""

import signal
import subprocess
import sys

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
