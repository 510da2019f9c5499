"""The batcher's work: items to encode or to score for one user, and the `Scorer` that does it with the models.

A call is cut into jobs no larger than a batch. They share the slot of their user's context: whichever job comes first
computes it, in the one compute thread, and the others find it there.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from services.ranker.caches import Caches, ContextKey, ItemKey, KnownItem
from services.ranker.work import DeviceMemoryError
from shared.model.ranking_model import Group, ItemState, Probabilities, RankingModel, UserContext
from shared.model.tokens import TokenIds

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class ContextSlot:
    """A user's context: what it is made of, and, once some job has made it, the context itself."""

    key: ContextKey
    token_ids: TokenIds
    context: UserContext | None = None
    failed: bool = False
    """It cannot be made; no job of this user is tried any more."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One item of a job: its tokens, or its state where that is known; `key` None = not to be cached."""

    text: str
    key: ItemKey | None
    token_ids: TokenIds = ()
    state: ItemState | None = None

    @property
    def tokens(self) -> int:
        """Tokens that go through the layers."""
        return len(self.token_ids) if self.state is None else len(self.state)


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """Rows of one call. With `scores` they are scored for the user of `slot`, else only what is missing is encoded."""

    model: RankingModel
    rows: tuple[Row, ...]
    slot: ContextSlot | None
    scores: bool
    cost: int
    """Tokens through the whole depth of the model: a token that skips half of the layers counts half."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One entry per row of the job."""

    states: tuple[ItemState | None, ...]
    """Encoded or known; None where it has failed."""
    probabilities: Probabilities
    """[rows, actions], not a number where the row has failed; no rows where nothing was to be scored."""


def cut(
    model: RankingModel, rows: Sequence[Row], slot: ContextSlot | None, most_tokens: int, *, scores: bool
) -> list[Job]:
    """Jobs of at most `most_tokens` (a costlier row makes one by itself), in order; the first bears the slot's cost."""
    jobs: list[Job] = []
    run: list[Row] = []
    cost = context = 0.0 if slot is None or slot.context else float(len(slot.token_ids))
    for row in rows:
        each = _row_cost(model, row, scores=scores)
        if run and cost + each > most_tokens:
            jobs.append(Job(model, tuple(run), slot, scores, _whole(cost)))
            run, cost = [], 0.0
        run.append(row)
        cost += each
    if run or context:
        jobs.append(Job(model, tuple(run), slot, scores, _whole(cost)))
    return jobs


class ModelScorer:
    """The batcher's Scorer: computes jobs of any models together, and keeps what was computed."""

    def __init__(self, caches: Caches) -> None:
        self._caches = caches
        self._probe: RankingModel | None = None

    def watch(self, model: RankingModel) -> None:
        """The model whose forward pass tells the device's health."""
        self._probe = model

    def tokens(self, job: Job) -> int:
        """The job's cost."""
        return job.cost

    def refreshed(self, job: Job) -> Job:
        """With the states and the context that other calls have left in the caches meanwhile."""
        if job.slot is not None and job.slot.context is None:
            job.slot.context = self._caches.contexts.get(job.slot.key)
        return replace(job, rows=tuple(map(self._with_state, job.rows)))

    def _with_state(self, row: Row) -> Row:
        known = self._caches.items.get(row.key) if row.state is None and row.key is not None else None
        return row if known is None else replace(row, state=known.state)

    def score(self, batch: Sequence[Job]) -> Sequence[Outcome]:
        """The outcome of each job.

        Raises:
            DeviceMemoryError: when the batch does not fit the device.
        """
        hopeless = {number for number, job in enumerate(batch) if job.slot is not None and job.slot.failed}
        outcomes = {number: self.failed(batch[number]) for number in hopeless}
        try:
            for model in {id(job.model): job.model for job in batch}.values():
                mine = [number for number, job in enumerate(batch) if job.model is model and number not in hopeless]
                outcomes.update(zip(mine, _computed(model, [batch[number] for number in mine]), strict=True))
        except torch.OutOfMemoryError:
            pass
        else:
            return [outcomes[number] for number in range(len(batch))]
        # Out here nothing of the failed batch holds memory any more.
        outcomes.clear()
        torch.cuda.empty_cache()
        raise DeviceMemoryError

    def keep(self, job: Job, result: Outcome) -> None:
        """Puts item states and the user context into the caches."""
        for row, state in zip(job.rows, result.states, strict=True):
            if row.state is None and row.key is not None and state is not None and row.key not in self._caches.items:
                self._caches.items.put(row.key, KnownItem(state, row.text))
        if job.slot is not None and job.slot.context is not None:
            self._caches.contexts.put(job.slot.key, job.slot.context)

    def split(self, job: Job) -> Sequence[Job]:
        """Two halves; nothing for a single row. First of all a context that is missing parts from the rows.

        Else a bad one would fail with each row anew, and the failures that a batch may have would be used up.
        """
        slot = job.slot
        if job.rows and slot is not None and slot.context is None and not slot.failed:
            return [Job(job.model, (), slot, job.scores, len(slot.token_ids)), _part(job, job.rows)]
        if len(job.rows) < 2:
            return ()
        middle = len(job.rows) // 2
        return [_part(job, job.rows[:middle]), _part(job, job.rows[middle:])]

    def join(self, results: Sequence[Outcome]) -> Outcome:
        """One outcome for all rows, in order."""
        states = tuple(state for result in results for state in result.states)
        return Outcome(states, np.concatenate([result.probabilities for result in results]))

    def failed(self, job: Job) -> Outcome:
        """The outcome of rows that cannot be computed; without rows it is the context that cannot."""
        if not job.rows and job.slot is not None:
            job.slot.failed = True
        scored = len(job.rows) if job.scores else 0
        nothing = np.full((scored, len(job.model.manifest.actions)), np.nan, dtype=np.float32)
        return Outcome((None,) * len(job.rows), nothing)

    def healthy(self) -> bool:
        """Whether a small forward pass gives finite numbers."""
        model = self._probe
        if model is None:
            return True
        separator = model.base.tokenizer.sep_token_id
        context = model.encode_contexts([(separator,)])[0]
        (scores,) = model.score([Group(context, model.encode_items([(separator,)]))])
        return bool(np.isfinite(scores).all())


def _computed(model: RankingModel, jobs: Sequence[Job]) -> list[Outcome]:
    """The outcomes of jobs of one model: contexts first, then items, then scores, each for all jobs together."""
    slots = {id(job.slot): job.slot for job in jobs if job.slot is not None and job.slot.context is None}
    for slot, context in zip(
        slots.values(), model.encode_contexts([slot.token_ids for slot in slots.values()]), strict=True
    ):
        slot.context = context
    # A text that several rows want is encoded once.
    missing = {row.token_ids: None for job in jobs for row in job.rows if row.state is None}
    made = dict(zip(missing, model.encode_items([*missing]), strict=True))
    states = [tuple(made[row.token_ids] if row.state is None else row.state for row in job.rows) for job in jobs]
    scored = [number for number, job in enumerate(jobs) if job.scores]
    groups = [Group(_context(jobs[number].slot), states[number]) for number in scored]
    found = dict(zip(scored, model.score(groups), strict=True))
    nothing = np.empty((0, len(model.manifest.actions)), dtype=np.float32)
    return [Outcome(states[number], found.get(number, nothing)) for number in range(len(jobs))]


def _context(slot: ContextSlot | None) -> UserContext | None:
    return None if slot is None else slot.context


def _part(job: Job, rows: tuple[Row, ...]) -> Job:
    return Job(
        job.model, rows, job.slot, job.scores, _whole(sum(_row_cost(job.model, row, scores=job.scores) for row in rows))
    )


def _row_cost(model: RankingModel, row: Row, *, scores: bool) -> float:
    depth, split = model.bert.depth, model.manifest.layout.split_depth
    layers = (split if row.state is None else 0) + (depth - split if scores else 0)
    return row.tokens * layers / depth


def _whole(cost: float) -> int:
    return max(1, round(cost))
