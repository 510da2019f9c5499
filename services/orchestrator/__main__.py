"""`python -m services.orchestrator`: reads the settings from the environment and serves until a signal."""

import sys

from shared.start import end_on_sigterm, needing


def main() -> None:
    """Ends the process with its exit status."""
    end_on_sigterm()
    with needing("orchestrator"):
        from services.orchestrator.service import OrchestratorService
    from services.orchestrator.settings import OrchestratorSettings
    from shared.server import serve
    from shared.settings import load_or_exit

    settings = load_or_exit(OrchestratorSettings, sys.argv[1:])
    serve("orchestrator", settings, lambda runtime: OrchestratorService(runtime, settings))


if __name__ == "__main__":
    main()
