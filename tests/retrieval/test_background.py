"""A background loop outlives whatever its step does."""

import asyncio
import logging

import pytest

from services.retrieval.background import Background, Pace, UpstreamError
from shared.errors import Reason, ServiceError
from shared.logs import FIELDS


async def test_a_step_that_raises_is_tried_again_until_it_works() -> None:
    outcomes = [UpstreamError(), ValueError("secret"), True, False]
    done: list[object] = []

    async def step() -> bool:
        outcome = outcomes.pop(0) if outcomes else False
        done.append(outcome)
        if isinstance(outcome, Exception):
            raise outcome
        return bool(outcome)

    background = Background("test", step, Pace(None, 0.001, 0.002))
    background.start()
    await asyncio.wait_for(background.idle(), 10)
    await background.stop()
    assert not outcomes


async def test_work_that_comes_during_a_step_is_seen_before_it_is_called_idle() -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()
    steps = 0

    async def step() -> bool:
        nonlocal steps
        steps += 1
        entered.set()
        await go_on.wait()
        return False

    background = Background("test", step, Pace(None))
    background.start()
    await asyncio.wait_for(entered.wait(), 10)
    idle = asyncio.create_task(background.idle())
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait_for(idle, 10)
    await background.stop()
    assert steps == 2


async def test_a_service_that_is_away_is_logged_once_and_one_that_refuses_each_time_with_its_status(
    caplog: pytest.LogCaptureFixture,
) -> None:
    away, refused = UpstreamError("UNAVAILABLE"), UpstreamError("UNIMPLEMENTED", passing=False)
    outcomes = [away, away, refused, refused]

    async def step() -> bool:
        if outcomes:
            raise outcomes.pop(0)
        return False

    background = Background("test", step, Pace(None, 0.001, 0.002))
    background.start()
    await asyncio.wait_for(background.idle(), 10)
    await background.stop()
    told = [(record.levelno, getattr(record, FIELDS)) for record in caplog.records]
    assert told == [
        (logging.WARNING, {"task": "test", "status": "UNAVAILABLE"}),
        (logging.ERROR, {"task": "test", "status": "UNIMPLEMENTED"}),
        (logging.ERROR, {"task": "test", "status": "UNIMPLEMENTED"}),
    ]


async def test_a_store_that_is_away_is_logged_once_and_without_a_stack(caplog: pytest.LogCaptureFixture) -> None:
    outcomes = [ServiceError(Reason.STORE_UNAVAILABLE, "away")] * 3

    async def step() -> bool:
        if outcomes:
            raise outcomes.pop()
        return False

    background = Background("test", step, Pace(None, 0.001, 0.002))
    background.start()
    await asyncio.wait_for(background.idle(), 10)
    await background.stop()
    assert [(record.levelno, record.exc_info) for record in caplog.records] == [(logging.WARNING, None)]


async def test_a_wake_at_the_moment_of_a_stop_does_not_keep_it_running() -> None:
    async def step() -> bool:
        return False

    background = Background("test", step, Pace(3600.0))
    background.start()
    await asyncio.wait_for(background.idle(), 10)
    await asyncio.sleep(0)
    background.wake()
    await asyncio.wait_for(background.stop(), 10)
