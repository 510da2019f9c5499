"""Packages that one feature needs and a training does without: asked for before work begins, not after."""

from importlib.util import find_spec


class MissingPackageError(RuntimeError):
    """A package is not installed; the text says how to install it."""


def require(package: str) -> None:
    """Returns if the package is installed.

    Raises:
        MissingPackageError: if not.
    """
    if find_spec(package) is None:
        raise MissingPackageError(f"{package} is not installed; pip install 'homepage-recommender[trainer]'")
