"""What goes into the batcher and what comes out: work with its urgency, results with their times, refusals."""

import enum
import math
from dataclasses import dataclass
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

NO_DEADLINE = math.inf


class Priority(enum.IntEnum):
    """Less is sooner."""

    INTERACTIVE = 0
    BULK = 1


@dataclass(frozen=True, slots=True, order=True)
class Urgency:
    """Orders work. `deadline` is monotonic time in seconds."""

    priority: Priority
    deadline: float = NO_DEADLINE


@dataclass(frozen=True, slots=True)
class Work(Generic[Job]):
    """One piece of a call, computed at one go."""

    job: Job
    tokens: int


@dataclass(frozen=True, slots=True)
class Done(Generic[Result]):
    """A result and when its batch was computed, monotonic seconds."""

    result: Result
    started: float
    finished: float


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """In tokens. A single piece over a batch limit is computed alone."""

    queue_tokens: int
    interactive_tokens: int
    bulk_tokens: int

    def of(self, priority: Priority) -> int:
        """Tokens of a batch of this priority."""
        return self.interactive_tokens if priority is Priority.INTERACTIVE else self.bulk_tokens

    def queue_of(self, priority: Priority) -> int:
        """Tokens that may wait after work of this priority came: bulk work leaves half of the queue to people."""
        return self.queue_tokens if priority is Priority.INTERACTIVE else self.queue_tokens // 2


class OverloadedError(Exception):
    """The queue is full. `retry_after_s` is about how long its content takes."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("the queue is full")
        self.retry_after_s = retry_after_s


class DeadlinePassedError(Exception):
    """The deadline passed while the work was waiting."""


class BatchFailedError(Exception):
    """The batch that this work was in could not be computed; the cause is in the log."""


class ClosedError(Exception):
    """The batcher is draining or was not started."""
