"""A table of one split: its rows, the blends beside them, and what the gate reads of it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from services.trainer.assessment import Assessment, Entrant, Extras, NoSuchSplitError
from services.trainer.baselines import fit_popularity, fit_recent_popularity
from services.trainer.corpus import TEST, TRAIN, VALID, Corpus, Event
from services.trainer.evaluation import ExampleScorer, evaluate
from services.trainer.fusion import fit_fused
from services.trainer.gate import LATENCY_MS, Gate, Outcome, judge
from services.trainer.item_knn import fit_item_knn
from services.trainer.limited import limited
from services.trainer.lineup import blend_split, counted_for, lineup_of
from services.trainer.robustness import robustness
from services.trainer.scored_once import ScoredOnce
from services.trainer.served_scorer import ServedScorer
from services.trainer.shipped_fusion import counted_to_the_test
from services.trainer.slate_latency import CANDIDATES, slate_latency
from services.trainer.training import Target, train
from shared.clock import ManualClock, SystemClock
from shared.datasets import Item
from shared.model.base import Base
from shared.model.blend import MODEL, POPULARITY, RETRIEVAL, Blend
from shared.model.item_key import lower_key
from shared.model.packed import PackedBert
from shared.model.ranking_model import RankingModel
from shared.model.versions import load_blend, load_version
from shared.model.zero_shot import zero_shot_model
from tests.shared.model.made_blend import made_crowd, made_fusion
from tests.shared.model.made_version import manifest_for, random_heads
from tests.trainer.measured_corpus import TableScorer, drawn_corpus
from tests.trainer.small_corpus import LAYOUT, RECIPE, small_corpus


def corpus() -> Corpus:
    """Train, valid and test; the events of a few users."""
    made = small_corpus(train=48, valid=96)
    valid = made.splits[VALID]
    events = tuple(Event(f"u{row}", row % 8, "click", float(row) / 10) for row in range(40))
    splits = {TRAIN: made.splits[TRAIN], VALID: valid[:48], TEST: valid[48:]}
    return replace(made, splits=splits, events=events)


CORPUS = corpus()
LATE = counted_to_the_test(CORPUS)
QUICK_ROWS = ["random", "popularity", "recent popularity", "item-kNN", "category affinity"]


@pytest.fixture(scope="module")
def tiny_model(tiny_base: Base, tiny_packed: PackedBert) -> RankingModel:
    return zero_shot_model(tiny_base, tiny_packed)


def refused() -> RankingModel:
    raise AssertionError("nothing reads item vectors here")


def assessment_on(split: str, measured: Corpus = CORPUS, zero_shot: Callable[[], RankingModel] = refused) -> Assessment:
    return Assessment(measured, counted_for(measured, split), split, zero_shot)


def test_quick_baselines_need_no_model_and_none_are_none() -> None:
    quick = lineup_of(CORPUS, CORPUS, "quick", refused, 0)
    assert [each.name for each in quick.rows] == QUICK_ROWS
    assert quick.signals == ()
    assert lineup_of(CORPUS, CORPUS, "none", refused, 0).rows == ()


def test_rows_count_what_a_version_counts_and_never_the_answers_they_are_measured_on() -> None:
    assert len(LATE.events) > len(CORPUS.events)
    for split, counted in ((TEST, LATE), (VALID, CORPUS), (TRAIN, CORPUS)):
        rows = lineup_of(CORPUS, counted_for(CORPUS, split), "quick", refused, 0).rows[1:-1]
        wanted = (fit_popularity(counted), fit_recent_popularity(counted), fit_item_knn(counted))
        for row, each in zip(rows, wanted, strict=True):
            np.testing.assert_array_equal(said(row, split), said(each, split))
    unvalidated = drawn_corpus()
    assert counted_for(unvalidated, TEST).events == unvalidated.events


def test_a_blend_is_fitted_on_what_was_before_validation_and_reads_what_was_before_the_test(
    tiny_model: RankingModel,
) -> None:
    lineup = lineup_of(CORPUS, LATE, "all", lambda: tiny_model, 0)
    for fitted, read, fit in zip(
        lineup.signals, lineup.late_signals, (fit_popularity, fit_recent_popularity, fit_item_knn), strict=False
    ):
        np.testing.assert_array_equal(said(fitted, VALID), said(fit(CORPUS), VALID))
        np.testing.assert_array_equal(said(read, TEST), said(fit(LATE), TEST))
        assert read in lineup.rows
    assert lineup.signals[3:] == lineup.late_signals[3:]  # nothing is counted in them
    assessment = assessment_on(TEST)
    assessment.add_baselines(lineup, lambda _: None)
    assessment.add_model(Entrant(tiny_model), Extras(), SystemClock())
    found = {each.scorer: each for each in assessment.evaluations}
    name = Entrant(tiny_model).name
    for row, models in (("fusion", ()), (f"{name} + fusion", (ServedScorer(CORPUS, tiny_model, name),))):
        early = fit_fused(CORPUS, VALID, (*models, *lineup.signals), row)
        late = replace(early, signals=(*models, *lineup.late_signals))
        assert found[row] == evaluate(late, CORPUS, TEST)
        assert found[row] != evaluate(early, CORPUS, TEST)


def said(scorer: ExampleScorer, split: str) -> np.ndarray:
    return np.concatenate(scorer.scores(CORPUS.splits[split]))


def test_a_model_stands_below_the_baselines_with_its_blend(tiny_model: RankingModel) -> None:
    lineup = lineup_of(CORPUS, LATE, "all", lambda: tiny_model, 0)
    assessment, heard = assessment_on(TEST), []
    assessment.add_baselines(lineup, heard.append)
    assessed = assessment.add_model(Entrant(tiny_model), Extras(), SystemClock())
    name = assessed.measured.scorer
    rows = [each.scorer for each in assessment.evaluations]
    assert rows[:5] == QUICK_ROWS
    assert rows[5:8] == ["zero-shot cosine", "attention tower", "zero-shot served"]
    assert rows[8:] == ["fusion", name, f"{name} + attention tower", f"{name} + fusion"]
    assert heard == rows[:-3]
    # Here the model is the one whose vectors the lineup's tower reads.
    towers = [each for each in assessment.evaluations if each.scorer.endswith("attention tower")]
    assert towers[0].metric("auc") == towers[1].metric("auc")
    assert (assessed.shifts, assessed.latency) == ((), None)
    served, again = (next(each for each in assessment.evaluations if each.scorer == one) for one in (rows[7], name))
    assert served.metric("auc") == again.metric("auc")


def test_without_histories_to_attend_to_there_is_no_tower(tiny_model: RankingModel) -> None:
    nobody = tuple(replace(each, history=()) for each in CORPUS.splits[TRAIN])
    lonely = replace(CORPUS, splits={TRAIN: nobody})
    lineup = lineup_of(lonely, lonely, "all", lambda: tiny_model, 0)
    assert "attention tower" not in [each.name for each in lineup.rows]


def test_a_version_with_a_fusion_is_measured_as_it_serves_and_without(tiny_model: RankingModel) -> None:
    blend = Blend(
        made_fusion((MODEL, POPULARITY), w0=0.0, w1=0.1), made_crowd(*(each.item_id for each in CORPUS.items))
    )
    assessment = assessment_on(TEST, zero_shot=lambda: tiny_model)
    name = Entrant(tiny_model, blend).name
    assessed = assessment.add_model(Entrant(tiny_model, blend), Extras(robustness=True), SystemClock())
    assert [each.scorer for each in assessment.evaluations] == [name, f"{name} without its fusion"]
    by_popularity = evaluate(TableScorer(np.arange(40, dtype=np.float32)), CORPUS, TEST)
    assert assessment.evaluations[0].metric("auc") == by_popularity.metric("auc")
    assert assessment.evaluations[1].metric("auc") != by_popularity.metric("auc")
    assert {each.mean_abs_change for each in assessed.shifts} == {0.0}  # its model has no weight
    assert assessment.evidence(assessed, None).candidate.version == name


def reread(items: Sequence[Item], model: RankingModel) -> ServedScorer:
    return ServedScorer(replace(CORPUS, items=tuple(items)), model)


@pytest.mark.parametrize("split", [VALID, TRAIN])
def test_where_a_fusion_knows_the_answers_the_model_is_measured_without_it(
    tiny_model: RankingModel, split: str
) -> None:
    blend = Blend(made_fusion((MODEL, RETRIEVAL), w0=0.0), None)
    assessment = assessment_on(split)
    entrant = Entrant(tiny_model, blend)
    assessed = assessment.add_model(entrant, Extras(robustness=True), SystemClock())
    [row] = assessment.evaluations
    assert row.scorer == assessed.measured.scorer == f"{entrant.name} without its fusion"
    alone = evaluate(ServedScorer(CORPUS, tiny_model), CORPUS, split)
    assert row.metric("log_loss") == alone.metric("log_loss")
    assert assessed.shifts == robustness(lambda items: reread(items, tiny_model), CORPUS, split, 0)


def test_an_action_that_a_fusion_does_not_answer_is_measured_as_it_is_served(
    tiny_base: Base, tiny_packed: PackedBert, tmp_path: Path
) -> None:
    trained = train(CORPUS, tiny_base, replace(RECIPE, most_steps=4), Target(tmp_path, "news", "v1", tmp_path / "work"))
    model = load_version(trained.folder, tiny_base, tiny_packed)
    blend = Blend(made_fusion((MODEL, RETRIEVAL), w0=0.0), None)
    likes = replace(CORPUS, actions=("like", "click"))
    assessment = assessment_on(TEST, likes)
    assessment.add_model(Entrant(model, blend), Extras(), SystemClock())
    [row] = assessment.evaluations
    assert row == evaluate(ServedScorer(likes, model), likes, TEST)
    shares = assessment_on(TEST, replace(CORPUS, actions=("share",)), lambda: zero_shot_model(tiny_base, tiny_packed))
    shares.add_model(Entrant(model, blend), Extras(), SystemClock())
    assert [each.scorer for each in shares.evaluations] == ["news/v1", "news/v1 without its fusion"]


@pytest.mark.parametrize("split_depth", [1, 3])
def test_a_version_has_the_row_of_its_training_beside_whatever_baselines(
    tiny_base: Base, tiny_packed: PackedBert, tmp_path: Path, split_depth: int
) -> None:
    recipe = replace(RECIPE, layout=replace(LAYOUT, split_depth=split_depth), most_steps=8, fusion=True)
    trained = train(CORPUS, tiny_base, recipe, Target(tmp_path, "news", "v1", tmp_path / "work"))
    blend = load_blend(trained.folder)
    assert blend is not None
    assert RETRIEVAL in blend.fusion.names
    entrant = Entrant(load_version(trained.folder, tiny_base, tiny_packed), blend)
    assert entrant.model.two_tower == (split_depth == 3)
    recorded = {
        each.name: each.value for each in entrant.model.manifest.metrics if (each.split, each.slice) == (TEST, "")
    }
    found = []
    for which in ("all", "quick", "none"):
        assessment = assessment_on(TEST, CORPUS, lambda: zero_shot_model(tiny_base, tiny_packed))
        assessment.add_baselines(
            lineup_of(CORPUS, LATE, which, lambda: zero_shot_model(tiny_base, tiny_packed), 0), lambda _: None
        )
        assessment.add_model(entrant, Extras(), SystemClock())
        found.append(next(each for each in assessment.evaluations if each.scorer == "news/v1"))
    for name in ("auc", "ndcg@10", "log_loss", "calibration_error"):
        assert len({each.metric(name) for each in found}) == 1
        assert found[0].metric(name).value == pytest.approx(recorded[name], abs=1e-5)


def test_what_retrieval_would_find_changes_with_the_texts(tiny_base: Base, tiny_packed: PackedBert) -> None:
    made = zero_shot_model(tiny_base, tiny_packed)
    for each in (made, meeting_model(tiny_base, tiny_packed)):
        assessment = assessment_on(TEST, CORPUS, lambda: made)
        entrant = Entrant(each, Blend(made_fusion((MODEL, RETRIEVAL), w0=0.0), None))
        assessed = assessment.add_model(entrant, Extras(robustness=True), SystemClock())
        changed = {shift.change: shift.mean_abs_change for shift in assessed.shifts}
        assert changed["another domain"] > 1e-3
        assert changed["lower case"] == 0.0


def meeting_model(base: Base, packed: PackedBert) -> RankingModel:
    """One in which candidates meet the user: it has no vectors of its own."""
    manifest = manifest_for(base, layout=LAYOUT)
    item_key = lower_key(base, base.bert, manifest, packed.placement)
    model = RankingModel(base, packed, manifest, random_heads(manifest, base), item_key)
    assert not model.two_tower
    return model


def test_the_zero_shot_model_is_made_only_where_a_fusion_reads_retrieval(
    tiny_base: Base, tiny_packed: PackedBert
) -> None:
    crowd = made_crowd(*(each.item_id for each in CORPUS.items))
    assessment_on(TEST).add_model(
        Entrant(meeting_model(tiny_base, tiny_packed), Blend(made_fusion((MODEL, POPULARITY)), crowd)),
        Extras(),
        SystemClock(),
    )


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
    assessment = assessment_on(TEST, zero_shot=lambda: tiny_model)
    assessed = assessment.add_model(Entrant(tiny_model), Extras(robustness=True, latency=True), SystemClock())
    assert [each.change for each in assessed.shifts][-1] == "another domain"
    evidence = assessment.evidence(assessed, assessed)
    verdict = judge(evidence, Gate(popularity_margin=1.0, most_calibration_error=1.0))
    assert verdict.passed, verdict.failed
    lines = {line.check: line for line in verdict.lines}
    assert lines["latency"].outcome is Outcome.PASSED
    assert "difference +0.0000 [+0.0000, +0.0000]" in lines["auc against champion"].figures
    popularity = evaluate(fit_popularity(LATE), CORPUS, TEST).metric("auc")
    assert popularity != evaluate(fit_popularity(CORPUS), CORPUS, TEST).metric("auc")
    assert f"against {popularity.value:.4f} [" in lines["auc against popularity"].figures
    alone = assessment.evidence(assessed, None)
    assert alone.champion is None
    assert {each.name.partition("/")[0] for each in alone.differences} == {"popularity", "zero-shot"}


def test_a_split_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(NoSuchSplitError, match="it has train, valid, test"):
        assessment_on("dev")


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
