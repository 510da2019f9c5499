"""Frozen dataclasses as JSON files, read strictly: what does not have exactly the declared fields and types is refused.

So a file that was read is as good as a value that was built in code, and a misspelt field can never pass as a default.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

Record = TypeVar("Record")

_CALLED: Mapping[type, str] = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text"}


class RecordError(ValueError):
    """A record that cannot be written or read; the text says which part, without its content."""


def encoded(record: Any) -> bytes:
    """A dataclass as indented JSON.

    Raises:
        RecordError: when it holds what JSON has no form for, or would not be read as it was.
    """
    try:
        content = (json.dumps(dataclasses.asdict(record), indent=2, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise RecordError("it holds a value that JSON has no form for") from error
    decoded(type(record), parsed(content))
    return content


def parsed(content: bytes) -> object:
    """The JSON value in `content`, whatever it is.

    Raises:
        RecordError: when there is none.
    """
    try:
        return json.loads(content, parse_constant=_no_such_number)
    except (ValueError, RecursionError) as error:
        raise RecordError("it is not valid JSON") from error


def decoded(kind: type[Record], value: object) -> Record:
    """The dataclass `kind` from a JSON value.

    Fields may be bool, int, float (finite), str, Literal of texts, tuple[X, ...], Mapping[str, X], dataclasses, and
    any of these or None (`X | None`; null in JSON).

    Raises:
        RecordError: naming the first field that is missing, unknown or of another type.
    """
    record: Record = _decoded(kind, value, "")
    return record


def _decoded(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _decoded_record(kind, value, where)
    if origin is UnionType:
        (inner,) = (each for each in arguments if each is not NoneType)
        return None if value is None else _decoded(inner, value, where)
    if origin is tuple:
        _require(isinstance(value, list), where, "a list")
        return tuple(_decoded(arguments[0], each, f"{where}[{number}]") for number, each in enumerate(value))
    if origin is Mapping:
        _require(isinstance(value, dict), where, "an object")
        return {key: _decoded(arguments[1], each, f"each value of {where}") for key, each in value.items()}
    return _decoded_scalar(kind, value, where)


def _decoded_scalar(kind: Any, value: Any, where: str) -> Any:
    if get_origin(kind) is Literal:
        arguments = get_args(kind)
        _require(value in arguments, where, "one of " + ", ".join(map(str, arguments)))
        return value
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        _require(number and abs(value) <= sys.float_info.max, where, _CALLED[float])
        return float(value)
    _require(type(value) is kind, where, _CALLED[kind])
    return value


def _decoded_record(kind: Any, value: Any, where: str) -> Any:
    _require(isinstance(value, dict), where, "an object")
    hints = get_type_hints(kind)
    for wrong, fields in (("is missing", hints.keys() - value.keys()), ("is unknown", value.keys() - hints.keys())):
        if fields:
            raise RecordError(f"its field {_inside(where, min(fields))!r} {wrong}")
    return kind(**{name: _decoded(hint, value[name], _inside(where, name)) for name, hint in hints.items()})


def _inside(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _require(holds: bool, where: str, wanted: str) -> None:
    if not holds:
        raise RecordError(f"{where or 'it'} must be {wanted}")


def _no_such_number(_: str) -> NoReturn:
    raise ValueError("JSON has neither NaN nor Infinity")
