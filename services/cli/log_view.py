"""How the services' JSON log lines read for people: one short line each."""

import json
from collections.abc import Mapping, Sequence

from rich.text import Text

_COLOURS = {"orchestrator": "cyan", "profile": "green", "retrieval": "magenta", "ranker": "yellow"}
_LEVELS = {"warning": "yellow", "error": "bold red", "critical": "bold red"}
_SHOWN = ("time", "level", "service", "event", "method", "code", "ms")
_DROPPED = ("request_id", "user")


def log_line(name: str, line: str) -> Text:
    """A JSON log line in short: time, service, event, method, code, time taken, then what is special to it.

    A line that is no JSON (a trace, a warning of a library) is shown as it is, behind the service's name.
    """
    shown = Text.assemble((f"{name:<13}", _COLOURS.get(name, "")))
    fields = _parsed(line)
    if fields is None:
        return shown.append(line)
    clock = str(fields.get("time", ""))[11:23]
    level = str(fields.get("level", ""))
    method = str(fields.get("method", "")).rpartition("/")[2]
    code = str(fields.get("code", ""))
    shown = Text.assemble((f"{clock} ", "dim"), shown, (str(fields["event"]), _LEVELS.get(level, "")))
    if method:
        shown.append(f" {method}", "bold")
    if code:
        shown.append(f" {code}", "green" if code == "OK" else "red")
    if "ms" in fields:
        shown.append(f" {fields['ms']} ms")
    for key, value in fields.items():
        if key not in _SHOWN and key not in _DROPPED:
            shown.append(f" {key}={value}", "dim")
    return shown


def last_words(lines: Sequence[str]) -> Sequence[str]:
    """The lines that tell why a service died: its own errors, or else simply the last lines."""
    errors = [line for line in lines if _level(line) in ("error", "critical")]
    return errors[-3:] or lines[-12:]


def tells_of_trouble(line: str) -> bool:
    """Whether a line is a warning or worse."""
    return _level(line) in _LEVELS


def _level(line: str) -> str:
    return str((_parsed(line) or {}).get("level", ""))


def _parsed(line: str) -> Mapping[str, object] | None:
    try:
        fields = json.loads(line)
    except json.JSONDecodeError:
        return None
    return fields if isinstance(fields, dict) and "event" in fields else None
