"""The tokenizer's one thread: nobody waits for more than one turn of bulk work."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from services.ranker.caches import BoundedLru, Bounds
from services.ranker.texts import Texts
from shared.clock import ManualClock
from shared.model.base import Base
from shared.model.manifest import InputLayout
from shared.model.tokens import TokenIds, Tokeniser

SOON = 5.0


class HeldTokeniser(Tokeniser):
    """Remembers what it reads; its first turn waits for the gate."""

    def __init__(self, base: Base) -> None:
        super().__init__(base.tokenizer, InputLayout())
        self.turns: list[tuple[str, ...]] = []
        self.begun, self.gate = threading.Event(), threading.Event()

    def plain(self, texts: Sequence[str]) -> list[TokenIds]:
        if texts:
            self.turns.append(tuple(texts))
            self.begun.set()
            assert self.gate.wait(SOON)
        return super().plain(texts)


@pytest.fixture
async def texts() -> AsyncIterator[Texts]:
    cache: BoundedLru[str, bytes] = BoundedLru(
        Bounds(100_000), lambda text, ids: len(text) + len(ids), ManualClock(0.0)
    )
    made = Texts(cache, lambda _hits, _misses: None)
    yield made
    made.close()


async def test_a_call_waits_for_one_turn_of_bulk_work_and_not_for_all_of_it(texts: Texts, tiny_base: Base) -> None:
    tokeniser = HeldTokeniser(tiny_base)
    bulk = [
        asyncio.create_task(texts.read(tokeniser, (), [f"{name} {row}" for row in range(50)], bulk=True))
        for name in ("first", "second")
    ]
    assert await asyncio.to_thread(tokeniser.begun.wait, SOON)
    call = asyncio.create_task(texts.read(tokeniser, ["the history"], ["an item"], bulk=False))
    await asyncio.sleep(0)  # the call has its place behind the turn that is being read
    tokeniser.gate.set()
    context, known = await asyncio.wait_for(call, SOON)
    assert (len(context) > 0, "an item" in known) == (True, True)
    assert [len(turn) for turn in tokeniser.turns[:3]] == [16, 1, 1]
    read = await asyncio.wait_for(asyncio.gather(*bulk), SOON)
    assert [len(found) for _, found in read] == [50, 50]
    readers = [turn[0].split()[0] for turn in tokeniser.turns if turn[0].startswith(("first", "second"))]
    assert readers == ["first"] * 4 + ["second"] * 4  # one bulk call after another


async def test_bulk_reads_what_any_call_reads_and_remembers_it(texts: Texts, tiny_base: Base) -> None:
    tokeniser = HeldTokeniser(tiny_base)
    tokeniser.gate.set()
    wanted = [f"race {row}" for row in range(40)]
    _, in_bulk = await texts.read(tokeniser, (), wanted, bulk=True)
    turns = len(tokeniser.turns)
    _, at_once = await texts.read(tokeniser, (), wanted, bulk=False)
    assert in_bulk == at_once == dict(zip(wanted, tokeniser.plain(wanted), strict=True))
    assert len(tokeniser.turns) == turns + 1  # this test's own
