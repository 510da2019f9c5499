"""The sets of manifests that every rule is held against."""

from itertools import chain, combinations

import pytest

from tests.k8s.manifests import COMPONENTS, Manifests, bases, kustomize, render_with

_WRITTEN = "bases as written"
_SUBSETS = list(chain.from_iterable(combinations(COMPONENTS, count) for count in range(len(COMPONENTS) + 1)))
_COMBINATIONS = [(f"overlays/{overlay}", subset) for overlay in ("dev", "production") for subset in _SUBSETS]


def named(combination: tuple[str, tuple[str, ...]]) -> str:
    """Id of a test."""
    return "+".join((combination[0].rpartition("/")[2], *combination[1]))


class Renderer:
    """Renders each combination once."""

    def __init__(self, room: pytest.TempPathFactory) -> None:
        self._room = room
        self._done: dict[tuple[str, tuple[str, ...]], Manifests] = {}

    def __call__(self, overlay: str, components: tuple[str, ...]) -> Manifests:
        if not kustomize():
            pytest.skip("neither kustomize nor kubectl is installed: overlays and components cannot be rendered")
        if (overlay, components) not in self._done:
            self._done[overlay, components] = render_with(overlay, components, self._room.mktemp("rendered"))
        return self._done[overlay, components]


@pytest.fixture(scope="session")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    """For the two below."""
    return Renderer(tmp_path_factory)


@pytest.fixture(scope="session", params=_COMBINATIONS, ids=named)
def rendered(request: pytest.FixtureRequest, renderer: Renderer) -> Manifests:
    """Each overlay with each set of components."""
    return renderer(*request.param)


@pytest.fixture(scope="session", params=[(_WRITTEN, ()), *_COMBINATIONS], ids=named)
def manifests(request: pytest.FixtureRequest, renderer: Renderer) -> Manifests:
    """The bases as they are written, and all that can be rendered."""
    return bases() if request.param[0] == _WRITTEN else renderer(*request.param)
