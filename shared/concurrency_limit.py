"""How many calls to handle at once, found out while they run: more while they end in time, fewer when they end late.

A fixed number is either too low for a fast machine or, on a slow one, admits so many calls that none ends in time. So
the limit follows additive increase, multiplicative decrease (Chiu and Jain, 1989), as TCP's window does: what is beyond
it is refused at once, and what is taken is answered.
"""

from dataclasses import dataclass

_LATE_SHARE = 0.7
"""Of its time: a call that took longer leaves its caller little."""
_DECREASE = 0.7
_FIRST_FACTOR = 4
"""Of the lowest limit: where it begins."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A call that has ended; times in seconds."""

    began: float
    ends: float
    """Both on the same clock."""
    allowed: float
    """How long it might have taken."""
    finished: bool
    """False: it was given up, or failed."""

    @property
    def late(self) -> bool:
        """Whether it took, or would have taken, too much of its time."""
        return self.ends - self.began > _LATE_SHARE * self.allowed


class ConcurrencyLimit:
    """A number of calls between two bounds."""

    def __init__(self, least: int, most: int, least_allowed_s: float) -> None:
        """With `least` = `most` it never changes.

        Args:
            least: lowest limit, 1 or more.
            most: highest limit.
            least_allowed_s: calls whose caller gave them less time say nothing of the load.
        """
        self._least, self._most = min(least, most), most
        self._least_allowed_s = least_allowed_s
        self._limit = float(min(_FIRST_FACTOR * self._least, most))
        self._decreased_at = float("-inf")

    @property
    def value(self) -> int:
        """Calls that may be handled at once."""
        return int(self._limit)

    def learn(self, call: Ended, in_flight: int) -> None:
        """From a call that has ended; `in_flight` counts it, too."""
        if call.allowed < self._least_allowed_s:
            return
        if call.late:
            # Those that began before the last decrease were admitted by the old limit: they are its proof only once.
            if call.began > self._decreased_at:
                self._limit = max(float(self._least), self._limit * _DECREASE)
                self._decreased_at = call.ends
        elif call.finished and 2 * in_flight > self._limit:
            # A limit that is not used proves nothing.
            self._limit = min(float(self._most), self._limit + 1.0 / self._limit)
