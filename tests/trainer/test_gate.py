"""Each check of the gate refuses what it is there for, and nothing else."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.gate import (
    AUC,
    CALIBRATION_ERROR,
    LATENCY_MS,
    NDCG,
    POPULARITY,
    Evidence,
    Gate,
    Line,
    Outcome,
    Verdict,
    VersionFigures,
    judge,
    of_baseline,
)
from shared.model.manifest import Metric

GATE = Gate()


def metric(name: str, value: float, part: str = "", **changed: object) -> Metric:
    return replace(Metric(name, value, split="test", slice=part, count=1000, data="d1"), **changed)  # type: ignore[arg-type]


def figures(*changed: Metric) -> tuple[Metric, ...]:
    """Those of a good model; `changed` replace those of the same name and slice."""
    every = [
        metric(NDCG, 0.40),
        metric(AUC, 0.70),
        metric(f"popularity/{NDCG}", 0.30),
        metric(f"popularity/{AUC}", 0.60),
        metric(f"zero-shot/{NDCG}", 0.38),
        metric(f"zero-shot/{AUC}", 0.68),
        metric(NDCG, 0.35, "new users"),
        metric(f"popularity/{NDCG}", 0.30, "new users"),
        metric(f"zero-shot/{NDCG}", 0.35, "new users"),
        metric(CALIBRATION_ERROR, 0.01),
        Metric(LATENCY_MS, 12.0),
    ]
    return tuple({(each.name, each.slice): each for each in (*every, *changed)}.values())


def judged(
    candidate: tuple[Metric, ...], champion: tuple[Metric, ...] | None = figures(), *differences: Metric
) -> Verdict:
    rival = None if champion is None else VersionFigures("news/v1", champion)
    return judge(Evidence(VersionFigures("news/v2", candidate), rival, differences), GATE)


def failed(verdict: Verdict) -> list[str]:
    return [line.check for line in verdict.failed]


def line(verdict: Verdict, check: str) -> Line:
    (found,) = (each for each in verdict.lines if each.check == check)
    return found


@pytest.mark.parametrize("champion", [None, figures()], ids=["first", "equal champion"])
def test_a_good_model_passes_every_check(champion: tuple[Metric, ...] | None) -> None:
    verdict = judged(figures(), champion)
    assert verdict.passed
    assert {each.outcome for each in verdict.lines} == {Outcome.PASSED}
    assert len(verdict.lines) == (9 if champion is None else 10)


@pytest.mark.parametrize(
    ("worse", "check"),
    [
        (metric(NDCG, 0.39), f"{NDCG} against champion"),
        (metric(AUC, 0.69), f"{AUC} against champion"),
        (metric(NDCG, 0.32, "new users"), f"{NDCG} of new users against champion"),
        (metric(f"popularity/{NDCG}", 0.41), f"{NDCG} against popularity"),
        (metric(f"popularity/{AUC}", 0.71), f"{AUC} against popularity"),
        (metric(f"popularity/{NDCG}", 0.38, "new users"), f"{NDCG} of new users against popularity"),
        (metric(CALIBRATION_ERROR, 0.06), "calibration error"),
        (Metric(LATENCY_MS, 401.0), "latency"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_worse_in_one_thing_fails_that_line_alone(worse: Metric, check: str) -> None:
    verdict = judged(figures(worse))
    assert not verdict.passed
    assert failed(verdict) == [check]


def test_a_difference_within_the_margin_is_no_difference() -> None:
    assert judged(figures(metric(NDCG, 0.396), metric(AUC, 0.696), metric(NDCG, 0.331, "new users"))).passed
    assert failed(judged(figures(metric(NDCG, 0.394)))) == [f"{NDCG} against champion"]


def test_what_is_perhaps_worse_replaces_nothing_over_all_but_is_borne_in_a_slice() -> None:
    perhaps, surely = ((-0.03, -0.07, 0.01), (-0.03, -0.035, -0.025))
    for value, low, high in (perhaps, surely):
        verdict = judged(figures(), figures(), metric(NDCG, value, low=low, high=high))
        assert failed(verdict) == [f"{NDCG} against champion"]
        shown = f"{value:+.4f} [{low:+.4f}, {high:+.4f}], must be -0.0050 or more"
        assert shown in line(verdict, f"{NDCG} against champion").figures
        of_slice = judged(figures(), figures(), metric(NDCG, value, "new users", low=low, high=high))
        assert failed(of_slice) == ([] if high > 0 else [f"{NDCG} of new users against champion"])


@pytest.mark.parametrize("name", [NDCG, AUC])
def test_where_nothing_serves_the_untrained_model_must_not_be_better(name: str) -> None:
    chance = figures(metric(f"zero-shot/{name}", 0.9))
    assert failed(judged(chance, None)) == [f"{name} against zero-shot"]
    assert judged(chance).passed  # it answers no more


def test_above_popularity_must_be_clear_overall() -> None:
    check = f"{NDCG} against popularity"
    unclear = figures(metric(NDCG, 0.31, low=0.29, high=0.33), metric(f"zero-shot/{NDCG}", 0.3))
    clear = figures(metric(NDCG, 0.31, low=0.301, high=0.32), metric(f"zero-shot/{NDCG}", 0.3))
    assert failed(judged(unclear, None)) == [check]
    assert failed(judged(clear, None)) == []
    paired = metric(f"popularity/{NDCG}", 0.01, low=0.002, high=0.02)
    assert failed(judged(unclear, None, paired)) == []
    assert failed(judged(clear, None, replace(paired, low=-0.001))) == [check]


def test_a_slice_that_is_too_small_is_named_and_not_judged() -> None:
    small = figures(metric(NDCG, 0.01, "new users", count=199))
    verdict = judged(small)
    assert verdict.passed
    for rival in ("champion", "popularity"):
        named = line(verdict, f"{NDCG} of new users against {rival}")
        assert (named.outcome, named.figures) == (Outcome.NOT_JUDGED, "only 199 impressions, 200 are needed")
    assert not judged(figures(metric(NDCG, 0.01, "new users", count=200))).passed


@pytest.mark.parametrize(
    ("champion", "words"),
    [
        (tuple(replace(each, data="d2") for each in figures()), "different data"),
        (tuple(replace(each, split="valid") for each in figures()), "the champion has no figures on test"),
        ((), "the champion has no figures on test"),
    ],
    ids=["data", "split", "nothing"],
)
def test_a_champion_measured_on_something_else_is_not_compared(champion: tuple[Metric, ...], words: str) -> None:
    verdict = judged(figures(), champion)
    assert failed(verdict) == ["same data"]
    assert words in line(verdict, "same data").figures
    assert line(verdict, "same data").figures.endswith("evaluate both on the same data")
    assert not [each for each in verdict.lines if "champion" in each.check]


def test_data_that_is_not_known_cannot_be_the_same() -> None:
    unknown = tuple(replace(each, data="") for each in figures())
    assert failed(judged(unknown, unknown)) == ["same data"]
    assert judged(unknown, None).passed


@pytest.mark.parametrize(
    ("name", "check"),
    [
        (NDCG, "measured"),
        (AUC, "measured"),
        (f"popularity/{NDCG}", f"{NDCG} against popularity"),
        (CALIBRATION_ERROR, "calibration error"),
    ],
)
def test_what_was_not_measured_is_refused_with_what_to_do(name: str, check: str) -> None:
    lacking = tuple(each for each in figures() if (each.name, each.slice) != (name, ""))
    verdict = judged(lacking, None)
    assert failed(verdict) == [check]
    assert "evaluate" in line(verdict, check).figures


def test_a_slice_that_only_one_of_both_was_measured_on_is_refused() -> None:
    extra = metric(NDCG, 0.5, "new items")
    baseline = metric(f"popularity/{NDCG}", 0.1, "new items")
    check = f"{NDCG} of new items against champion"
    for candidate, champion in (((extra, baseline), ()), ((), (extra, baseline))):
        assert failed(judged(figures(*candidate), figures(*champion))) == [check]


def test_figures_of_different_data_in_one_model_are_refused() -> None:
    assert failed(judged(figures(metric(AUC, 0.7, data="d2")), None)) == ["measured"]


def test_a_latency_that_was_not_measured_is_refused_with_what_to_do() -> None:
    verdict = judged(tuple(each for each in figures() if each.name != LATENCY_MS))
    assert failed(verdict) == ["latency"]
    assert "--evidence" in line(verdict, "latency").figures


def test_a_baselines_figures_are_found_under_its_name() -> None:
    own = tuple(each for each in figures() if not each.name.startswith("popularity/"))
    judgeable = tuple(each for each in own if "/" not in each.name)
    baseline = of_baseline(POPULARITY, (metric(NDCG, 0.30), metric(AUC, 0.60), metric(NDCG, 0.36, "new users")))
    assert failed(judged((*own, *baseline), None)) == []
    assert failed(judged((*own, *of_baseline(POPULARITY, judgeable)), None)) == []
    assert len(judged((*own, *baseline), None).lines) == 9
    lacking = (f"{NDCG} against popularity", f"{NDCG} of new users against popularity", f"{AUC} against popularity")
    assert failed(judged(own, None)) == [*lacking]


def test_margins_are_settings() -> None:
    evidence = Evidence(VersionFigures("news/v2", figures(metric(NDCG, 0.36))), VersionFigures("news/v1", figures()))
    assert not judge(evidence, GATE).passed
    assert judge(evidence, replace(GATE, champion_margin=0.05)).passed
    assert not judge(evidence, replace(GATE, champion_margin=0.05, popularity_margin=-0.07)).passed
    assert not judge(evidence, replace(GATE, champion_margin=0.05, least_impressions=0, slice_margin=-0.01)).passed


@given(st.floats(0, 1), st.floats(0, 1))
def test_who_is_at_least_as_good_in_everything_is_never_refused(ndcg: float, more: float) -> None:
    champion = figures(metric(NDCG, ndcg), metric(f"popularity/{NDCG}", ndcg))
    assert judged(figures(metric(NDCG, ndcg + more), metric(f"popularity/{NDCG}", ndcg)), champion).passed
