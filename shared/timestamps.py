"""Between protobuf's times and plain seconds, which the core works with. On the hot path: fields, no methods."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

_MICROSECONDS = 1_000_000


def to_timestamp(seconds: float) -> Timestamp:
    """Unix seconds to a Timestamp, to the microsecond."""
    whole, micros = divmod(round(seconds * _MICROSECONDS), _MICROSECONDS)
    return Timestamp(seconds=whole, nanos=micros * 1000)


def set_timestamp(timestamp: Timestamp, seconds: float) -> None:
    """Writes unix seconds into a Timestamp that is part of a message, to the microsecond."""
    timestamp.seconds, micros = divmod(round(seconds * _MICROSECONDS), _MICROSECONDS)
    timestamp.nanos = micros * 1000


def to_seconds(timestamp: Timestamp) -> float:
    """A Timestamp to unix seconds, to the microsecond."""
    return timestamp.seconds + timestamp.nanos // 1000 / _MICROSECONDS


def to_duration(seconds: float) -> Duration:
    """Seconds (not negative) to a Duration, to the microsecond."""
    whole, micros = divmod(round(seconds * _MICROSECONDS), _MICROSECONDS)
    return Duration(seconds=whole, nanos=micros * 1000)


def duration_seconds(duration: Duration) -> float:
    """A Duration to seconds, to the microsecond."""
    return duration.seconds + duration.nanos // 1000 / _MICROSECONDS
