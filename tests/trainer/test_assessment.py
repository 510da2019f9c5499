"""A table of one split: its rows, the blends beside them, and what the gate reads of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from services.trainer.assessment import Assessment, Entrant, Extras, NoSuchSplitError
from services.trainer.corpus import TEST, TRAIN, VALID, Corpus, Event
from services.trainer.evaluation import evaluate
from services.trainer.gate import LATENCY_MS, Gate, Outcome, judge
from services.trainer.limited import limited
from services.trainer.lineup import blend_split, lineup_of
from services.trainer.scored_once import ScoredOnce
from services.trainer.slate_latency import CANDIDATES, slate_latency
from shared.clock import ManualClock, SystemClock
from shared.model.base import Base
from shared.model.blend import MODEL, POPULARITY, Blend
from shared.model.packed import PackedBert
from shared.model.ranking_model import RankingModel
from shared.model.zero_shot import zero_shot_model
from tests.shared.model.made_blend import made_crowd, made_fusion
from tests.trainer.measured_corpus import TableScorer, drawn_corpus
from tests.trainer.small_corpus import small_corpus


def corpus() -> Corpus:
    """Train, valid and test; the events of a few users."""
    made = small_corpus(train=48, valid=96)
    valid = made.splits[VALID]
    events = tuple(Event(f"u{row}", row % 8, "click", float(row) / 10) for row in range(40))
    splits = {TRAIN: made.splits[TRAIN], VALID: valid[:48], TEST: valid[48:]}
    return replace(made, splits=splits, events=events)


CORPUS = corpus()


@pytest.fixture(scope="module")
def tiny_model(tiny_base: Base, tiny_packed: PackedBert) -> RankingModel:
    return zero_shot_model(tiny_base, tiny_packed)


def refused() -> RankingModel:
    raise AssertionError("nothing reads item vectors here")


def test_quick_baselines_need_no_model_and_none_are_none() -> None:
    quick = lineup_of(CORPUS, "quick", refused, 0)
    assert [each.name for each in quick.rows] == ["random", "popularity", "recent popularity", "item-kNN"]
    assert quick.signals == ()
    assert lineup_of(CORPUS, "none", refused, 0).rows == ()


def test_a_model_stands_below_the_baselines_with_its_blend(tiny_model: RankingModel) -> None:
    lineup = lineup_of(CORPUS, "all", lambda: tiny_model, 0)
    assessment, heard = Assessment(CORPUS, TEST), []
    assessment.add_baselines(lineup, heard.append)
    assessed = assessment.add_model(Entrant(tiny_model), Extras(), SystemClock())
    name = assessed.measured.scorer
    rows = [each.scorer for each in assessment.evaluations]
    assert rows[:4] == ["random", "popularity", "recent popularity", "item-kNN"]
    assert rows[4:7] == ["zero-shot cosine", "attention tower", "zero-shot served"]
    assert rows[7:] == ["fusion", name, f"{name} + fusion"]
    assert heard == rows[:-2]
    assert (assessed.shifts, assessed.latency) == ((), None)
    served, again = (next(each for each in assessment.evaluations if each.scorer == one) for one in (rows[6], name))
    assert served.metric("auc") == again.metric("auc")


def test_without_histories_to_attend_to_there_is_no_tower(tiny_model: RankingModel) -> None:
    nobody = tuple(replace(each, history=()) for each in CORPUS.splits[TRAIN])
    lineup = lineup_of(replace(CORPUS, splits={TRAIN: nobody}), "all", lambda: tiny_model, 0)
    assert "attention tower" not in [each.name for each in lineup.rows]


def test_a_version_with_a_fusion_is_measured_as_it_serves_and_without(tiny_model: RankingModel) -> None:
    blend = Blend(
        made_fusion((MODEL, POPULARITY), w0=0.0, w1=0.1), made_crowd(*(each.item_id for each in CORPUS.items))
    )
    assessment = Assessment(CORPUS, TEST)
    name = Entrant(tiny_model, blend).name
    assessed = assessment.add_model(Entrant(tiny_model, blend), Extras(robustness=True), SystemClock())
    assert [each.scorer for each in assessment.evaluations] == [name, f"{name} without its fusion"]
    by_popularity = evaluate(TableScorer(np.arange(40, dtype=np.float32)), CORPUS, TEST)
    assert assessment.evaluations[0].metric("auc") == by_popularity.metric("auc")
    assert assessment.evaluations[1].metric("auc") != by_popularity.metric("auc")
    assert {each.mean_abs_change for each in assessed.shifts} == {0.0}  # its model has no weight
    assert assessment.evidence(assessed, None).candidate.version == name


def test_blends_are_fitted_on_validation_slates_of_the_same_kind_and_never_on_what_is_measured() -> None:
    valid = CORPUS.splits[VALID]
    kinds = replace(CORPUS, splits={TRAIN: (), VALID: valid, f"{VALID}-popular": valid})
    assert blend_split(kinds, "test-popular") == "valid-popular"
    assert blend_split(kinds, "test-uniform") == VALID
    assert blend_split(kinds, "dev") == VALID
    assert [blend_split(kinds, split) for split in (VALID, "valid-popular", TRAIN)] == [None] * 3
    nothing_liked = tuple(replace(each, labels=np.zeros_like(each.labels)) for each in valid)
    assert blend_split(replace(kinds, splits={VALID: nothing_liked}), TEST) is None
    assert blend_split(drawn_corpus(), TEST) is None


def test_evidence_is_judged_and_a_model_is_not_worse_than_itself(tiny_model: RankingModel) -> None:
    assessment = Assessment(CORPUS, TEST)
    assessed = assessment.add_model(Entrant(tiny_model), Extras(robustness=True, latency=True), SystemClock())
    assert [each.change for each in assessed.shifts][-1] == "another domain"
    evidence = assessment.evidence(assessed, assessed)
    verdict = judge(evidence, Gate(popularity_margin=1.0, most_calibration_error=1.0))
    assert verdict.passed, verdict.failed
    lines = {line.check: line for line in verdict.lines}
    assert lines["latency"].outcome is Outcome.PASSED
    assert "difference +0.0000 [+0.0000, +0.0000]" in lines["auc against champion"].figures
    alone = assessment.evidence(assessed, None)
    assert alone.champion is None
    assert {each.name.partition("/")[0] for each in alone.differences} == {"popularity"}


def test_a_split_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(NoSuchSplitError, match="it has train, valid, test"):
        Assessment(CORPUS, "dev")


def test_a_limit_draws_in_order_from_what_is_measured_and_says_so() -> None:
    some = limited(CORPUS, 10, 0)
    assert {name: len(each) for name, each in some.splits.items()} == {TRAIN: 48, VALID: 10, TEST: 10}
    times = [each.time for each in some.splits[TEST]]
    assert times == sorted(times)
    assert {id(each) for each in some.splits[TEST]} < {id(each) for each in CORPUS.splits[TEST]}
    assert some.name == "small (at most 10 of a split)"
    assert len({CORPUS.fingerprint, some.fingerprint, limited(CORPUS, 10, 1).fingerprint}) == 3
    assert limited(CORPUS, 48, 0) is CORPUS
    with pytest.raises(ValueError, match="at least 1"):
        limited(CORPUS, 0, 0)


class Asked(TableScorer):
    def scores(self, examples):
        CALLS.append(len(examples))
        return super().scores(examples)


CALLS: list[int] = []


def test_a_remembered_scorer_is_asked_once_for_each_split() -> None:
    CALLS.clear()
    once = ScoredOnce(Asked(np.arange(40, dtype=np.float32)))
    first, second = CORPUS.splits[VALID], CORPUS.splits[TEST]
    for examples in (first, second, first):
        for scores, example in zip(once.scores(examples), examples, strict=True):
            np.testing.assert_array_equal(scores, example.candidates)
    assert CALLS == [48, 48]
    assert (once.name, once.probabilistic) == ("table", False)


class Ticking:
    """Takes longer for each slate, by its clock."""

    name, probabilistic = "ticking", True

    def __init__(self, clock: ManualClock) -> None:
        self.clock, self.asked, self.threads = clock, [], set()

    def scores(self, examples):
        self.threads.add(torch.get_num_threads())
        self.asked.append([len(example.candidates) for example in examples])
        self.clock.advance(0.010 * len(self.asked))
        return []


def test_latency_is_the_median_over_slates_of_200_on_one_thread_when_warm() -> None:
    clock = ManualClock(0.0)
    scorer, threads = Ticking(clock), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        metric = slate_latency(scorer, CORPUS, TEST, clock)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert scorer.threads == {1}
    warm, *timed = scorer.asked
    assert len(warm) == len(timed) == metric.count
    assert all(slate == [CANDIDATES] for slate in timed)
    assert metric.name == LATENCY_MS
    assert metric.value == pytest.approx(np.median([10.0 * (row + 2) for row in range(len(timed))]))
