"""Between protobuf's times and plain seconds, which the core works with."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

MICROSECONDS = 1_000_000


def to_timestamp(seconds: float) -> Timestamp:
    """Unix seconds to a Timestamp, to the microsecond."""
    timestamp = Timestamp()
    timestamp.FromMicroseconds(round(seconds * MICROSECONDS))
    return timestamp


def to_seconds(timestamp: Timestamp) -> float:
    """A Timestamp to unix seconds, to the microsecond."""
    return timestamp.ToMicroseconds() / MICROSECONDS


def to_duration(seconds: float) -> Duration:
    """Seconds to a Duration, to the microsecond."""
    duration = Duration()
    duration.FromMicroseconds(round(seconds * MICROSECONDS))
    return duration


def duration_seconds(duration: Duration) -> float:
    """A Duration to seconds, to the microsecond."""
    return duration.ToMicroseconds() / MICROSECONDS
