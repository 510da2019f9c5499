"""What a model version says of itself: what it was made of, what it reads, what its numbers mean.

The manifest is the one record that trainer and ranker exchange besides the weights. Whatever changes a score is in
it, above all the layout of the input: a model must be served with the mask and the positions it was trained with.
"""

from dataclasses import dataclass
from typing import Literal

from shared.model.text import TEMPLATE_VERSION


@dataclass(frozen=True, slots=True)
class InputLayout:
    """How user context and candidates become one sequence. Limits in tokens, special tokens included."""

    max_user_tokens: int = 128
    max_candidate_tokens: int = 32
    candidate_offset: int = 128
    """Position of every candidate's first token: one for all users, so that what is cached of an item holds for all."""
    candidate_cls: bool = False
    """Whether a candidate opens with [CLS], like a text of its own, or follows the user context like a second part."""
    candidate_token_type: int = 1
    """0 for a text of its own, 1 for a second part (BERT's segment embedding)."""
    split_depth: int = 0
    """Lower layers in which a candidate does not see the user, 0 to the base's layers; all of them = never."""

    def check(self, positions: int, layers: int) -> None:
        """Whether a base with so many positions and layers can read this.

        Raises:
            ValueError: naming what is out of bounds.
        """
        if not 3 <= self.max_user_tokens <= positions:
            raise ValueError(f"max_user_tokens must be 3 to {positions}, is {self.max_user_tokens}")
        if not 3 <= self.max_candidate_tokens <= positions - self.candidate_offset or self.candidate_offset < 0:
            raise ValueError(
                f"candidate_offset {self.candidate_offset} and max_candidate_tokens {self.max_candidate_tokens} "
                f"must stay within {positions} positions, with 3 tokens at least"
            )
        if not 0 <= self.split_depth <= layers:
            raise ValueError(f"split_depth must be 0 to {layers}, is {self.split_depth}")


@dataclass(frozen=True, slots=True)
class ScoreScale:
    """Turns a raw score into a logit: scale x (raw - midpoint)."""

    scale: float
    midpoint: float
    """The raw score whose probability is one half."""


@dataclass(frozen=True, slots=True)
class ModelManifest:
    """A model version. `name` is what callers ask for, `version` says which one it is."""

    name: str
    version: str
    base_id: str
    base_sha256: str
    layout: InputLayout
    actions: tuple[str, ...]
    """Names of what is predicted, in the order of the probabilities."""
    head: Literal["cosine"]
    calibrated: bool
    """Whether the probabilities were fitted to observed behaviour."""
    score: ScoreScale

    @property
    def embedding_version(self) -> str:
        """Names everything that the vector of an item depends on; vectors of two versions must not be compared."""
        limit = self.layout.max_candidate_tokens
        return f"{self.base_id}-{self.base_sha256[:8]}-mean-{limit}-t{TEMPLATE_VERSION}"
