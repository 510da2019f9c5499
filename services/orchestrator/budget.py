"""How a request's time is divided: each stage may take a share of what is left, the last one all but the reserve."""

from dataclasses import dataclass

from services.orchestrator.slate import Stage


@dataclass(frozen=True, slots=True)
class Budget:
    """Shares of the remaining time over 0 to 1, and times in seconds."""

    profile_share: float = 0.25
    retrieval_share: float = 0.5
    reserve_s: float = 0.015
    """Kept for assembly and the way back."""
    least_s: float = 0.003
    """A stage with less is not begun."""

    def of(self, stage: Stage, remaining_s: float) -> float | None:
        """Time limit of a stage in seconds, or None when there is no time to begin it."""
        usable = remaining_s - self.reserve_s
        share = {Stage.PROFILE: self.profile_share, Stage.RETRIEVAL: self.retrieval_share}.get(stage, 1.0)
        limit = usable * share
        return limit if limit >= self.least_s else None
