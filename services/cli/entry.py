"""The command `homepage` as it is installed; the command line itself needs packages that a bare install lacks."""

from shared.start import needing


def main() -> None:
    """Runs the command line."""
    with needing("all"):
        from services.cli.__main__ import main as run
    run()
