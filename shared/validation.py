"""Checks of requests that collect every violation before they refuse, so that a caller mends a request once."""

import math
from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from shared.errors import Reason, ServiceError, Violation

MAX_REPORTED = 20
MAX_TIMESTAMP_S = 253_402_300_799
"""The last second of the year 9999, the end of what protobuf's Timestamp may hold."""


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
        """A text of `least` to `most` characters, without control characters other than white space."""
        if not least <= len(value) <= most:
            wanted = f"{least} to {most}"
            self.fail(field, f"must have {wanted} characters, has {len(value)}")
        elif any(character < " " and character not in "\t\n\r" for character in value) or "\x7f" in value:
            self.fail(field, "must not hold control characters")

    def size(self, field: str, values: Sequence[object], most: int, *, least: int = 0) -> None:
        """A list of `least` to `most` entries."""
        if not least <= len(values) <= most:
            self.fail(field, f"must have {least} to {most} entries, has {len(values)}")

    def number(self, field: str, value: float, least: float, most: float) -> None:
        """A finite number of `least` to `most`."""
        if not math.isfinite(value) or not least <= value <= most:
            self.fail(field, f"must be {least:g} to {most:g}, is {value:g}")

    def timestamp(self, field: str, value: Timestamp, *, latest: float = MAX_TIMESTAMP_S) -> None:
        """A valid time from 1970 on, at most `latest` (unix seconds)."""
        if not 0 <= value.nanos < 1_000_000_000:
            self.fail(field, "nanos must be 0 to 999999999")
        elif not 0 <= value.seconds <= MAX_TIMESTAMP_S:
            self.fail(field, "must lie between 1970 and 9999")
        elif value.seconds > latest:
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

    def done(self) -> None:
        """Raises ServiceError(INVALID_FIELD) with all violations (at most 20 are told)."""
        if not self._violations:
            return
        first = self._violations[0]
        more = f" (and {len(self._violations) - 1} more)" if len(self._violations) > 1 else ""
        message = f"{first.field}: {first.description}{more}"
        raise ServiceError(Reason.INVALID_FIELD, message, self._violations[:MAX_REPORTED])
