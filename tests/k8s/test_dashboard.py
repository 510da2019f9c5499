"""The Grafana dashboard asks only for what the services' metrics can answer."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import promql_parser
import pytest
from homepage.v1 import homepage_pb2

from shared.metrics import CATALOGUE, Metrics

DASHBOARD = json.loads(
    (Path(__file__).resolve().parents[2] / "k8s" / "components" / "monitoring" / "dashboard.json").read_text()
)
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [
    pytest.param(target, id=f"{panel['title']} {target['refId']}") for panel in PANELS for target in panel["targets"]
]
VARIABLES = {"$__rate_interval": "5m", "$namespace": ".*"}
SCRAPED = {"job", "namespace"}
"""Labels that Prometheus gives to whatever it scrapes."""


@dataclass(frozen=True)
class Selected:
    """One series in an expression, and what stands around it."""

    name: str
    matched: dict[str, str]
    over_time: bool = False
    grouped_by: frozenset[str] | None = None


def series() -> dict[str, set[str]]:
    """Every series that a page of metrics can hold, with its labels."""
    metrics = Metrics()
    for spec in CATALOGUE:
        getattr(metrics, spec.kind)(spec, *spec.labels)
    return {sample.name: set(sample.labels) for family in metrics.registry.collect() for sample in family.samples}


SERIES = series()


def selected(expression: Any) -> Iterator[Selected]:
    """The series of a parsed expression, grouped as the outermost aggregation has it."""
    match type(expression).__name__:
        case "NumberLiteral":
            return
        case "VectorSelector":
            yield Selected(expression.name, {m.name: m.value for m in expression.matchers.matchers})
        case "MatrixSelector":
            yield from (replace(found, over_time=True) for found in selected(expression.vector_selector))
        case "Call":
            for argument in expression.args:
                yield from selected(argument)
        case "ParenExpr":
            yield from selected(expression.expr)
        case "AggregateExpr":
            labels = frozenset(expression.modifier.labels if expression.modifier else ())
            yield from (replace(found, grouped_by=labels) for found in selected(expression.expr))
        case "BinaryExpr":
            yield from selected(expression.lhs)
            yield from selected(expression.rhs)
        case unknown:
            raise AssertionError(f"teach this test about {unknown}")


def parsed(target: dict[str, Any]) -> list[Selected]:
    text = target["expr"]
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    return list(selected(promql_parser.parse(text)))


@pytest.mark.parametrize("target", TARGETS)
def test_every_series_exists_and_has_the_labels_that_are_asked_of_it(target):
    found = parsed(target)
    assert found
    for one in found:
        assert one.name in SERIES
        assert one.grouped_by is not None, "without an aggregation there is a line for every pod"
        assert one.matched.keys() | one.grouped_by <= SERIES[one.name] | SCRAPED
        assert one.matched["namespace"] == VARIABLES["$namespace"]


@pytest.mark.parametrize("target", TARGETS)
def test_counters_are_asked_for_their_rate_and_gauges_for_their_value(target):
    gauges = {spec.name for spec in CATALOGUE if spec.kind == "gauge"}
    for one in parsed(target):
        assert one.over_time == (one.name not in gauges)
        assert ("le" in one.grouped_by) == one.name.endswith("_bucket")


@pytest.mark.parametrize("target", TARGETS)
def test_a_line_is_named_by_labels_it_has(target):
    named = set(re.findall(r"{{(\w+)}}", target.get("legendFormat", "")))
    assert named <= set().union(*(one.grouped_by for one in parsed(target)))


@pytest.mark.parametrize("target", TARGETS)
def test_methods_and_statuses_are_real_ones(target):
    service = homepage_pb2.DESCRIPTOR.services_by_name["Homepage"]
    methods = {f"{service.full_name}/{method.name}" for method in service.methods}
    for one in parsed(target):
        assert one.matched.get("grpc_method") in {None, *methods}
        assert set(one.matched.get("grpc_status", "OK").split("|")) <= {code.name for code in grpc.StatusCode}


@pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: spec.name)
def test_every_metric_has_its_place(spec):
    shown = {one.name for target in TARGETS for one in parsed(target.values[0])}
    assert any(re.fullmatch(rf"{spec.name}(_total|_bucket|_sum|_count)?", name) for name in shown)


def test_panels_have_numbers_of_their_own_and_do_not_overlap():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
