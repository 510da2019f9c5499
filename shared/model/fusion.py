"""One probability from several signals, as plain numbers: a linear part and trees, added up on the logit scale.

What is fitted elsewhere with a library for it is evaluated here with numpy alone, by training and serving alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from shared.model.forest import Floats, Forest, Tree
from shared.model.records import RecordError, decoded, encoded, parsed

FORMAT = 1
"""Of what `fusion_bytes` writes, and of the meaning of the signals; programs read exactly theirs."""
_EDGE = 1e-6
"""Probabilities are kept this far from 0 and 1, where a logit has no end."""
_LARGEST_LOGIT = 500.0


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Signals of candidates."""

    names: tuple[str, ...]
    values: Floats
    """[rows, features]; not a number = not known."""

    def chosen(self, names: Sequence[str]) -> "Features":
        """Some of them, in this order; they must be among them."""
        return Features(tuple(names), self.values[:, [self.names.index(name) for name in names]])


@dataclass(frozen=True, slots=True)
class Fusion:
    """logit = bias + weights . (features - means) / scales + the sum of the trees."""

    names: tuple[str, ...]
    """Of the features, in order."""
    means: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    trees: tuple[Tree, ...]
    log_losses: Mapping[str, float]
    """Cross-validated, of each kind that was tried; the lowest was chosen."""

    def forest(self) -> Forest:
        """The trees, ready to be added up.

        Raises:
            ValueError: when they are none.
        """
        return Forest(self.trees, len(self.names))

    def logits(self, features: Features, forest: Forest | None = None) -> Floats:
        """[rows]. Who asks often makes the `forest` once.

        Raises:
            ValueError: when these are not the features it was fitted on.
        """
        if features.names != self.names:
            raise ValueError(f"fitted on {', '.join(self.names)}; got {', '.join(features.names)}")
        standard = (features.values - np.array(self.means)) / np.array(self.scales)
        # What is not known counts as the mean.
        linear = np.where(np.isnan(standard), 0.0, standard) @ np.array(self.weights) + self.bias
        return np.asarray(linear + (forest or self.forest()).sums(features.values), np.float64)

    def scores(self, features: Features, forest: Forest | None = None) -> Floats:
        """Probabilities [rows]; see `logits`."""
        logits = np.clip(self.logits(features, forest), -_LARGEST_LOGIT, _LARGEST_LOGIT)
        return np.asarray(1 / (1 + np.exp(-logits)), np.float64)

    def check(self) -> None:
        """Whether the numbers fit together.

        Raises:
            ValueError: saying what does not.
        """
        if not self.names or len(set(self.names)) != len(self.names):
            raise ValueError("its features must have different names, one at least")
        if any(len(numbers) != len(self.names) for numbers in (self.means, self.scales, self.weights)):
            raise ValueError("it must have a mean, a scale and a weight for each feature")
        if not all(scale > 0 for scale in self.scales):
            raise ValueError("its scales must be above 0")
        self.forest()


@dataclass(frozen=True, slots=True)
class _Contents:
    """What fusion.json holds."""

    format: int
    fusion: Fusion


def fusion_bytes(fusion: Fusion) -> bytes:
    """As JSON.

    Raises:
        ValueError: when it holds what is not finite, or numbers that do not fit together.
    """
    fusion.check()
    return encoded(_Contents(FORMAT, fusion))


def read_fusion(content: bytes) -> Fusion:
    """Undoes `fusion_bytes`.

    Raises:
        ValueError: saying, in half a sentence and without the content, what is wrong with it.
    """
    value = parsed(content)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise RecordError(f"its format is not {FORMAT}, the one this program reads")
    fusion = decoded(_Contents, value).fusion
    fusion.check()
    return fusion


def logits_of(probabilities: Floats) -> Floats:
    """Of the same shape, at most ±13.8; not a number stays so."""
    inside = np.clip(probabilities, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(inside / (1 - inside)), np.float64)
