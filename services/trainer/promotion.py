"""Moves a channel of a model to another version, if the gate holds, and back.

The champion answers under the model's name, the challenger beside it under "<model>@challenger". What is judged and
what is written are one step of the registry's only writer, so nobody can promote in between.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from services.trainer.gate import Evidence, Gate, Verdict, VersionFigures, judge
from shared.model import registry as registries
from shared.model.registry import RegistryError, Serving
from shared.model.storage import LocalStorage, Storage
from shared.model.version_files import Place, VersionError


class Channel(StrEnum):
    """Under which name a version answers."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"

    def of(self, model: str) -> str:
        """What callers ask the ranker for."""
        return model if self is Channel.CHAMPION else f"{model}@{self.value}"


@dataclass(frozen=True, slots=True)
class Promotion:
    """What is to move. `force`: whatever the gate says."""

    model: str
    version: str
    channel: Channel = Channel.CHAMPION
    force: bool = False


class RefusedError(Exception):
    """The gate does not hold, and nothing has changed."""

    def __init__(self, verdict: Verdict) -> None:
        """`verdict` says which lines failed."""
        super().__init__("refused: " + ", ".join(line.check for line in verdict.failed))
        self.verdict = verdict


def promote(registry: Path | Storage, promotion: Promotion, gate: Gate, evidence: Evidence | None = None) -> Verdict:
    """Makes the version answer for its channel and returns what the gate said; surfaces stay as they are.

    Args:
        registry: its folder, or where else it lies.
        promotion: the version is judged against the champion, whichever channel it is for.
        gate: what is asked of it.
        evidence: measured afterwards, on the same data for both; without it the manifests' figures count.

    Raises:
        RefusedError: when a check fails and the promotion is not forced.
        VersionError: when the version is not whole; this is not forced either.
        RegistryError: when there is no such registry, its files are damaged, or the evidence is of other versions.
        OSError: when the registry cannot be written.
    """
    storage = LocalStorage(registry) if isinstance(registry, Path) else registry
    verdict = Verdict(())

    def step(before: Serving) -> Serving:
        nonlocal verdict
        verdict = judge(_evidence(storage, promotion, before, evidence), gate)
        if not (verdict.passed or promotion.force):
            raise RefusedError(verdict)
        return before.activated(promotion.channel.of(promotion.model), promotion.version)

    registries.change(storage, step)
    return verdict


def rollback(registry: Path | Storage, model: str, channel: Channel = Channel.CHAMPION) -> str:
    """Makes the version answer for the channel that did before the last promotion; returns it. No gate is asked.

    Raises:
        RegistryError, OSError: as shared.model.registry.rollback.
    """
    return registries.rollback(registry, channel.of(model))


def _evidence(storage: Storage, promotion: Promotion, serving: Serving, given: Evidence | None) -> Evidence:
    candidate = VersionFigures.of(Place(storage, promotion.model, promotion.version).read().manifest)
    champion = _champion(storage, promotion.model, serving)
    if given is None:
        return Evidence(candidate, champion)
    names = [each.version if each else "none" for each in (given.candidate, given.champion, candidate, champion)]
    if names[:2] != names[2:]:
        raise RegistryError(
            f"the evidence is of {names[0]} against {names[1]}, and {names[2]} is to be judged against {names[3]}; "
            "evaluate these two"
        )
    return given


def _champion(storage: Storage, model: str, serving: Serving) -> VersionFigures | None:
    """None when nothing serves. One that cannot be read has no figures: only force gets past it."""
    version = serving.version_of(model)
    if version is None:
        return None
    try:
        return VersionFigures.of(Place(storage, model, version).manifest())
    except VersionError:
        return VersionFigures(f"{model}/{version}", ())
