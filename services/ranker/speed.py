"""How fast the device computes, learned from the batches it has done, and how far that may be trusted.

A wrong guess must not hold itself up: were work dropped because the device is thought slow, no batch would show that
it is not. So the guess that drops work is hopeful, and it expires.
"""

import math

_NEWEST = 0.2
"""Weight of the newest batch in the smoothed speed."""
_HOPE = 2.0
_TRUST_S = 1.0


class Speed:
    """Smoothed tokens per second."""

    def __init__(self) -> None:
        self._tokens_per_s = 0.0
        self._measured_at = -math.inf

    def learn(self, fill: float, tokens: int, started: float, finished: float) -> None:
        """A batch of so many tokens, `fill` of its limit, was computed; monotonic seconds.

        A batch less than half full is mostly overhead and tells nothing of a full one's speed.
        """
        if fill < 0.5 or finished <= started:
            return
        measured = tokens / (finished - started)
        weight = _NEWEST if self._tokens_per_s else 1.0
        self._tokens_per_s += weight * (measured - self._tokens_per_s)
        self._measured_at = finished

    def expected_s(self, tokens: int) -> float:
        """About how long so many tokens take in full batches; 0 before anything was learned."""
        return tokens / self._tokens_per_s if self._tokens_per_s else 0.0

    def least_s(self, tokens: int, now: float) -> float:
        """What they would take at twice the speed learned, or 0 when nothing was learned within the last second."""
        return self.expected_s(tokens) / _HOPE if now - self._measured_at <= _TRUST_S else 0.0
