"""`python -m services.profile`: reads the settings from the environment and serves until SIGTERM."""

import sys

from services.profile.service import ProfileService
from services.profile.settings import ProfileSettings
from shared.server import serve
from shared.settings import load_or_exit


def main() -> int:
    """Serves; returns the exit status."""
    settings = load_or_exit(ProfileSettings, sys.argv[1:])
    return serve("profile", settings, lambda runtime: ProfileService(runtime, settings))


if __name__ == "__main__":
    sys.exit(main())
