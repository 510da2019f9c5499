"""`python -m services.profile`: reads the settings from the environment and serves until a signal."""

import sys

from shared.start import end_on_sigterm, needing


def main() -> None:
    """Ends the process with its exit status."""
    end_on_sigterm()
    with needing("profile"):
        from services.profile.service import ProfileService
    from services.profile.settings import ProfileSettings
    from shared.server import serve
    from shared.settings import load_or_exit

    settings = load_or_exit(ProfileSettings, sys.argv[1:])
    serve("profile", settings, lambda runtime: ProfileService(runtime, settings))


if __name__ == "__main__":
    main()
