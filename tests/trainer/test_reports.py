"""Reports: one file that fetches nothing and lets no title become markup; tables that show what was measured."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from services.trainer.bootstrap import Resampling
from services.trainer.evaluation import Evaluation, EvaluationOptions, evaluate
from services.trainer.reports import LearningStep, Report, Robustness, as_json, html_page, markdown_table, slices_table
from services.trainer.robustness import Shift
from services.trainer.seeds import seed_runs
from shared.model.records import decoded, parsed
from tests.trainer.measured_corpus import TableScorer, drawn_corpus

HOSTILE = "<script>alert('$x$ & $y')</script>|"


def evaluated(name: str, seed: int, *, probabilistic: bool = True) -> Evaluation:
    by_item = np.random.default_rng(seed).uniform(0.05, 0.95, 30).astype(np.float32)
    options = EvaluationOptions(resampling=Resampling(draws=20))
    return evaluate(TableScorer(by_item, name, probabilistic), drawn_corpus(), "test", options)


@pytest.fixture(scope="module")
def evaluations() -> tuple[Evaluation, ...]:
    return evaluated(HOSTILE, 0), evaluated("popularity", 1, probabilistic=False)


@pytest.fixture(scope="module")
def page(evaluations: tuple[Evaluation, ...]) -> str:
    learning = (LearningStep(10, 0.7, None), LearningStep(20, 0.6, 0.3), LearningStep(30, 0.5, 0.4))
    return html_page(Report(HOSTILE, evaluations, learning))


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        if tag != "meta":
            self.open.append(tag)
        self._note(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(attrs)

    def _note(self, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_is_one_file_that_fetches_nothing(page: str) -> None:
    assert "http" not in page
    assert "@import" not in page
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    assert all(link.startswith("#") for link in tags.links)
    assert {link.removeprefix("#") for link in tags.links} <= set(tags.ids)
    assert tags.opened.count("svg") == 3


def test_names_are_text_wherever_they_stand(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    assert "script" not in tags.opened
    assert HOSTILE in "".join(tags.text)
    assert "learning curve" in page.lower()


def test_every_figure_and_slice_stands_in_the_page(page: str, evaluations: tuple[Evaluation, ...]) -> None:
    for metric in evaluations[0].metrics:
        if metric.slice == "" or metric.name == "ndcg@10":
            assert f"{metric.value:.4f}" in page
    for counts in evaluations[0].counts:
        assert f"<td>{counts.slice or 'all'}</td><td>{counts.impressions}</td>" in page


def test_without_a_learning_curve_there_are_two_plots(evaluations: tuple[Evaluation, ...]) -> None:
    assert html_page(Report("plain", evaluations)).count("<svg") == 2


def test_the_markdown_table_marks_the_best_of_each_column(evaluations: tuple[Evaluation, ...]) -> None:
    head, _, *rows = markdown_table(evaluations).splitlines()
    cells = [re.split(r"(?<!\\)\|", row)[1:-1] for row in (head, *rows)]
    assert len({len(row) for row in cells}) == 1
    for column, name in enumerate(each.strip() for each in cells[0]):
        found = [each.metric(name) for each in evaluations]
        if all(found):
            better = min if name in ("log_loss", "calibration_error") else max
            best = better(range(2), key=lambda row: found[row].value)
            assert cells[1 + best][column].strip().startswith("**")
            assert f"{found[best].value:.4f}" in cells[1 + best][column]
    assert cells[2][cells[0].index(" log_loss ")].strip() == ""


def test_json_reads_back_as_it_was(evaluations: tuple[Evaluation, ...]) -> None:
    assert decoded(Evaluation, parsed(as_json(evaluations[0]))) == evaluations[0]


def test_evaluations_of_different_data_do_not_share_a_page(evaluations: tuple[Evaluation, ...]) -> None:
    with pytest.raises(ValueError, match="one split"):
        html_page(Report("mixed", (evaluations[0], replace(evaluations[1], split="valid"))))
    with pytest.raises(ValueError, match="at least one"):
        html_page(Report("empty", ()))


def test_slices_stand_below_each_other_with_every_scorer(evaluations: tuple[Evaluation, ...]) -> None:
    head, _, whole, *rows = slices_table(evaluations).splitlines()
    escaped = HOSTILE.replace("|", "\\|")
    assert head == f"| ndcg@10 by slice | impressions | {escaped} | popularity |"
    assert whole.startswith("| all | 60 |")
    assert len(rows) + 1 == len(evaluations[0].counts)
    for row, counts in zip(rows, evaluations[0].counts[1:], strict=True):
        metric = evaluations[1].metric("ndcg@10", counts.slice)
        assert row.startswith(f"| {counts.slice} | {counts.impressions} |")
        assert row.endswith(f"| {metric.value:.4f} [{metric.low:.4f}, {metric.high:.4f}] |")


def test_where_nothing_is_ranked_slices_show_the_auc_over_all_candidates(evaluations: tuple[Evaluation, ...]) -> None:
    pooled = tuple(
        replace(each, metrics=tuple(metric for metric in each.metrics if metric.name == "pooled_auc"))
        for each in evaluations
    )
    head, _, whole, *_ = slices_table(pooled).splitlines()
    assert head.startswith("| pooled_auc by slice |")
    assert f"{pooled[1].metric('pooled_auc').value:.4f}" in whole
    page = html_page(Report("pooled", pooled))
    assert "<h2>Slices: pooled_auc</h2>" in page
    assert "<h2>pooled_auc by length of history</h2>" in page
    history = pooled[1].metric("pooled_auc", "history 5-19")
    assert f"<td>{history.value:.4f} [{history.low:.4f}, {history.high:.4f}]</td>" in page
    assert "ndcg" not in page.lower()


def test_a_page_shows_seeds_and_robustness_and_json_keeps_them(evaluations: tuple[Evaluation, ...]) -> None:
    shift = Shift("typos & case", 0.125, "ndcg@10", 0.5, -0.25)
    report = Report("both", evaluations, seeds=(seed_runs(evaluations),), robustness=(Robustness(HOSTILE, (shift,)),))
    tags = Tags()
    tags.feed(html_page(report))
    text = " ".join(tags.text)
    mean = np.mean([each.metric("auc").value for each in evaluations])
    assert f"mean ± spread of 2 seeds ({HOSTILE}, popularity)" in text
    assert f"{mean:.4f} ± " in text
    assert f"Robustness of {HOSTILE}" in text
    assert all(cell in text for cell in ("typos & case", "0.1250", "0.5000", "-0.2500"))
    assert decoded(Report, parsed(as_json(report))) == report
