"""Records of served pages: after the answer, in batches, never in its way."""

import asyncio

import pytest

from services.orchestrator.budget import Budget
from services.orchestrator.served import ServedLimits, ServedPages
from services.orchestrator.slate import Cause, Stage, StageError

QUICK = ServedLimits(most_waiting=5, most_in_batch=2, gather_s=0, retry_s=0, stop_s=5)


class Log:
    """Takes batches; fails as often as it is told."""

    def __init__(self, failures=0):
        self.batches, self.failures, self.dropped = [], failures, {}
        self.taken = asyncio.Event()

    async def send(self, batch):
        if self.failures:
            self.failures -= 1
            raise StageError(Cause.UNAVAILABLE)
        self.batches.append(list(batch))
        self.taken.set()

    def drop(self, cause, count):
        self.dropped[cause] = self.dropped.get(cause, 0) + count

    @property
    def records(self):
        return [record for batch in self.batches for record in batch]


def served(log, limits=QUICK):
    return ServedPages(log.send, log.drop, limits)


async def test_records_arrive_in_order_in_batches_no_larger_than_allowed():
    log = Log()
    pages = served(log)
    for number in range(5):
        pages.add(number)
    pages.start()
    await pages.stop()
    assert log.records == [0, 1, 2, 3, 4]
    assert max(map(len, log.batches)) == 2
    assert log.dropped == {}


async def test_a_log_that_was_away_gets_them_when_it_is_back():
    log = Log(failures=3)
    pages = served(log)
    pages.start()
    pages.add("page")
    async with asyncio.timeout(5):
        await log.taken.wait()
    await pages.stop()
    assert log.records == ["page"]
    assert log.dropped == {}


async def test_what_does_not_fit_is_dropped_and_counted():
    log = Log()
    pages = served(log)
    for number in range(8):
        pages.add(number)
    assert log.dropped == {"full": 3}
    pages.start()
    await pages.stop()
    assert log.records == [0, 1, 2, 3, 4]


async def test_what_cannot_be_sent_at_the_end_is_counted():
    log = Log(failures=1_000_000)
    pages = served(log)
    pages.start()
    pages.add("page")
    await pages.stop()
    assert log.records == []
    assert log.dropped == {"stopped": 1}


async def test_a_record_that_is_refused_is_dropped_alone_and_counted():
    log = Log()
    sent = log.send

    async def refuse_three(batch):
        if 3 in batch:
            raise StageError(Cause.FAILED)
        await sent(batch)

    log.send = refuse_three
    pages = served(log)
    for number in range(1, 6):
        pages.add(number)
    pages.start()
    await pages.stop()
    assert log.records == [1, 2, 4, 5]
    assert log.dropped == {"refused": 1}


async def test_a_defect_does_not_end_the_recording():
    log = Log()
    sent = log.send

    async def break_once(batch):
        if 1 in batch:
            raise KeyError
        await sent(batch)

    log.send = break_once
    pages = served(log)
    for number in range(1, 6):
        pages.add(number)
    pages.start()
    await pages.stop()
    assert log.records == [3, 4, 5]
    assert log.dropped == {"defect": 2}


def test_stages_share_the_time_that_is_left_and_the_last_takes_all_but_the_reserve():
    budget = Budget(profile_share=0.25, retrieval_share=0.5, reserve_s=0.02, least_s=0.003)
    assert budget.of(Stage.PROFILE, 0.42) == pytest.approx(0.1)
    assert budget.of(Stage.RETRIEVAL, 0.42) == pytest.approx(0.2)
    assert budget.of(Stage.RANKING, 0.42) == pytest.approx(0.4)
    assert budget.of(Stage.RANKING, 0.022) is None
