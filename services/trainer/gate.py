"""Whether a version may serve: its figures against those of who answers now and of popularity, one line for each check.

Pure: figures in, a verdict out. Over all of the split the values decide, so that what is unsure replaces nothing; over
a slice the interval of the paired difference where it was measured, since of many slices some are worse by chance. A
slice that is too small is named, not judged.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from shared.model.manifest import Metric, ModelManifest

NDCG, AUC = "ndcg@10", "auc"
CALIBRATION_ERROR = "calibration_error"
LATENCY_MS = "latency_ms"
POPULARITY, UNTRAINED = "popularity", "zero-shot"
"""Figures of these rivals are called "popularity/ndcg@10" and so on."""

_Figures = Mapping[tuple[str, str], Metric]
"""By name and slice, of one split."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What is asked of a version. Margins in the unit of the metric: by how much it may be lower than its rival's."""

    split: str = "test"
    metrics: tuple[str, ...] = (NDCG, AUC)
    """The higher the better, all of them."""
    champion_margin: float = 0.005
    popularity_margin: float = 0.0
    slice_margin: float = 0.02
    """For parts of the split, whose figures vary more."""
    least_impressions: int = 200
    """A slice with fewer is not judged."""
    most_calibration_error: float = 0.05
    most_latency_ms: float = 400.0
    """For 200 candidates on one thread: what a homepage that answers within 500 ms can wait for."""


@dataclass(frozen=True, slots=True)
class VersionFigures:
    """What was measured of a version, "news/v2"."""

    version: str
    metrics: tuple[Metric, ...]

    @classmethod
    def of(cls, manifest: ModelManifest) -> "VersionFigures":
        """What its manifest tells: measured when it was made."""
        return cls(f"{manifest.name}/{manifest.version}", manifest.metrics)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is judged by."""

    candidate: VersionFigures
    champion: VersionFigures | None
    """None = nothing serves yet, so that the untrained model answers; its figures are then among the candidate's."""
    differences: tuple[Metric, ...] = ()
    """Candidate minus rival on the same examples, with the interval of a paired bootstrap: named like the rival's
    figure, "ndcg@10" for the champion's and "popularity/ndcg@10" for popularity's."""


class Outcome(StrEnum):
    """Of a check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True, slots=True)
class Line:
    """One check, and the figures that decided it, or what to do."""

    check: str
    outcome: Outcome
    figures: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """All checks, in the order in which they were made."""

    lines: tuple[Line, ...]

    @property
    def passed(self) -> bool:
        """Whether none failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Line, ...]:
        """Those that did."""
        return tuple(line for line in self.lines if line.outcome is Outcome.FAILED)


@dataclass(frozen=True, slots=True)
class _Allowance:
    """By how much a figure may be lower, and which end of the difference must not be lower still."""

    margin: float
    end: Literal["low", "value", "high"] = "value"
    """low: clearly not worse; value: not worse; high: not clearly worse."""


@dataclass(frozen=True, slots=True)
class _Rival:
    """Whom the candidate is held against; its figures are called by `prefix` and the metric."""

    name: str
    prefix: str
    figures: _Figures
    overall: _Allowance


def judge(evidence: Evidence, gate: Gate) -> Verdict:
    """Makes every check of the gate; figures that cannot be compared are not."""
    candidate = _figures(evidence.candidate.metrics, gate.split)
    differences = _figures(evidence.differences, gate.split)
    lines = [_measured(candidate, gate)]
    rivals = [_Rival(POPULARITY, f"{POPULARITY}/", candidate, _Allowance(gate.popularity_margin, "low"))]
    if evidence.champion is None:
        rivals.append(_Rival(UNTRAINED, f"{UNTRAINED}/", candidate, _Allowance(gate.champion_margin)))
    else:
        champion = _figures(evidence.champion.metrics, gate.split)
        lines.append(_same_data(candidate, champion, gate))
        rivals.append(_Rival("champion", "", champion, _Allowance(gate.champion_margin)))
    if all(line.outcome is Outcome.PASSED for line in lines):
        for rival in rivals:
            lines += _against(rival, candidate, differences, gate)
    lines.append(_calibration(candidate, gate))
    lines.append(_latency(evidence.candidate, gate))
    return Verdict(tuple(lines))


def of_baseline(baseline: str, metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    """A baseline's figures, or differences from it, under the names by which manifest and evidence carry them."""
    return tuple(replace(metric, name=f"{baseline}/{metric.name}") for metric in metrics)


def shown(metric: Metric, *, signed: bool = False) -> str:
    """Value and interval, "0.4120 [0.4010, 0.4230]"; with signs for a difference."""
    form = "+.4f" if signed else ".4f"
    if metric.low is None or metric.high is None:
        return f"{metric.value:{form}}"
    return f"{metric.value:{form}} [{metric.low:{form}}, {metric.high:{form}}]"


def _figures(metrics: Sequence[Metric], split: str) -> _Figures:
    return {(metric.name, metric.slice): metric for metric in metrics if metric.split == split}


def _measured(candidate: _Figures, gate: Gate) -> Line:
    lacking = [name for name in gate.metrics if (name, "") not in candidate]
    if lacking:
        why = f"no {' and '.join(lacking)} on the split {gate.split}; evaluate the candidate there"
        return Line("measured", Outcome.FAILED, why)
    if len({metric.data for metric in candidate.values()}) > 1:
        return Line("measured", Outcome.FAILED, "its figures are of different data; evaluate all on the same data")
    return Line("measured", Outcome.PASSED, f"on the split {gate.split}")


def _same_data(candidate: _Figures, champion: _Figures, gate: Gate) -> Line:
    data = {metric.data for figures in (candidate, champion) for metric in figures.values()}
    if champion and len(data) == 1 and "" not in data:
        return Line("same data", Outcome.PASSED, f"{min(data)}, split {gate.split}")
    why = "they were measured on different data" if champion else f"the champion has no figures on {gate.split}"
    return Line("same data", Outcome.FAILED, f"{why}; evaluate both on the same data")


def _against(rival: _Rival, candidate: _Figures, differences: _Figures, gate: Gate) -> Iterator[Line]:
    """Over all of the split first, then over each slice."""
    for name in gate.metrics:
        theirs = f"{rival.prefix}{name}"
        for part in sorted({part for each, part in (*candidate, *rival.figures) if each in (name, theirs)}):
            check = f"{name} of {part} against {rival.name}" if part else f"{name} against {rival.name}"
            mine, other = candidate.get((name, part)), rival.figures.get((theirs, part))
            known = mine or other
            if part and known and 0 < known.count < gate.least_impressions:
                few = f"only {known.count} impressions, {gate.least_impressions} are needed"
                yield Line(check, Outcome.NOT_JUDGED, few)
            elif mine is None or other is None:
                lacks = rival.name if mine else "the candidate"
                yield Line(check, Outcome.FAILED, f"{lacks} was not measured there; evaluate both on the same data")
            else:
                allowance = _Allowance(gate.slice_margin, "high") if part else rival.overall
                yield _held(check, mine, other, differences.get((theirs, part)), allowance)


def _held(check: str, mine: Metric, theirs: Metric, difference: Metric | None, allowance: _Allowance) -> Line:
    """Without the end that decides, the value does."""
    gap = difference or _unpaired(mine, theirs)
    end = {"low": gap.low, "value": gap.value, "high": gap.high}[allowance.end]
    holds = (gap.value if end is None else end) >= -allowance.margin
    figures = f"{shown(mine)} against {shown(theirs)}, difference {shown(gap, signed=True)}"
    asked = {"low": "must clearly be", "value": "must be", "high": "must not clearly be less than"}[allowance.end]
    less = "" if allowance.end == "high" else " or more"
    return Line(
        check, Outcome.PASSED if holds else Outcome.FAILED, f"{figures}, {asked} {0 - allowance.margin:.4f}{less}"
    )


def _unpaired(mine: Metric, theirs: Metric) -> Metric:
    """The difference as far as it is known: the candidate varies, the rival's value is taken as it is."""
    low = None if mine.low is None else mine.low - theirs.value
    return Metric(mine.name, mine.value - theirs.value, low)


def _calibration(candidate: _Figures, gate: Gate) -> Line:
    error = candidate.get((CALIBRATION_ERROR, ""))
    if error is None:
        return Line("calibration error", Outcome.FAILED, f"not measured on the split {gate.split}; evaluate it there")
    return _limited("calibration error", error.value, gate.most_calibration_error)


def _latency(candidate: VersionFigures, gate: Gate) -> Line:
    """Whatever it was measured on: it depends on no split."""
    times = [metric.value for metric in candidate.metrics if metric.name == LATENCY_MS]
    if not times:
        return Line("latency", Outcome.FAILED, "not measured; evaluate the candidate with --evidence")
    return _limited("latency", max(times), gate.most_latency_ms, " ms")


def _limited(check: str, value: float, most: float, unit: str = "") -> Line:
    outcome = Outcome.PASSED if value <= most else Outcome.FAILED
    return Line(check, outcome, f"{value:.4g}{unit}, at most {most:.4g}{unit}")
