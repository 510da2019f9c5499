"""Reading text files row by row so that whatever is wrong is reported with its file, its line and the
remedy."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.datasets.records import ACTIONS, Action, DatasetError

FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799  # unix seconds: the years 1 to 9999


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, counted from 1."""

    path: Path
    line: int

    def error(self, problem: str) -> DatasetError:
        return DatasetError(f"{self.path}:{self.line}: {problem}")

    def number(self, value: object, field: str) -> float:
        """A finite number from text or JSON, or DatasetError."""
        try:
            # bool is an int in Python, but `true` is no time and no price.
            number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self.error(f"{field} is {value!r}; write a finite number")
        return number

    def time(self, value: object, field: str) -> float:
        """Unix seconds within the years 1 to 9999, or DatasetError: milliseconds are a common mistake."""
        seconds = self.number(value, field)
        if not FIRST_SECOND <= seconds <= LAST_SECOND:
            raise self.error(f"{field} is {value!r}, beyond the year 9999 or before the year 1; write unix seconds")
        return seconds

    def action(self, value: object) -> Action:
        """One of ACTIONS, or DatasetError."""
        for action in ACTIONS:
            if action == value:
                return action
        raise self.error(f"action is {value!r}; write one of {', '.join(ACTIONS)}")


def numbered_lines(path: Path) -> Iterator[tuple[Place, str]]:
    """Each line that is not blank, without its line end, streamed. Raises DatasetError if the file cannot
    be read or is not UTF-8."""
    line = 0
    try:
        # Only "\n" ends a line here: MIND abstracts hold stray carriage returns and Unicode separators.
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for line, text in enumerate(file, start=1):
                stripped = text.rstrip("\r\n")
                if stripped.strip():
                    yield Place(path, line), stripped
    except UnicodeDecodeError as error:
        raise Place(path, line + 1).error(f"not UTF-8 ({error.reason}); save the file as UTF-8") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); check path and rights") from error
