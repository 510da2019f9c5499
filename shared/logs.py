"""Logs: one JSON object a line on standard error, without user ids in clear and without texts of exceptions.

A user appears as a keyed hash (HMAC-SHA-256, RFC 2104), so that lines of one user can be joined by whoever has
the key and by nobody else. An exception appears as its type and the places it passed through; its text may hold
anything, so it stays out.
"""

import hmac
import json
import logging
import sys
import time
import traceback

FIELDS = "fields"
_FRAMES = 12


class Pseudonyms:
    """Turns user ids into keyed hashes of 16 hexadecimal digits."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, user_id: str, visitor_id: str) -> str:
        """The hash of a user; user_id counts before visitor_id; empty for nobody."""
        name = f"u:{user_id}" if user_id else f"v:{visitor_id}" if visitor_id else ""
        return hmac.digest(self._key, name.encode(), "sha256").hex()[:16] if name else ""


class JsonFormatter(logging.Formatter):
    """One line of JSON per record; extra fields come from `extra={"fields": {...}}`."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        line: dict[str, object] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "service": self._service,
            # Of a record with an exception the first line: asyncio writes the exception's text into the ones below.
            "event": record.getMessage().partition("\n")[0] if record.exc_info else record.getMessage(),
        }
        line.update(getattr(record, FIELDS, {}))
        if record.exc_info and record.exc_info[1] is not None:
            line.update(describe(record.exc_info[1]))
        return json.dumps(line, ensure_ascii=False, default=str)


def describe(error: BaseException) -> dict[str, object]:
    """An exception without its text: its type, the types of its causes, and the innermost frames."""
    causes: list[str] = []
    cause = error.__cause__ or error.__context__
    while cause is not None and len(causes) < _FRAMES:
        causes.append(type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return {
        "exception": type(error).__name__,
        "causes": causes,
        "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }


def set_up(service: str, level: str) -> None:
    """Sends all logging of this process to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)  # libraries' warnings would be lines that are no JSON
    # These tell of every request or chunk they handle at INFO; our own call line says more.
    for chatty in ("httpx", "httpcore", "filelock", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
