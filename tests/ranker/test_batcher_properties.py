"""What holds of the batcher for any mix of jobs: priorities, deadlines, bad items, little memory, cancellations."""

import asyncio
from dataclasses import dataclass, replace
from itertools import pairwise

from hypothesis import assume, given
from hypothesis import strategies as st

from services.ranker.work import (
    NO_DEADLINE,
    BatchFailedError,
    BatchLimits,
    DeadlinePassedError,
    Priority,
    Urgency,
    halved,
)
from tests.ranker.batcher_bench import FAILED, NOW, SOON, Bench, FakeScorer, Future, Item, Job


@dataclass(frozen=True)
class Call:
    """Jobs submitted at one go; those whose place is in `cancelled` are taken back at once."""

    jobs: tuple[Job, ...]
    urgency: Urgency
    cancelled: frozenset[int]


@dataclass(frozen=True)
class Story:
    calls: tuple[Call, ...]
    poison: frozenset[str]
    memory: int
    limits: BatchLimits


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """A few calls; every item has a name of its own."""
    made: list[Item] = []

    def items() -> tuple[Item, ...]:
        sizes = draw(st.lists(st.integers(1, 90), min_size=1, max_size=6))
        made.extend([Item(f"i{len(made) + place}", size) for place, size in enumerate(sizes)])
        return tuple(made[-len(sizes) :])

    def call() -> Call:
        jobs = tuple(Job(items()) for _ in range(draw(st.integers(0, 6))))
        deadline = draw(st.sampled_from([NOW - 1, NOW, NOW + 1, NOW + 2, NO_DEADLINE]))
        urgency = Urgency(draw(st.sampled_from(Priority)), deadline)
        return Call(jobs, urgency, frozenset(draw(st.sets(st.integers(0, 5)))))

    calls = tuple(call() for _ in range(draw(st.integers(1, 6))))
    names = [item.name for item in made]
    return Story(
        calls,
        frozenset(draw(st.sets(st.sampled_from(names), max_size=2))) if names else frozenset(),
        memory=draw(st.sampled_from([80, 200, 1_000_000])),
        limits=BatchLimits(1_000_000, draw(st.integers(1, 600)), draw(st.integers(1, 200))),
    )


async def play(story: Story) -> tuple[FakeScorer, Bench[FakeScorer], list[list[Future]]]:
    """Submits all calls before anything is computed, and waits until all is done."""
    scorer = FakeScorer(poison=set(story.poison), memory=story.memory)
    bench = Bench(scorer, story.limits)
    futures = [bench.batcher.submit(call.jobs, call.urgency) for call in story.calls]
    for call, given_out in zip(story.calls, futures, strict=True):
        for place in call.cancelled & set(range(len(given_out))):
            given_out[place].cancel()
    everything = [future for given_out in futures for future in given_out]
    await asyncio.wait_for(asyncio.gather(*everything, return_exceptions=True), SOON)
    await bench.drain()
    return scorer, bench, futures


def expected(story: Story, job: Job) -> tuple[str, ...] | None:
    """An item's result depends on that item alone; None when there is an item for which there is no memory."""
    if any(item.tokens > story.memory for item in job.items):
        return None
    return tuple(FAILED if item.name in story.poison else item.name.upper() for item in job.items)


@given(stories())
def test_every_job_gets_its_own_right_answer_however_it_was_batched_and_split(story: Story) -> None:
    scorer, bench, futures = asyncio.run(play(story))
    kept = []
    for call, given_out in zip(story.calls, futures, strict=True):
        for place, (job, future) in enumerate(zip(call.jobs, given_out, strict=True)):
            if place in call.cancelled:
                assert future.cancelled()
            elif call.urgency.deadline <= NOW:
                assert isinstance(future.exception(), DeadlinePassedError)
            elif expected(story, job) is None:
                assert type(future.exception()) is BatchFailedError
            else:
                assert future.result().result == expected(story, job)
                kept.append(job)
    assert len(scorer.kept) == len(kept)
    assert {job for job, _ in scorer.kept} == set(kept)
    assert bench.observed.waiting == (0, 0)
    assert len(scorer.threads) <= 1


@given(stories())
def test_batches_follow_urgency_and_arrival_keep_priorities_apart_and_hold_nothing_dropped(story: Story) -> None:
    scorer, bench, _ = asyncio.run(play(story))
    wanted = [
        (call.urgency, job)
        for call in story.calls
        for place, job in enumerate(call.jobs)
        if place not in call.cancelled and call.urgency.deadline > NOW
    ]
    wanted.sort(key=lambda each: each[0])
    computed = list(dict.fromkeys(item for call in scorer.calls for item in call))
    assert computed == [item for _, job in wanted for item in job.items]
    priorities = {item: urgency.priority for urgency, job in wanted for item in job.items}
    assert all(len({priorities[item] for item in call}) == 1 for call in scorer.calls)
    missed = [call for call in story.calls if call.urgency.priority is not Priority.LEFTOVER]
    told = sum(urgency.priority is not Priority.LEFTOVER for urgency, _ in wanted)
    assert len(bench.observed.dropped) == sum(len(call.jobs) for call in missed) - told


@given(stories())
def test_no_attempt_is_larger_than_its_limit_unless_it_is_a_single_item(story: Story) -> None:
    scorer, bench, _ = asyncio.run(play(story))
    computed = iter(dict.fromkeys(item for call in scorer.calls for item in call))
    batch_of: dict[Item, int] = {}
    for number, (tokens, _) in enumerate(bench.observed.batches):
        left = tokens
        while left:
            item = next(computed)
            batch_of[item] = number
            left -= item.tokens
    limits = [limit for _, limit in bench.observed.batches]
    for call in scorer.calls:
        tokens = sum(item.tokens for item in call)
        number = batch_of[call[0]]
        assert tokens <= limits[number] or len(call) == 1
        if tokens > story.memory:
            limits[number] = halved(limits[number])


@given(stories())
def test_a_batch_ends_only_where_the_next_job_would_not_have_fitted(story: Story) -> None:
    assume(story.limits.interactive_tokens != story.limits.bulk_tokens)
    # Bulk work and leftovers have the same limit, which here tells the priorities apart.
    calls = tuple(call for call in story.calls if call.urgency.priority is not Priority.LEFTOVER)
    _, bench, _ = asyncio.run(play(replace(story, memory=1_000_000, calls=calls)))
    for (tokens, limit), (next_tokens, next_limit) in pairwise(bench.observed.batches):
        assert tokens + next_tokens > limit or limit != next_limit
