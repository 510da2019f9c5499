"""The models that are loaded, by name, and the one calls get that name none."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.ranker.vectors import Found, Item, Timings, VectorSource
from services.ranker.work import NO_DEADLINE, Priority, Urgency
from shared.model.encoder import Vectors
from shared.model.manifest import ModelManifest
from shared.model.text import HistoryText, ItemText
from shared.model.zero_shot import Probabilities, ZeroShotModel
from shared.start import StartError


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """`probabilities` [candidates, actions]."""

    probabilities: Probabilities
    timings: Timings


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that answers. `loaded_at` in unix seconds; deadlines are monotonic seconds."""

    model: ZeroShotModel
    source: VectorSource
    loaded_at: float

    @property
    def manifest(self) -> ModelManifest:
        """What the model says of itself."""
        return self.model.manifest

    async def rank(
        self, history: Sequence[HistoryText], candidates: Sequence[Item], deadline: float = NO_DEADLINE
    ) -> Ranked:
        """Probabilities of the candidates for a user with this history, newest first; raises as VectorSource.find."""
        found = await self.source.find(history, candidates, Urgency(Priority.INTERACTIVE, deadline))
        return Ranked(self.model.probabilities(found.context, found.items), found.timings)

    async def embed(self, items: Sequence[Item], deadline: float = NO_DEADLINE) -> Vectors:
        """Unit vectors [items, width], at bulk priority; raises as VectorSource.find."""
        found: Found = await self.source.find((), items, Urgency(Priority.BULK, deadline))
        return found.items

    async def warm_up(self) -> None:
        """A real forward pass the way calls take.

        Raises:
            StartError: when the model's numbers make no sense.
        """
        item = Item("", "", ItemText("the first text of the day", "news"))
        ranked = await self.rank([HistoryText("the last text of yesterday", "news")], [item])
        if not np.isfinite(ranked.probabilities).all():
            raise StartError(f"the model {self.manifest.version} gives no finite probabilities on this device")


class UnknownModelError(LookupError):
    """No model of that name is loaded."""


class Models:
    """Filled at the start, read by every call."""

    def __init__(self) -> None:
        self._models: dict[str, LoadedModel] = {}

    def add(self, model: LoadedModel) -> None:
        """Makes a model answer by its name; the first is the default of every surface."""
        self._models[model.manifest.name] = model

    def get(self, name: str) -> LoadedModel:
        """The model of a name; empty = the default.

        Raises:
            UnknownModelError: when there is none.
        """
        try:
            return self._models[name] if name else next(iter(self._models.values()))
        except (KeyError, StopIteration):
            raise UnknownModelError from None

    def every(self) -> list[LoadedModel]:
        """All, by name."""
        return [self._models[name] for name in sorted(self._models)]
