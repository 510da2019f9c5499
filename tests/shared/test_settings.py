"""Settings: what is wrong is told in one line per variable, and secrets are never told at all."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings, SettingsError, load, load_or_exit, variable

HUSHED = "hush-81c4"


class ExampleSettings(ServiceSettings):
    """The settings of a service as services declare them."""

    model_config = SettingsConfigDict(env_prefix="HOMEPAGE_EXAMPLE_", extra="ignore", frozen=True)

    half_life_s: float = Field(86_400.0, gt=0, le=1e9, description="Half-life of an interest, in seconds")
    signing_key: SecretStr = Field(SecretStr("0123456789"), min_length=10, description="Signs tokens")
    old_key: SecretStr | None = Field(None, min_length=10, description="Checked as well")
    store: Literal["sqlite", "redis"] = Field("sqlite", description="Where profiles are")
    at_most: float | Literal["none"] = Field("none", description="A union")
    folder: Path | None = Field(None, description="Where files are")
    database: Path = Field(Path("a.db"), description="A file that must be")


class FirstBelowSecond(ServiceSettings):
    """Settings of which two hang together."""

    first: int = 1
    second: int = 2

    @model_validator(mode="after")
    def in_order(self) -> "FirstBelowSecond":
        if self.first > self.second:
            raise ValueError("FIRST must not be over SECOND")
        return self


def complaint(**environment: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(ExampleSettings, {f"HOMEPAGE_EXAMPLE_{name}": value for name, value in environment.items()})
    return str(caught.value)


def test_variables_of_the_prefix_are_read_and_others_ignored():
    environment = {"HOMEPAGE_EXAMPLE_HALF_LIFE_S": "60", "HOMEPAGE_OTHER_GRACE_S": "7", "LISTEN": "nonsense"}
    settings = load(ExampleSettings, environment)
    assert (settings.half_life_s, settings.grace_s, settings.listen) == (60.0, 10.0, "127.0.0.1:0")


def test_the_process_environment_is_read_unless_another_is_given(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOMEPAGE_EXAMPLE_HALF_LIFE_S", "60")
    assert load(ExampleSettings).half_life_s == 60.0
    assert load(ExampleSettings, {}).half_life_s == 86_400.0


WRONG = [
    ("HALF_LIFE_S", "0", "number, over 0, at most 1,000,000,000.0"),
    ("HALF_LIFE_S", "soon", "number, over 0, at most 1,000,000,000.0"),
    ("HALF_LIFE_S", "nan", "number, over 0, at most 1,000,000,000.0"),
    ("MAX_CONCURRENT_CALLS", "1.5", "whole number, at least 1, at most 100,000"),
    ("GRACE_S", "-1", "number, at least 0, at most 600"),
    ("REFLECTION", "perhaps", "true or false"),
    ("STORE", "mysql", "one of sqlite, redis"),
    ("LISTEN", "8080", "host:port or unix:/path"),
    ("LISTEN", "127.0.0.1:65536", "host:port or unix:/path"),
    ("ADMIN_LISTEN", "unix:", "host:port or unix:/path"),
    ("METRICS_LISTEN", "unix:/run/metrics", "host:port or empty"),
    ("LOG_LEVEL", "loud\nerror", "one of debug, info, warning, error"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), WRONG)
def test_a_wrong_value_is_told_in_one_line_with_its_variable_and_what_is_allowed(name: str, value: str, allowed: str):
    [line] = complaint(**{name: value}).splitlines()
    assert line.startswith(f"HOMEPAGE_EXAMPLE_{name}={value!r}: allowed is {allowed} (")


def test_an_empty_path_is_never_the_working_directory():
    assert load(ExampleSettings, {"HOMEPAGE_EXAMPLE_FOLDER": ""}).folder is None
    assert complaint(DATABASE="").startswith("HOMEPAGE_EXAMPLE_DATABASE='': allowed is path")


def test_several_wrong_values_get_one_line_each():
    lines = complaint(STORE="mysql", GRACE_S="-1", AT_MOST="much").splitlines()
    assert sorted(line.partition("=")[0] for line in lines) == [
        "HOMEPAGE_EXAMPLE_AT_MOST",
        "HOMEPAGE_EXAMPLE_GRACE_S",
        "HOMEPAGE_EXAMPLE_STORE",
    ]


def test_settings_that_do_not_go_together_are_told_in_one_line():
    with pytest.raises(SettingsError) as caught:
        load(FirstBelowSecond, {"FIRST": "3"})
    assert str(caught.value) == "FirstBelowSecond: FIRST must not be over SECOND"


@pytest.mark.parametrize("address", ["0.0.0.0:50051", "[::]:50051", "localhost:0", "127.0.0.1:65535", "unix:/run/x"])
def test_addresses_are_accepted(address: str):
    assert load(ServiceSettings, {"LISTEN": address}).listen == address


@pytest.mark.parametrize("name", ["SIGNING_KEY", "OLD_KEY"])
def test_a_wrong_secret_is_not_shown(name: str):
    [line] = complaint(**{name: HUSHED}).splitlines()
    assert line.startswith(f"HOMEPAGE_EXAMPLE_{name}=(secret): allowed is secret text (")
    assert HUSHED not in line


def test_print_settings_prints_every_variable_without_secrets_and_exits_with_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name in ("SIGNING_KEY", "OLD_KEY", "LOG_KEY"):
        monkeypatch.setenv(f"HOMEPAGE_EXAMPLE_{name}", HUSHED * 2)
    monkeypatch.setenv("HOMEPAGE_EXAMPLE_HALF_LIFE_S", "61.5")
    with pytest.raises(SystemExit) as caught:
        load_or_exit(ExampleSettings, ["--print-settings"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert HUSHED not in printed
    rows = {row.split("|")[1].strip(): row for row in printed.splitlines()}
    assert all(variable(ExampleSettings, field) in rows for field in ExampleSettings.model_fields)
    assert "61.5" in rows["HOMEPAGE_EXAMPLE_HALF_LIFE_S"]
    assert "86400.0" in rows["HOMEPAGE_EXAMPLE_HALF_LIFE_S"]
    assert "Half-life of an interest, in seconds" in rows["HOMEPAGE_EXAMPLE_HALF_LIFE_S"]


def test_an_unknown_argument_exits_with_2(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        load_or_exit(ExampleSettings, ["--port=8080"])
    assert caught.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_process_with_wrong_settings_exits_with_2_and_one_line_each():
    code = "import sys; from shared.settings import *; load_or_exit(ServiceSettings, sys.argv[1:])"
    environment = {**os.environ, "GRACE_S": "-1", "LOG_LEVEL": "loud"}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 2
    assert [line.partition("=")[0] for line in ended.stderr.splitlines()] == ["GRACE_S", "LOG_LEVEL"]
    assert ended.stdout == ""


def test_a_variable_that_is_no_setting_is_told_with_the_one_that_is_meant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("HOMEPAGE_EXAMPLE_STOR", "redis")
    monkeypatch.setenv("HOMEPAGE_EXAMPLE_ZZZ", "1")
    monkeypatch.setenv("HOMEPAGE_EXAMPLE_STORE", "redis")
    monkeypatch.setenv("HOMEPAGE_OTHER_STORE", "redis")
    assert load_or_exit(ExampleSettings, []).store == "redis"
    assert capsys.readouterr().err.splitlines() == [
        "HOMEPAGE_EXAMPLE_STOR is no setting and is ignored; is HOMEPAGE_EXAMPLE_STORE meant?",
        "HOMEPAGE_EXAMPLE_ZZZ is no setting and is ignored",
    ]
