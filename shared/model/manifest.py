"""What a model version says of itself: what it was made of, what it reads, what its numbers mean.

The manifest is the one record that trainer and ranker exchange besides the weights. Whatever changes a score is in
it, above all the layout of the input: a model must be served with the mask and the positions it was trained with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from shared.model.text import TEMPLATE_VERSION

Pooling = Literal["mean", "first", "last"]
_TEXT_OF_ITS_OWN = (0, True, 0)
"""Offset, [CLS] and token type of a text that is read as a sentence encoder reads it."""


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
    pooling: Pooling = "mean"
    """What the heads read of a candidate: the mean of its tokens, or one of them, which spares most of a layer."""

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
        if self.candidate_token_type not in (0, 1):
            raise ValueError(f"candidate_token_type must be 0 or 1, is {self.candidate_token_type}")
        if not 0 <= self.split_depth <= layers:
            raise ValueError(f"split_depth must be 0 to {layers}, is {self.split_depth}")
        if self.pooling not in ("mean", "first", "last"):
            raise ValueError(f"pooling must be mean, first or last, is {self.pooling}")


@dataclass(frozen=True, slots=True)
class Platt:
    """Turns a logit into a probability: sigmoid(slope x logit + intercept) (Platt, 1999).

    A slope of 1 / T and no intercept is temperature scaling (Guo et al., 2017).
    """

    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of a model's evaluation, e.g. "auc"; "popularity/auc" is that of a baseline on the same examples."""

    name: str
    value: float
    low: float | None = None
    """Ends of its 95 % interval; None = not known."""
    high: float | None = None
    split: str = ""
    """Of the data that it was measured on."""
    slice: str = ""
    """Part of the split, e.g. "new users"; empty = all of it."""
    count: int = 0
    """Impressions that it is an average of, for figures over users or candidates the number of these; 0 = not known."""
    data: str = ""
    """Fingerprint of the data that it was measured on."""


@dataclass(frozen=True, slots=True)
class Origin:
    """How a version was made, so that it can be made again."""

    data: str
    """Name of the data that it was trained on."""
    fingerprint: str
    """Of that data."""
    seeds: tuple[int, ...]
    code: str
    """Version of the program, with the commit where it is known."""
    started_at: float
    """Unix seconds."""
    seconds: float
    """Of training."""
    device: str
    settings: Mapping[str, str]
    """Of training, by name."""


@dataclass(frozen=True, slots=True)
class ModelManifest:
    """A model version. `name` is what callers ask for, `version` says which one it is."""

    name: str
    version: str
    base_id: str
    """The base is also what names the tokenizer: a version reads with that of its base and has none of its own."""
    base_sha256: str
    """Of the base's weights."""
    layout: InputLayout
    actions: tuple[str, ...]
    """Names of what is predicted, in the order of the probabilities."""
    calibration: tuple[Platt, ...]
    """One for each action."""
    calibrated: bool
    """Whether the calibration was fitted to observed behaviour, so that probabilities are rates."""
    adapted: bool = False
    """Whether an adapter changes the base's weights."""
    template_version: int = TEMPLATE_VERSION
    """Of the text template that the model was made with; see shared.model.text."""
    metrics: tuple[Metric, ...] = ()
    origin: Origin | None = None
    """None = not known, e.g. of a model that was put together by hand."""

    @property
    def embedding_version(self) -> str:
        """Names everything that the vector of an item depends on; vectors of two versions must not be compared."""
        layout = self.layout
        adapter = f"-{self.name}-{self.version}" if self.adapted else ""
        text = (layout.candidate_offset, layout.candidate_cls, layout.candidate_token_type)
        apart = "" if text == _TEXT_OF_ITS_OWN else "-{}-{:d}-{}".format(*text)
        limit = layout.max_candidate_tokens
        return f"{self.base_id}-{self.base_sha256[:8]}{adapter}-mean-{limit}{apart}-t{self.template_version}"
