"""`homepage loadtest` as a person or a pipeline calls it; ghz itself is not needed here."""

import json
import re
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from services.cli.__main__ import app
from services.cli.fleet import default_fleet
from services.cli.loadtest.scenarios import find_scenario, scenario_names
from tests.load.conftest import RECORDED, on_time, report

SERVICE_OF = {"Homepage": "orchestrator", "Profile": "profile", "Retrieval": "retrieval", "Ranker": "ranker"}
KEPT = "[[recommend-step]]\np99_ms = 400\nerror_share = 0\ngoodput_per_s = 14\n"


def loadtest(*arguments: object) -> Result:
    environment = {"COLUMNS": "116", "TERM": "dumb", "NO_COLOR": "1"}
    return CliRunner().invoke(app, ["loadtest", *map(str, arguments)], env=environment)


@pytest.fixture
def slo(tmp_path: Path):
    """`slo(text)`: a file of objectives."""

    def write(text: str) -> Path:
        path = tmp_path / "slo.toml"
        path.write_text(text)
        return path

    return write


def test_a_report_that_keeps_its_objectives_ends_with_0(slo):
    result = loadtest("--result", RECORDED, "--slo", slo(KEPT))
    assert result.exit_code == 0, result.output
    assert "are kept" in result.output


def test_a_report_that_breaks_a_line_ends_with_1_and_names_it(slo):
    result = loadtest("--result", RECORDED, "--slo", slo(KEPT + "[[recommend-step]]\nrate = 20\np50_ms = 2\n"))
    assert result.exit_code == 1
    assert re.search(r"✗ recommend-step at 20/s: p50_ms = 2 is broken, it was \d", result.output)


def test_another_scenarios_objectives_can_be_asked_for_by_its_name(slo):
    result = loadtest("spike", "--result", RECORDED, "--slo", slo("[[recommend-spike]]\ngoodput_per_s = 1000\n"))
    assert result.exit_code == 1
    assert "recommend-spike: goodput_per_s" in result.output


def test_a_scenario_without_objectives_is_told_of(slo):
    result = loadtest("--result", RECORDED, "--slo", slo(""))
    assert result.exit_code == 0
    assert "no objectives for recommend-step" in re.sub(r"\s+", " ", result.output)


def test_the_table_has_a_row_for_each_step_and_tells_where_the_set_is_saturated(tmp_path, slo):
    calls = on_time((10, 20, 30, 40), lambda step: (0.5, "DeadlineExceeded") if step > 1 else (0.05, "OK"))
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report(calls)))
    text = loadtest("--result", path, "--slo", slo("")).output
    rows = [line.split() for line in text.splitlines() if re.match(r" +\d", line)]
    assert [row[0] for row in rows] == ["10", "20", "30", "40"]
    assert rows[1] == ["20", "20.0", "20.0", "50.0", "50.0", "50.0", "0.0%"]
    assert rows[3] == ["40", "0.0", "0.0", "–", "–", "–", "100.0%", "40"]
    assert "Saturates at about 20/s" in text
    assert "Goodput at 2 times that (40/s): 0.0/s, 0% of what it was at saturation." in text


def test_steps_that_do_not_rise_are_shown_with_their_time(tmp_path, slo):
    path = tmp_path / "report.json"
    options = {"load-start": 30, "load-step": -20, "load-end": 10, "duration": 3 * 10**9}
    path.write_text(json.dumps(report(on_time((30, 10, 10), lambda _: (0.05, "OK")), **options)))
    text = loadtest("--result", path, "--slo", slo("")).output
    rows = [line.split() for line in text.splitlines() if re.match(r" +\d", line)]
    assert [row[:2] for row in rows] == [["0", "30"], ["1", "10"], ["2", "10"]]
    assert "aturat" not in text


@pytest.mark.parametrize("options", [{}, {"load-start": 30, "load-step": -20, "load-end": 10, "duration": 3 * 10**9}])
def test_latency_over_load_is_drawn_as_a_png(tmp_path, slo, options):
    path, png = tmp_path / "report.json", tmp_path / "drawn.png"
    rates = (30, 10, 10) if options else (10, 20, 30, 40)
    path.write_text(json.dumps(report(on_time(rates, lambda _: (0.05, "OK")), **options)))
    assert loadtest("--result", path, "--slo", slo(""), "--png", png).exit_code == 0
    assert png.read_bytes().startswith(b"\x89PNG")


def test_requests_are_written_for_ghz_by_hand(tmp_path):
    path = tmp_path / "requests.json"
    result = loadtest("profile-steady", "--requests", path, "--seed", 5)
    assert result.exit_code == 0, result.output
    assert {"user_id", "max_events", "now"} == set(json.loads(path.read_text())[0])


def test_without_ghz_it_is_said_how_to_install_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    result = loadtest("smoke")
    assert result.exit_code == 1
    assert "go install github.com/bojand/ghz/cmd/ghz@latest" in re.sub(r"\s+", " ", result.output)


def test_an_unknown_scenario_is_answered_with_those_there_are():
    result = loadtest("storm")
    assert result.exit_code == 1
    for name in scenario_names():
        assert name in result.output


def test_without_a_scenario_those_there_are_are_told():
    result = loadtest()
    assert result.exit_code == 2
    assert "ranker-steady" in result.output


def test_a_scenario_can_be_called_by_its_name_its_short_name_and_its_path():
    steady = find_scenario("recommend-steady")
    assert find_scenario("steady") == steady
    assert find_scenario(str(steady.path)) == steady


@pytest.mark.parametrize("name", scenario_names())
def test_every_scenario_is_an_open_loop_against_the_default_set(name):
    scenario = find_scenario(name)
    told = json.loads(scenario.path.read_text())
    service = SERVICE_OF[scenario.settings.method.split(".")[-2]]
    assert scenario.name == name == scenario.path.stem
    assert scenario.settings.host == default_fleet().address(service)
    assert scenario.settings.timeout == 0.5
    assert told["connections"] > 1
    assert told["duration-stop"] == "wait"
    assert not scenario.settings.brings_data
    assert "proto" not in told, "the server's reflection tells the methods"
