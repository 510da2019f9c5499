"""Computes one batch and saves what can be saved of it when it fails.

A batch that fails is computed again in halves until the bad job is alone; only then is that one cut into its items, so
that whatever is wrong with it, its neighbours have their results. The bad item fails by itself. Before every such step
the device must show that it still answers, so a dead device costs one attempt and not a storm of them.
"""

import enum
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

from services.ranker.work import BatchFailedError, DeviceLostError, DeviceMemoryError, Job, Result, Scorer, halved

log = logging.getLogger(__name__)

MOST_FAILURES = 32
"""Failing attempts of one job after which the rest of it is given up. One bad item of n takes 1 + log2(n)."""
_LEAST_SHARE = 8
"""Failing attempts that a bad job gets, while there are any, however many other bad jobs share its batch's."""


def answers(scorer: Scorer[Job, Result]) -> bool:
    """Whether the device computes a small forward pass."""
    try:
        return scorer.healthy()
    except Exception:
        log.exception("the device does not answer")
        return False


def most_failures(jobs: int) -> int:
    """Of a batch: finding its bad jobs takes less than two for each; one job's allowance is left for their items."""
    return MOST_FAILURES + 2 * jobs


class _Failure(enum.Enum):
    """Why an attempt failed."""

    MEMORY = enum.auto()
    OTHER = enum.auto()


@dataclass(frozen=True, slots=True, eq=False)
class _Parts(Generic[Job]):
    """A job that is to be computed in parts, when all the others of its batch have been tried whole."""

    jobs: Sequence[Job]


class Salvage(Generic[Job, Result]):
    """Made anew for each batch; lives on the worker thread until `compute` returns.

    Afterwards `failures` counts the attempts that failed, `memory_errors` those of them for want of memory, and
    `failed_items` the items that failed alone; `device_answers` is False when the device was found dead.
    """

    def __init__(self, scorer: Scorer[Job, Result], limit: int) -> None:
        self.failures = 0
        self.memory_errors = 0
        self.failed_items = 0
        self.device_answers = True
        self._scorer = scorer
        self._limit = limit
        self._allowed = 0
        """The number of failures after which nothing more is tried, of the job at hand or of all."""

    def compute(self, batch: Sequence[Job]) -> list[Result | BatchFailedError]:
        """One result per job, in order; an error for what was given up.

        No attempt is larger than the limit, unless it is a single item. Each attempt that runs out of memory halves
        the limit for the attempts that follow.
        """
        most = self._allowed = most_failures(len(batch))
        tried = self._whole(batch)
        unsaved = sum(isinstance(each, _Parts) for each in tried)
        results: list[Result | BatchFailedError] = []
        for each in tried:
            if isinstance(each, _Parts):
                left = most - self.failures
                self._allowed = self.failures + min(left, MOST_FAILURES, max(_LEAST_SHARE, left // unsaved))
                unsaved -= 1
                results.append(self._joined(each))
            else:
                results.append(each)
        return results

    def _whole(self, batch: Sequence[Job]) -> list[Result | BatchFailedError | _Parts[Job]]:
        """The jobs of a batch, none of them cut: all together or, where that fails, in halves."""
        if len(batch) == 1:
            return [self._alone(batch[0])]
        if self.device_answers and self._fits(batch):
            done = self._attempt(batch)
            if not isinstance(done, _Failure):
                return [*done]
        middle = len(batch) // 2
        return self._whole(batch[:middle]) + self._whole(batch[middle:])

    def _alone(self, job: Job) -> Result | BatchFailedError | _Parts[Job]:
        if not self.device_answers:
            return DeviceLostError()
        if self.failures >= self._allowed:
            return BatchFailedError()
        parts = () if self._fits([job]) else self._scorer.split(job)
        if parts:
            return _Parts(parts)
        done = self._attempt([job])
        if not isinstance(done, _Failure):
            return done[0]
        parts = self._scorer.split(job)
        return _Parts(parts) if parts else self._failed_alone(job, done)

    def _joined(self, parts: _Parts[Job]) -> Result | BatchFailedError:
        """The result of a job from its parts; an error when there is one of any part."""
        results: list[Result] = []
        error: BatchFailedError | None = None
        for job in parts.jobs:
            done = self._alone(job)
            if isinstance(done, _Parts):
                done = self._joined(done)
            if isinstance(done, BatchFailedError):
                error = done  # the last one: a device that died did so last
            else:
                results.append(done)
        return error or self._scorer.join(results)

    def _fits(self, batch: Sequence[Job]) -> bool:
        return sum(map(self._scorer.tokens, batch)) <= self._limit

    def _attempt(self, batch: Sequence[Job]) -> Sequence[Result] | _Failure:
        """Computes the batch at one go; when that fails, sees whether the device still answers."""
        try:
            return self._score(batch)
        except DeviceMemoryError:
            failure = _Failure.MEMORY
            self.memory_errors += 1
            self._limit = halved(self._limit)
            self._count_failure("the device has no memory left for a batch")
        except Exception:
            failure = _Failure.OTHER
            self._count_failure("batch failed")
        # Out here the exception is gone, and with it the frames that held the failed attempt's memory.
        self.device_answers = answers(self._scorer)
        return failure

    def _score(self, batch: Sequence[Job]) -> Sequence[Result]:
        results = self._scorer.score(batch)
        if len(results) != len(batch):
            raise ValueError("the scorer must return one result per job")
        return results

    def _count_failure(self, event: str) -> None:
        """Only the first failure is logged, with its stack trace: those that follow are its echo."""
        if not self.failures:
            log.exception(event)
        self.failures += 1

    def _failed_alone(self, job: Job, failure: _Failure) -> Result | BatchFailedError:
        if not self.device_answers:
            return DeviceLostError()
        if failure is _Failure.MEMORY:  # not the item's fault: there may be memory the next time
            return BatchFailedError()
        self.failed_items += 1
        return self._scorer.failed(job)
