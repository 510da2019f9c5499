"""The models that answer: which version each name stands for, and which name each surface gets.

The line-up is one immutable value that is replaced as a whole between two calls; a call keeps the model it began with.
The base's zero-shot model is always in it: it embeds for models that have no vectors of their own, and it is the
default where nothing else is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from shared.model.blend import Blend
from shared.model.ranking_model import RankingModel
from shared.model.registry import OTHER_SURFACES


class UnknownModelError(LookupError):
    """No model of that name is loaded."""


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A model that answers; `loaded_at` in unix seconds, `label` as in shared.model.registry."""

    model: RankingModel
    loaded_at: float
    label: str = ""
    blend: Blend | None = None
    """What its first action's probability becomes part of; None = it is answered as it is."""

    @property
    def name(self) -> str:
        """What callers ask for."""
        name = self.model.manifest.name
        return f"{name}@{self.label}" if self.label else name

    @property
    def version(self) -> str:
        """Which one it is."""
        return self.model.manifest.version


@dataclass(frozen=True, slots=True, eq=False)
class LineUp:
    """Models by name, names by surface."""

    models: Mapping[str, Served]
    defaults: Mapping[str, str]

    def surfaces_of(self, name: str) -> list[str]:
        """The surfaces whose default is this name; see OTHER_SURFACES."""
        return sorted(surface for surface, default in self.defaults.items() if default == name)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A version that is being loaded, or could not be: then `failure` says why."""

    name: str
    version: str
    failure: str = ""


@dataclass(slots=True)
class Models:
    """The line-up now, and what is or was tried besides it. Owned by one event loop."""

    _built_in: Served | None = None
    _line_up: LineUp = field(default_factory=lambda: LineUp(MappingProxyType({}), MappingProxyType({})))
    _attempts: dict[str, Attempt] = field(default_factory=dict)

    def begin(self, built_in: Served) -> None:
        """From now on the base's own model answers."""
        self._built_in = built_in
        self.line_up({}, {})

    def line_up(self, models: Mapping[str, Served], defaults: Mapping[str, str]) -> None:
        """Replaces the line-up. Defaults that name a model which is not in it are left out.

        Raises:
            UnknownModelError: before `begin`.
        """
        if self._built_in is None:
            raise UnknownModelError
        every = {**models, self._built_in.name: self._built_in}
        known = {surface: name for surface, name in defaults.items() if name in every}
        known.setdefault(OTHER_SURFACES, self._built_in.name)
        self._line_up = LineUp(MappingProxyType(every), MappingProxyType(known))

    @property
    def now(self) -> LineUp:
        """The line-up."""
        return self._line_up

    def get(self, name: str, surface: str = OTHER_SURFACES) -> Served:
        """The model of a name; without a name the surface's default.

        Raises:
            UnknownModelError: when there is none.
        """
        line_up = self._line_up
        default = line_up.defaults.get(surface) or line_up.defaults.get(OTHER_SURFACES, "")
        try:
            return line_up.models[name or default]
        except KeyError:
            raise UnknownModelError from None

    def embedder(self, name: str) -> Served:
        """The model whose vectors stand for a name: itself, or the base's where it has none.

        Raises:
            UnknownModelError: when there is no model of that name.
        """
        served = self.get(name)
        return served if served.model.two_tower or self._built_in is None else self._built_in

    def attempt(self, attempt: Attempt) -> None:
        """Notes that a version is being loaded, or could not be."""
        self._attempts[attempt.name] = attempt

    def forget_attempt(self, name: str) -> None:
        """It came to a good end, or is not wanted any more."""
        self._attempts.pop(name, None)

    def attempts(self) -> list[Attempt]:
        """What is being loaded, and what failed last, one for each name."""
        return [self._attempts[name] for name in sorted(self._attempts)]
