"""Evaluations as people read them: a table in markdown, and a page with plots that needs nothing but itself.

Texts come from data sets and are escaped; plots are drawn as SVG into the page. Nothing is fetched when it is opened.
"""

import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from services.trainer.evaluation import LOWER_IS_BETTER, Evaluation, SliceCounts
from services.trainer.robustness import Shift, robustness_rows
from services.trainer.seeds import SeedFigure, SeedRuns
from shared.model.manifest import Metric
from shared.model.records import encoded

_HISTORY = "history "
_NDCG, _POOLED_AUC = "ndcg@10", "pooled_auc"
_TEMPLATE = "report.html"
_SIZE_INCHES = (7.0, 4.2)
_PROLOG = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_NAMESPACE = re.compile(r'\sxmlns(:\w+)?="[^"]*"')
"""HTML knows SVG without being told where its definition lies."""


@dataclass(frozen=True, slots=True)
class LearningStep:
    """A point of a learning curve."""

    step: int
    train_loss: float
    valid_metric: float | None


@dataclass(frozen=True, slots=True)
class Robustness:
    """What changes of texts did to a scorer."""

    scorer: str
    shifts: tuple[Shift, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What a page shows: evaluations of one split side by side, and how the model learnt, where it did."""

    title: str
    evaluations: tuple[Evaluation, ...]
    learning: tuple[LearningStep, ...] = ()
    valid_metric: str = _NDCG
    seeds: tuple[SeedRuns, ...] = ()
    robustness: tuple[Robustness, ...] = ()


def as_json(measured: Evaluation | Report) -> bytes:
    """An evaluation or a whole report as indented JSON; `shared.model.records.decoded` reads it back."""
    return encoded(measured)


def markdown_table(evaluations: Sequence[Evaluation], slice_: str = "", seeds: Sequence[SeedRuns] = ()) -> str:
    """One row for each evaluation, one column for each metric of a slice, the best of each column bold; then a row
    for each group of seeds. A metric in which no two scorers differ says nothing of them and is left out."""
    names = [name for name in _metric_names(evaluations, slice_) if _tells(evaluations, name, slice_)]
    best = {name: _best(evaluations, name, slice_) for name in names}
    rows = [["scorer", *names], ["---"] * (len(names) + 1)]
    for each in evaluations:
        found = [each.metric(name, slice_) for name in names]
        cells = [_cell(metric) for metric in found]
        bold = [metric is not None and metric.value == best[metric.name] for metric in found]
        marked = [f"**{cell}**" if strong else cell for cell, strong in zip(cells, bold, strict=True)]
        rows.append([_escaped(each.scorer), *marked])
    rows += [[_escaped(runs.title), *(_spread(runs.figure(name, slice_)) for name in names)] for runs in seeds]
    return _markdown(rows)


def _tells(evaluations: Sequence[Evaluation], name: str, slice_: str) -> bool:
    """Whether scorers differ in a metric, or there is but one."""
    found = [each.metric(name, slice_) for each in evaluations]
    return len(found) == 1 or len({None if metric is None else metric.value for metric in found}) > 1


def slices_table(evaluations: Sequence[Evaluation]) -> str:
    """nDCG@10 in markdown, one row for each slice, one column for each scorer; AUC over all candidates together where
    impressions have no ranking of their own."""
    name = _metric_of_slices(evaluations)
    head = [f"{name} by slice", "impressions", *(_escaped(each.scorer) for each in evaluations)]
    rows = [_slice_row(counts, evaluations, name) for counts in evaluations[0].counts]
    return _markdown([head, ["---"] * len(head), *([_escaped(row[0]), *row[1:]] for row in rows)])


def _metric_of_slices(evaluations: Iterable[Evaluation]) -> str:
    return _NDCG if any(each.metric(_NDCG) for each in evaluations) else _POOLED_AUC


def data_line(evaluation: Evaluation) -> str:
    """What an evaluation was measured on, as a sentence."""
    whole = evaluation.counts[0]
    return (
        f"{evaluation.corpus}, split {evaluation.split}: {whole.impressions} impressions of {whole.users} users, "
        f"{whole.candidates} candidates, {whole.positives} of them positive. 95 % intervals over resampled users."
    )


def html_page(report: Report) -> str:
    """The page; needs matplotlib.

    Raises:
        ValueError: when there is no evaluation, or they are of different data.
    """
    if len({(each.fingerprint, each.split) for each in report.evaluations}) != 1:
        raise ValueError("a report shows evaluations of one split of one data set, and at least one")
    first = report.evaluations[0]
    of_slices = _metric_of_slices(report.evaluations)
    plots = [
        _plot("Calibration", lambda axes: _draw_calibration(axes, report.evaluations)),
        _plot(f"{of_slices} by length of history", lambda axes: _draw_by_history(axes, report.evaluations, of_slices)),
    ]
    if report.learning:
        plots.append(_plot("Learning curve", lambda axes: _draw_learning(axes, report)))
    plots += [_robustness_section(each) for each in report.robustness]
    names = _metric_names(report.evaluations, "")
    figures = [_figure_row(each, names) for each in report.evaluations]
    figures += [[runs.title, *(_spread(runs.figure(name)) for name in names)] for runs in report.seeds]
    return Template(files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")).substitute(
        title=escape(report.title),
        data=escape(data_line(first)),
        figures=_html_table(["scorer", *names], figures),
        metric_of_slices=of_slices,
        slices=_html_table(
            ["slice", "impressions", *(each.scorer for each in report.evaluations)],
            [_slice_row(counts, report.evaluations, of_slices) for counts in first.counts],
        ),
        plots="\n".join(plots),
    )


def _metric_names(evaluations: Iterable[Evaluation], slice_: str) -> list[str]:
    every = (metric.name for each in evaluations for metric in each.metrics if metric.slice == slice_)
    return list(dict.fromkeys(every))


def _best(evaluations: Iterable[Evaluation], name: str, slice_: str) -> float:
    found = (each.metric(name, slice_) for each in evaluations)
    values = [metric.value for metric in found if metric is not None]
    return min(values) if name in LOWER_IS_BETTER else max(values)


def _cell(metric: Metric | None) -> str:
    if metric is None:
        return ""
    if metric.low is None or metric.high is None:
        return f"{metric.value:.4f}"
    return f"{metric.value:.4f} [{metric.low:.4f}, {metric.high:.4f}]"


def _figure_row(evaluation: Evaluation, names: Sequence[str]) -> list[str]:
    return [evaluation.scorer, *(_cell(evaluation.metric(name)) for name in names)]


def _spread(figure: SeedFigure | None) -> str:
    return "" if figure is None else f"{figure.mean:.4f} ± {figure.deviation:.4f}"


def _slice_row(counts: SliceCounts, evaluations: Iterable[Evaluation], name: str) -> list[str]:
    cells = (_cell(each.metric(name, counts.slice)) for each in evaluations)
    return [counts.slice or "all", str(counts.impressions), *cells]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _markdown(rows: Iterable[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _robustness_section(robustness: Robustness) -> str:
    head, *rows = robustness_rows(robustness.shifts)
    return f"<h2>Robustness of {escape(robustness.scorer)}</h2>\n{_html_table(head, rows)}"


def _html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    opening = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f"<table>\n<tr>{opening}</tr>\n{body}</table>"


def _plot(caption: str, draw: Callable[[Any], None]) -> str:
    """A figure with its caption; `draw` is given matplotlib axes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Names with a dollar sign are names, not formulas; text stays text; ids differ from plot to plot.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": caption, "text.parse_math": False}):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        drawn = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(drawn, format="svg", metadata=nothing)
    svg = _NAMESPACE.sub("", _PROLOG.sub("", drawn.getvalue()))
    return f"<h2>{escape(caption)}</h2>\n<figure>{svg}</figure>"


def _draw_calibration(axes: Any, evaluations: Iterable[Evaluation]) -> None:
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="perfect")
    for each in evaluations:
        if each.calibration:
            bins = each.calibration
            axes.plot([one.predicted for one in bins], [one.observed for one in bins], marker="o", label=each.scorer)
    axes.set(xlabel="predicted probability", ylabel="observed share")
    axes.legend()


def _draw_by_history(axes: Any, evaluations: Sequence[Evaluation], name: str) -> None:
    slices = [each.slice for each in evaluations[0].counts if each.slice.startswith(_HISTORY)]
    for each in evaluations:
        found = [(slice_, each.metric(name, slice_)) for slice_ in slices]
        points = [(slice_.removeprefix(_HISTORY), metric) for slice_, metric in found if metric is not None]
        below = [metric.value - (metric.value if metric.low is None else metric.low) for _, metric in points]
        above = [(metric.value if metric.high is None else metric.high) - metric.value for _, metric in points]
        # A percentile interval need not hold its figure; an error bar must.
        ends = [[max(0.0, end) for end in side] for side in (below, above)]
        lengths, values = [length for length, _ in points], [metric.value for _, metric in points]
        axes.errorbar(lengths, values, yerr=ends, marker="o", capsize=3, label=each.scorer)
    axes.set(xlabel="entries in the user's history", ylabel=name)
    axes.legend()


def _draw_learning(axes: Any, report: Report) -> None:
    steps = [each.step for each in report.learning]
    axes.plot(steps, [each.train_loss for each in report.learning], color="tab:blue")
    axes.set(xlabel="step")
    axes.set_ylabel("training loss", color="tab:blue")
    measured = [(each.step, each.valid_metric) for each in report.learning if each.valid_metric is not None]
    if measured:
        other = axes.twinx()
        other.plot([step for step, _ in measured], [value for _, value in measured], color="tab:orange", marker="o")
        other.set_ylabel(f"validation {report.valid_metric}", color="tab:orange")
