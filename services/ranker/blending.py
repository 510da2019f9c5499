"""A call's probabilities after the fusion of its version: a few hundred candidates take a fraction of a millisecond.

It runs where the call is answered, not on the device. A fusion is an improvement, never a condition: where it fails,
the model's own answer stands.
"""

import logging

import numpy as np

from shared.model.blend import Ask, Blend
from shared.model.ranking_model import Probabilities

log = logging.getLogger(__name__)


def blended(blend: Blend, ask: Ask, probabilities: Probabilities) -> Probabilities | None:
    """`probabilities` [candidates, actions] with the first action's blended; None when they cannot be.

    What is not a number, because a candidate could not be scored, stays so. `ask` has the model's for the first action.
    """
    try:
        first = blend.probabilities(ask)
    except Exception:
        log.exception("not blended")
        return None
    scored = np.isfinite(ask.probabilities)
    if not np.isfinite(first[scored]).all():
        log.error("not blended: the fusion gives what is not finite")
        return None
    changed = probabilities.copy()
    changed[scored, 0] = first[scored]
    return changed
