"""Reports: one file that fetches nothing and lets no title become markup; tables that show what was measured."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from services.trainer.bootstrap import Resampling
from services.trainer.evaluation import Evaluation, EvaluationOptions, evaluate
from services.trainer.reports import LearningStep, Report, as_json, html_page, markdown_table
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
