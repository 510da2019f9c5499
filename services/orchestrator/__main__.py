"""`python -m services.orchestrator`: serves homepage.v1.Homepage."""

import sys

from services.orchestrator.service import OrchestratorService
from services.orchestrator.settings import OrchestratorSettings
from shared.server import serve
from shared.settings import load_or_exit


def main() -> int:
    """Reads the settings and serves until SIGTERM."""
    settings = load_or_exit(OrchestratorSettings, sys.argv[1:])
    return serve("orchestrator", settings, lambda runtime: OrchestratorService(runtime, settings))


if __name__ == "__main__":
    sys.exit(main())
