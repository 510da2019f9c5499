"""Why a service cannot start, in words for whoever starts it."""


class StartError(Exception):
    """Ends the start with one line. Its text names what to change, and holds no secrets."""
