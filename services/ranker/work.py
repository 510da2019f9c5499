"""What goes into the batcher and what comes out: jobs with their urgency, results with their times, refusals.

A job is whatever a `Scorer` understands: the scorer tells what it costs, computes it, cuts it in two and puts the
results of the parts together. So the batcher knows no model.
"""

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

NO_DEADLINE = math.inf
LEAST_BUDGET = 64
"""Tokens. However little memory there is, a budget is not halved below this."""


class Priority(enum.IntEnum):
    """Less is sooner."""

    INTERACTIVE = 0
    BULK = 1
    LEFTOVER = 2
    """For the cache only: no caller waits for it, so it may wait for ever, and nobody is told when it is dropped."""


_QUEUE_PART = {Priority.INTERACTIVE: 1, Priority.BULK: 2, Priority.LEFTOVER: 8}
"""One out of so many parts of the queue."""


@dataclass(frozen=True, slots=True, order=True)
class Urgency:
    """Orders work. `deadline` is monotonic time in seconds."""

    priority: Priority
    deadline: float = NO_DEADLINE


@dataclass(frozen=True, slots=True)
class Done(Generic[Result]):
    """A result, when its batch was computed (monotonic seconds), and how many tokens that batch had."""

    result: Result
    started: float
    finished: float
    batch_tokens: int


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """In tokens. A single job over its limit is computed alone, in parts that fit if it can be split.

    After `idle_probe_s` seconds without work the scorer's health is asked; 0 = only while the device does not answer,
    every `unhealthy_probe_s` seconds. What is computed for more than `hang_s` seconds hangs; 0 = nothing ever does.
    """

    queue_tokens: int
    interactive_tokens: int
    bulk_tokens: int
    idle_probe_s: float = 0.0
    unhealthy_probe_s: float = 10.0
    hang_s: float = 60.0

    def of(self, priority: Priority) -> int:
        """Tokens of a batch of this priority."""
        return self.interactive_tokens if priority is Priority.INTERACTIVE else self.bulk_tokens

    def queue_of(self, priority: Priority) -> int:
        """Tokens that may wait after work of this priority came, its own and what goes before it."""
        return self.queue_tokens // _QUEUE_PART[priority]

    def halved(self) -> "BatchLimits":
        """Limits for a device that had no memory for these."""
        return replace(self, interactive_tokens=halved(self.interactive_tokens), bulk_tokens=halved(self.bulk_tokens))

    def doubled(self, most: "BatchLimits") -> "BatchLimits":
        """Limits for a device that has had memory for these for long; not above `most`."""
        return replace(
            self,
            interactive_tokens=min(2 * self.interactive_tokens, most.interactive_tokens),
            bulk_tokens=min(2 * self.bulk_tokens, most.bulk_tokens),
        )

    def probe_s(self, healthy: bool) -> float | None:
        """Seconds without work until the health is asked; None = never."""
        return self.idle_probe_s or (None if healthy else self.unhealthy_probe_s)


def halved(tokens: int) -> int:
    """Half of a budget, but not below LEAST_BUDGET; a smaller one stays as it is."""
    return min(tokens, max(tokens // 2, LEAST_BUDGET))


class Scorer(Protocol[Job, Result]):
    """What computes a batch. `tokens` is called from any thread and only reads the job."""

    def tokens(self, job: Job) -> int:
        """What the job costs: tokens through the whole depth of the model, at least 1."""

    def refreshed(self, job: Job) -> Job:
        """Called on the event loop just before a job is computed: the job with all that became known since it was
        queued. Its result must serve the job as it was."""

    def score(self, batch: Sequence[Job]) -> Sequence[Result]:
        """One result per job, in order. Worker thread. A batch that fails is tried again in halves.

        Raises:
            DeviceMemoryError: when the device has no memory for the batch.
        """

    def keep(self, job: Job, result: Result) -> None:
        """Called on the event loop for every job that has a result, even if its caller has gone: nothing is lost."""

    def split(self, job: Job) -> Sequence[Job]:
        """Two smaller jobs, in order; () for a job of one item. Worker thread."""

    def join(self, results: Sequence[Result]) -> Result:
        """The result of a job from those of its two halves. Worker thread."""

    def failed(self, job: Job) -> Result:
        """The result of a job of one item that fails even alone: it says so of the item. Worker thread."""

    def healthy(self) -> bool:
        """Whether the device answers: a small real forward pass. Worker thread. An exception means no, too."""


class OverloadedError(Exception):
    """The queue is full. `retry_after_s` is about how long its content takes."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("the queue is full")
        self.retry_after_s = retry_after_s


class DeadlinePassedError(Exception):
    """The deadline passed while the work was waiting, or could not have been met any more."""


class BatchFailedError(Exception):
    """The batch that this work was in could not be computed; the cause is in the log. It may be tried again."""


class DeviceLostError(BatchFailedError):
    """The device was found dead, or hangs."""


class DeviceMemoryError(Exception):
    """The device has no memory left for this batch."""


class ClosedError(Exception):
    """The batcher is draining or was not started."""
