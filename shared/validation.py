"""Checks of requests that collect every violation before they refuse, so that a caller mends a request once."""

import math
import re
from collections.abc import Sequence
from typing import Protocol

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from shared.errors import Reason, ServiceError, Violation

MAX_REPORTED = 20
MIN_TIMESTAMP_S = -62_135_596_800
"""The first second of the year 1, the beginning of what protobuf's Timestamp may hold."""
MAX_TIMESTAMP_S = 253_402_300_799
"""The last second of the year 9999, the end of what protobuf's Timestamp may hold."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Unicode's control characters (category Cc) but for tab, line feed and carriage return."""


class _Enum(Protocol):
    """A generated enum."""

    def keys(self) -> Sequence[str]: ...

    def values(self) -> Sequence[int]: ...


class Checks:
    """Collects violations; `done` refuses the request when there are any.

    The checks return nothing: a servicer calls all that apply, then `done`, and may read the fields after it.
    """

    def __init__(self) -> None:
        self._violations: list[Violation] = []

    def fail(self, field: str, description: str) -> None:
        """Notes a violation."""
        self._violations.append(Violation(field, description))

    def text(self, field: str, value: str, most: int, *, least: int = 0) -> None:
        """A text of `least` to `most` characters, without control characters but tab, line feed, carriage return."""
        if not least <= len(value) <= most:
            wanted = f"{least} to {most}"
            self.fail(field, f"must have {wanted} characters, has {len(value)}")
        elif _CONTROL.search(value):
            self.fail(field, "must not hold control characters")

    def size(self, field: str, values: Sequence[object], most: int, *, least: int = 0) -> None:
        """A list of `least` to `most` entries."""
        if not least <= len(values) <= most:
            self.fail(field, f"must have {least} to {most} entries, has {len(values)}")

    def number(self, field: str, value: float, least: float, most: float) -> None:
        """A finite number of `least` to `most`."""
        if not math.isfinite(value) or not least <= value <= most:
            self.fail(field, f"must be {least:g} to {most:g}, is {value:g}")

    def timestamp(self, field: str, value: Timestamp, *, latest: float = math.inf, earliest_s: int = 0) -> None:
        """A valid time from `earliest_s` (default: 1970) to `latest`, both in unix seconds."""
        if not 0 <= value.nanos < 1_000_000_000:
            self.fail(field, "nanos must be 0 to 999999999")
        elif not earliest_s <= value.seconds <= MAX_TIMESTAMP_S:
            self.fail(field, f"must lie between the years {1970 if earliest_s == 0 else 1} and 9999")
        elif value.seconds + value.nanos / 1e9 > latest:
            self.fail(field, "lies too far ahead of the server's clock")

    def positive_duration(self, field: str, value: Duration) -> None:
        """A duration over 0, below 10,000 years."""
        well_formed = 0 <= value.nanos < 1_000_000_000 and 0 <= value.seconds < 315_576_000_000
        if not well_formed or (value.seconds == 0 and value.nanos == 0):
            self.fail(field, "must be a duration over 0, of less than 10,000 years")

    def user(self, user_id: str, visitor_id: str) -> None:
        """One of user_id and visitor_id is there, and neither is too long."""
        self.text("user_id", user_id, 256)
        self.text("visitor_id", visitor_id, 256)
        if not user_id and not visitor_id:
            self.fail("user_id", "one of user_id and visitor_id is required")

    def enum(self, field: str, value: int, kind: _Enum) -> None:
        """A value the enum has."""
        if value not in kind.values():
            self.fail(field, f"has no value {value}; use one of {', '.join(kind.keys())}")

    def error(self, reason: Reason = Reason.INVALID_FIELD) -> ServiceError:
        """The error that tells the violations noted so far, at most 20 of them."""
        first = self._violations[0]
        more = f" (and {len(self._violations) - 1} more)" if len(self._violations) > 1 else ""
        message = f"{first.field}: {first.description}{more}"
        return ServiceError(reason, message, self._violations[:MAX_REPORTED])

    def done(self, reason: Reason = Reason.INVALID_FIELD) -> None:
        """Raises `error(reason)` when there is any violation."""
        if self._violations:
            raise self.error(reason)
