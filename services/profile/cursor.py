"""Positions in the event log as texts for callers: the log's own id and a sequence number.

The id is there so that a reader who comes back to another log is told, instead of silently skipping entries.
"""

import re

from shared.errors import Reason, ServiceError

_FORM = re.compile(r"([0-9a-f]{32})-([0-9a-f]{1,15})", re.ASCII)


def to_cursor(log_id: str, sequence: int) -> str:
    """The cursor after an entry of this log."""
    return f"{log_id}-{sequence:x}"


def to_sequence(log_id: str, cursor: str) -> int:
    """The sequence number a cursor stands for; 0, the beginning, for an empty one.

    Raises:
        ServiceError: INVALID_TOKEN when the cursor is not one of this log.
    """
    if not cursor:
        return 0
    match = _FORM.fullmatch(cursor)
    if match is None or match[1] != log_id:
        raise bad_cursor()
    return int(match[2], 16)


def bad_cursor() -> ServiceError:
    """The error of a cursor that this log never gave out."""
    return ServiceError(Reason.INVALID_TOKEN, "cursor is not one of this log; start again with an empty one")
