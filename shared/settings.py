"""Settings of a service: environment variables only, every knob with unit, default and bounds.

A service derives its own class from `ServiceSettings` and gives it a prefix; `load` reads the environment, and a
wrong value stops the start with one line that names the variable, the value and what is allowed.
"""

import os
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

import annotated_types
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.start import StartError

# 0 to 65535: gRPC would take 99999 for its lower 16 bits and listen somewhere else.
_PORT = r"(\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])"
_HOST_PORT = rf".+:{_PORT}"
_ADDRESS = rf"^(unix:.+|{_HOST_PORT})$"
_HOST_PORT_OR_NONE = rf"^({_HOST_PORT})?$"
_REDIS_HOST = rf"(\[[0-9a-fA-F:.]+\]|[^@?/#:\[\]\s]+)(:{_PORT})?(/\d{{1,5}})?"
REDIS_URL = rf"^(rediss?://{_REDIS_HOST}|unix:///[^@?\s]+)$"
"""Pattern of a Redis server's URL. Without user and password, which are settings of their own: URLs are shown."""
_PATTERNS = {
    _ADDRESS: "host:port or unix:/path",
    _HOST_PORT_OR_NONE: "host:port or empty",
    REDIS_URL: "redis://host:port/database, rediss://… or unix:///path, without user and password",
}

# Every service has the three with default ports of its own; what they mean is said here once.
Listen = Annotated[str, Field(pattern=_ADDRESS, description="Address of the service")]
AdminListen = Annotated[
    str,
    Field(
        pattern=_ADDRESS,
        description="Address of health checks and Channelz; never encrypted, keep it inside the cluster",
    ),
]
MetricsListen = Annotated[
    str, Field(pattern=_HOST_PORT_OR_NONE, description="Address of the Prometheus page /metrics; empty = none")
]


class ServiceSettings(BaseSettings):
    """What every service can be told."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    listen: Listen = "127.0.0.1:0"
    admin_listen: AdminListen = "127.0.0.1:0"
    metrics_listen: MetricsListen = "127.0.0.1:0"
    reflection: bool = Field(True, description="Answer gRPC reflection")
    max_concurrent_calls: int = Field(256, ge=1, le=100_000, description="Calls handled at once; more are refused")
    least_concurrent_calls: int = Field(
        0,
        ge=0,
        le=100_000,
        description="How low the limit of calls at once falls while calls end late; it rises as they end in time. "
        "0 = it is fixed",
    )
    max_waiting_calls: int = Field(
        64,
        ge=1,
        le=100_000,
        description="Calls that wait until the server looks at them; more are refused by gRPC, at little cost",
    )
    max_message_bytes: int = Field(16 * 2**20, ge=1024, le=2**30, description="Largest message taken or sent, in bytes")
    default_deadline_s: float = Field(
        10.0, gt=0, le=3600, description="Time limit of a call that comes without one, in seconds"
    )
    min_deadline_s: float = Field(0.002, ge=0, le=10, description="A call with less time left is refused, in seconds")
    drain_delay_s: float = Field(
        0.0,
        ge=0,
        le=300,
        description="From NOT_SERVING to the first refused call, in seconds; lets balancers notice",
    )
    grace_s: float = Field(10.0, ge=0, le=600, description="Time for calls in flight to end after SIGTERM, in seconds")
    keepalive_s: float = Field(120.0, ge=10, le=7200, description="Idle time before a connection is probed, in seconds")
    max_connection_age_s: float = Field(
        300.0,
        ge=1,
        le=86_400,
        description="Age at which a connection is renewed, so that clients see new pods, in seconds",
    )
    max_connection_age_grace_s: float = Field(
        60.0,
        ge=1,
        le=3600,
        description="Time for calls on a connection that is renewed; over the longest deadline, in seconds",
    )
    tls_certificate: Path | None = Field(
        None, description="PEM certificate chain; set = TLS. Read again when it changes"
    )
    tls_key: Path | None = Field(None, description="PEM private key of the certificate")
    tls_client_ca: Path | None = Field(None, description="PEM certificates that sign clients; set = mutual TLS")
    upstream_tls_ca: Path | None = Field(
        None, description="PEM certificates that sign the services called; set = TLS to them"
    )
    upstream_tls_certificate: Path | None = Field(None, description="PEM certificate shown to the services called")
    upstream_tls_key: Path | None = Field(None, description="PEM private key of that certificate")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged")
    log_key: SecretStr = Field(
        SecretStr(""),
        description="Key of the hashes that stand for users in logs; empty = a new one at every start",
    )
    otlp_endpoint: str = Field(
        "", description="OpenTelemetry collector (OTLP over gRPC) for traces; empty = no tracing"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_empty_path(cls, value: object, field: ValidationInfo) -> object:
        """An empty text as a path would be the working directory: where a path may be left out, it is left out."""
        info = cls.model_fields[str(field.field_name)]
        if value != "" or "Path" not in str(info.annotation):
            return value
        if info.default is None:
            return None
        raise ValueError("it is empty")


Settings = TypeVar("Settings", bound=ServiceSettings)


def load(kind: type[Settings], environment: Mapping[str, str] | None = None) -> Settings:
    """The settings from the environment (or from `environment`, which tests pass).

    Raises:
        SettingsError: with one line per wrong variable.
    """
    try:
        return kind() if environment is None else kind.model_validate(_own(kind, environment))
    except ValidationError as error:
        # A union complains once per member: the first complaint about a variable is enough.
        complaints = (next(of_one) for _, of_one in groupby(error.errors(), key=lambda detail: detail["loc"][:1]))
        raise SettingsError("\n".join(_explain(kind, dict(detail)) for detail in complaints)) from None


class SettingsError(StartError):
    """A variable is wrong; the text says which and what is allowed."""


def load_or_exit(kind: type[Settings], arguments: list[str]) -> Settings:
    """For `__main__`: honours `--print-settings`, and ends with status 2 on a wrong value or argument."""
    if arguments not in ([], ["--print-settings"]):
        print("The only argument is --print-settings; all settings are environment variables.", file=sys.stderr)
        raise SystemExit(2)
    try:
        settings = load(kind)
    except SettingsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    for name, meant in unknown(kind, os.environ).items():
        print(f"{name} is no setting and is ignored{f'; is {meant} meant?' if meant else ''}", file=sys.stderr)
    if arguments:
        print(table(settings))
        raise SystemExit(0)
    return settings


def unknown(kind: type[ServiceSettings], environment: Mapping[str, str]) -> dict[str, str]:
    """Variables with the settings' prefix that are none of them, each with the one that it is most like, or ""."""
    prefix = variable(kind, "")
    fields = {field.upper() for field in kind.model_fields}
    strangers = {name: name.upper().removeprefix(prefix) for name in sorted(environment)}
    return {
        name: "".join(prefix + field for field in get_close_matches(rest, fields, 1))
        for name, rest in strangers.items()
        if prefix and name.upper().startswith(prefix) and rest not in fields
    }


def variable(kind: type[ServiceSettings], field: str) -> str:
    """Name of the environment variable of a field."""
    return f"{kind.model_config.get('env_prefix', '')}{field}".upper()


def table(settings: ServiceSettings) -> str:
    """All settings as a Markdown table, secrets masked."""
    kind = type(settings)
    rows = [("variable", "value", "default", "allowed", "meaning"), ("---",) * 5]
    for name, info in kind.model_fields.items():
        value, default = getattr(settings, name), info.get_default(call_default_factory=True)
        rows.append((variable(kind, name), _shown(value), _shown(default), allowed(info), info.description or ""))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "| " + " | ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]) + " |"
        for row in rows
    )


def allowed(info: FieldInfo) -> str:
    """What a field may be set to, in words."""
    bounds = []
    for rule in info.metadata:
        match rule:
            case annotated_types.Ge(ge=bound):
                bounds.append(f"at least {bound:,}")
            case annotated_types.Gt(gt=bound):
                bounds.append(f"over {bound:,}")
            case annotated_types.Le(le=bound):
                bounds.append(f"at most {bound:,}")
            case annotated_types.Lt(lt=bound):
                bounds.append(f"below {bound:,}")
    patterns = [_PATTERNS[rule.pattern] for rule in info.metadata if getattr(rule, "pattern", None) in _PATTERNS]
    return ", ".join([*(patterns or [_kind_in_words(info.annotation)]), *bounds])


def _kind_in_words(annotation: object) -> str:
    text = str(annotation)
    names = {
        int: "whole number",
        float: "number",
        bool: "true or false",
        str: "text",
    }
    if _is_secret(annotation):
        return "secret text"
    if isinstance(annotation, type) and annotation in names:
        return names[annotation]
    if "Literal[" in text and "pattern" not in text:
        return "one of " + text[text.index("[") + 1 : text.rindex("]")].replace("'", "")
    if "Path" in text:
        return "path"
    if "pattern" in text:
        return "host:port or unix:/path"
    return "text"


def _is_secret(annotation: object) -> bool:
    """Whether a field holds a secret, alone or in a union."""
    return SecretStr in (annotation, *get_args(annotation))


def _may_hold_secret(info: FieldInfo) -> bool:
    """Whether a wrong value must not be shown; a password in a URL is wrong, and is one."""
    return _is_secret(info.annotation) or any(getattr(rule, "pattern", None) == REDIS_URL for rule in info.metadata)


def _shown(value: object) -> str:
    return "" if value is None else str(value).replace("|", "\\|")


def _own(kind: type[ServiceSettings], environment: Mapping[str, str]) -> dict[str, object]:
    """Every field's value: what is left out here, pydantic-settings would look up in the process's environment."""
    upper = {name.upper(): value for name, value in environment.items()}
    defaults = {
        variable(kind, name): info.get_default(call_default_factory=True)
        for name, info in kind.model_fields.items()
        if not info.is_required()
    }
    values = {**defaults, **upper}
    return {name: values[variable(kind, name)] for name in kind.model_fields if variable(kind, name) in values}


def _explain(kind: type[ServiceSettings], detail: dict[str, object]) -> str:
    location = detail["loc"]
    name = str(location[0]) if isinstance(location, tuple) and location else ""
    info = kind.model_fields.get(name)
    if info is None:
        return f"{kind.__name__}: {str(detail['msg']).removeprefix('Value error, ')}"
    value = "(secret)" if _may_hold_secret(info) else repr(detail.get("input"))
    return f"{variable(kind, name)}={value}: allowed is {allowed(info)} ({detail['msg']})"
