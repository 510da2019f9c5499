"""Computes one batch and saves what can be saved of it when it fails.

A batch that fails is computed again in halves, first its jobs, then the items of a job, until the bad item is alone:
that item fails by itself and its neighbours get their results. Before every such step the device must show that it
still answers, so a dead device costs one attempt and not a storm of them.
"""

import logging
from collections.abc import Sequence
from typing import Generic

from services.ranker.work import BatchFailedError, DeviceMemoryError, Job, Result, Scorer, halved

log = logging.getLogger(__name__)

MOST_FAILURES = 32
"""Failing attempts of one batch after which the rest of it is given up. One bad item of n takes 1 + log2(n)."""


def answers(scorer: Scorer[Job, Result]) -> bool:
    """Whether the device computes a small forward pass."""
    try:
        return scorer.healthy()
    except Exception:
        log.exception("the device does not answer")
        return False


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

    def compute(self, batch: Sequence[Job]) -> list[Result | BatchFailedError]:
        """One result per job, in order; an error for what was given up.

        No attempt is larger than the limit, unless it is a single item. Each attempt that runs out of memory halves
        the limit for the attempts that follow.
        """
        if not self.device_answers or self.failures >= MOST_FAILURES:
            return [BatchFailedError() for _ in batch]
        if sum(map(self._scorer.tokens, batch)) > self._limit:
            parts = self._in_halves(batch)
            if parts:
                return parts
        try:
            return list(self._score(batch))
        except DeviceMemoryError:
            self.memory_errors += 1
            self._limit = halved(self._limit)
            self._count_failure("the device has no memory left for a batch")
        except Exception:
            self._count_failure("batch failed")
        # Out here the exception is gone, and with it the frames that held the failed attempt's memory.
        self.device_answers = answers(self._scorer)
        return self._in_halves(batch) or [self._failed_alone(batch[0])]

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

    def _in_halves(self, batch: Sequence[Job]) -> list[Result | BatchFailedError]:
        """Results of the batch computed in two halves; empty when it is a single item."""
        if len(batch) > 1:
            middle = len(batch) // 2
            return self.compute(batch[:middle]) + self.compute(batch[middle:])
        parts = [self.compute([part])[0] for part in self._scorer.split(batch[0])]
        if not parts:
            return []
        results = [part for part in parts if not isinstance(part, BatchFailedError)]
        return [self._scorer.join(results) if len(results) == len(parts) else BatchFailedError()]

    def _failed_alone(self, job: Job) -> Result | BatchFailedError:
        if not self.device_answers:
            return BatchFailedError()
        self.failed_items += 1
        return self._scorer.failed(job)
