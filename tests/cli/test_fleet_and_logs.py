"""The set of four: addresses, environment, readiness, and how its logs read."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from services.cli.fleet import Fleet, Member, commands, default_fleet, free_fleet, taken_addresses, wait_until_serving
from services.cli.launcher import ChildDiedError, Command, Launcher
from services.cli.log_view import last_words, log_line, tells_of_trouble
from shared.settings import unknown
from tests.conftest import RegisteredService
from tests.reference import SERVICES


def ports(fleet: Fleet) -> list[str]:
    return [address for m in fleet.members for address in (m.address, m.admin_address, m.metrics_address)]


def test_the_default_ports_are_those_of_the_documentation() -> None:
    found = {
        m.name: [int(a.rpartition(":")[2]) for a in (m.address, m.admin_address, m.metrics_address)]
        for m in default_fleet().members
    }
    assert found == {
        "orchestrator": [50051, 50061, 9461],
        "profile": [50052, 50062, 9462],
        "retrieval": [50053, 50063, 9463],
        "ranker": [50054, 50064, 9464],
    }


def test_free_ports_are_twelve_different_ones_that_nobody_uses() -> None:
    fleet = free_fleet()
    assert len(set(ports(fleet))) == 12
    assert taken_addresses(fleet) == ()


async def test_a_port_in_use_is_noticed(start_service) -> None:
    host = await start_service(RegisteredService(("nothing",)))
    fleet = Fleet((Member("ranker", host.address, "127.0.0.1:0", "127.0.0.1:0"),))
    assert taken_addresses(fleet) == (host.address,)


def test_services_are_told_of_one_another_by_their_environment() -> None:
    fleet = default_fleet()
    told = {c.name: c.environment for c in commands(fleet, Path("/data"), own_stores=True)}
    assert told["orchestrator"]["HOMEPAGE_ORCHESTRATOR_RANKER_ADDRESS"] == fleet.address("ranker")
    assert told["retrieval"]["HOMEPAGE_RETRIEVAL_PROFILE_ADDRESS"] == fleet.address("profile")
    assert told["profile"]["HOMEPAGE_PROFILE_LISTEN"] == fleet.address("profile")
    assert told["profile"]["HOMEPAGE_PROFILE_DATABASE"] == "/data/profile.db"
    assert "HOMEPAGE_RANKER_DATABASE" not in told["ranker"]


def test_services_are_told_nothing_that_is_no_setting_of_theirs(tmp_path: Path) -> None:
    for command in commands(default_fleet(), tmp_path, own_stores=True, registry=tmp_path):
        assert unknown(SERVICES[command.name], command.environment) == {}


def test_a_store_that_the_environment_names_wins_only_where_asked_for(monkeypatch) -> None:
    monkeypatch.setenv("HOMEPAGE_PROFILE_DATABASE", "/mine")
    for own_stores in (True, False):
        told = {c.name: c.environment for c in commands(default_fleet(), Path("/data"), own_stores=own_stores)}
        assert ("HOMEPAGE_PROFILE_DATABASE" in told["profile"]) is own_stores
        assert (told["profile"].get("HOMEPAGE_PROFILE_STORE") == "sqlite") is own_stores


async def test_waiting_ends_when_all_say_serving(start_service) -> None:
    host = await start_service(RegisteredService(("nothing",)))
    fleet = Fleet((Member("ranker", host.address, host.admin_address, ""),))
    ready: list[str] = []
    await asyncio.to_thread(wait_until_serving, fleet, Launcher(), ready.append)
    assert ready == ["ranker"]


def test_waiting_ends_with_an_error_when_a_process_dies() -> None:
    fleet = free_fleet()
    with Launcher() as launcher:
        launcher.start([Command("ranker", (sys.executable, "-c", "print('no model')"), {})])
        with pytest.raises(ChildDiedError, match="ranker"):
            wait_until_serving(fleet, launcher, lambda _: None)


def test_a_call_is_logged_in_one_short_line() -> None:
    line = {
        "time": "2026-01-15T12:00:00.123Z",
        "level": "info",
        "service": "profile",
        "event": "call",
        "method": "/homepage.profile.v1.Profile/GetProfile",
        "code": "OK",
        "ms": 1.25,
        "request_id": "abc",
        "user": "def",
    }
    assert log_line("profile", json.dumps(line)).plain == "12:00:00.123 profile      call GetProfile OK 1.25 ms"


def test_what_is_special_to_a_line_follows_and_other_lines_stay_as_they_are() -> None:
    line = {"time": "2026-01-15T12:00:00.123Z", "level": "warning", "service": "ranker", "event": "slow", "batch": 3}
    assert log_line("ranker", json.dumps(line)).plain == "12:00:00.123 ranker       slow batch=3"
    assert log_line("ranker", "Traceback [bold]").plain == "ranker       Traceback [bold]"
    assert log_line("ranker", '["event"]').plain == 'ranker       ["event"]'


def test_only_warnings_and_worse_tell_of_trouble() -> None:
    assert tells_of_trouble('{"event": "slow", "level": "warning"}')
    assert not tells_of_trouble('{"event": "call", "level": "info"}')
    assert not tells_of_trouble("warning: not JSON")


def test_the_last_words_of_a_service_are_its_errors_or_else_its_last_lines() -> None:
    error = '{"event": "cannot start", "level": "error", "why": "no model"}'
    noise = [f"line {number}" for number in range(20)]
    assert last_words([error, *noise]) == [error]
    assert last_words(noise) == noise[-12:]
