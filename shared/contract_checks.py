"""Checks of the messages that several services take, so that none of them lets through what another refuses."""

import re
import sys

from homepage.types.v1 import event_pb2, item_pb2

from shared.validation import Checks

MOST_FILTER_VALUES = 100
MOST_AHEAD_S = 86_400.0
"""How far an act may lie ahead of the server's clock, in seconds."""
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*")
_LARGEST_VALUE = {
    event_pb2.ACTION_DWELL: sys.float_info.max,
    event_pb2.ACTION_PURCHASE: sys.float_info.max,
    event_pb2.ACTION_RATE: 5.0,
}


def check_act(checks: Checks, path: str, action: event_pb2.Action.ValueType, value: float) -> None:
    """An action of the contract, with a value that it can have (see Event.value)."""
    if action == event_pb2.ACTION_UNSPECIFIED or action not in event_pb2.Action.values():
        checks.fail(f"{path}.action", f"must be set to what the user did, is {action}")
    checks.number(f"{path}.value", value, 0.0, _LARGEST_VALUE.get(action, 0.0))


def check_language(checks: Checks, path: str, value: str) -> None:
    """A BCP 47 tag by its form (RFC 5646): letters, then subtags of letters and digits; at most 64 characters."""
    if len(value) > 64 or not _LANGUAGE.fullmatch(value):
        checks.fail(path, 'must be a BCP 47 tag such as "en" or "zh-Hans"')


def check_filter(checks: Checks, wanted: item_pb2.ItemFilter) -> None:
    """An ItemFilter that stands in the field `filter`."""
    texts = (
        ("include_categories", wanted.include_categories, 256),
        ("exclude_categories", wanted.exclude_categories, 256),
        ("domains", wanted.domains, 64),
    )
    for name, values, most in texts:
        checks.size(f"filter.{name}", values, MOST_FILTER_VALUES)
        for position, value in enumerate(values[:MOST_FILTER_VALUES]):
            checks.text(f"filter.{name}[{position}]", value, most, least=1)
    checks.size("filter.languages", wanted.languages, MOST_FILTER_VALUES)
    for position, value in enumerate(wanted.languages[:MOST_FILTER_VALUES]):
        check_language(checks, f"filter.languages[{position}]", value)
    if wanted.HasField("max_age"):
        checks.positive_duration("filter.max_age", wanted.max_age)
