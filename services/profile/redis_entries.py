"""Entries and sums as the scripts in redis_scripts take and give them. Texts of numbers keep all digits."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files

from services.profile.events import Entry, Event
from services.profile.interests import HalfLives, Interest, weight
from services.profile.payloads import to_json
from shared.action import Action
from shared.ids import IdSource

_BOOLEANS = {False: "0", True: "1"}


def script(name: str) -> str:
    """The text of a script."""
    return (files("services.profile") / "redis_scripts" / f"{name}.lua").read_text()


def to_arguments(entries: Sequence[Entry], ids: IdSource) -> list[str]:
    """WIDTH values for each entry, for record.lua. The pseudonym counts if the user has none yet.

    Raises:
        ValueError: when a number is not finite.
    """
    subjects = {user: ids() for user in dict.fromkeys(entry.user for entry in entries)}
    return [value for entry in entries for value in _arguments(entry, subjects[entry.user])]


def _arguments(entry: Entry, subject: str) -> Iterator[str]:
    record = entry.record
    yield from (entry.user, subject, f"{int(record.kind)}:{record.entry_id}", repr(record.time))
    yield from (_BOOLEANS[entry.personalise], _BOOLEANS[entry.train], to_json(record))
    if isinstance(record, Event):
        hidden = record.item_id if record.action is Action.HIDE else ""
        yield from (str(int(record.action)), hidden, record.category, repr(weight(record)))
    else:
        yield from ("", "", "", "0")


def rule(half_lives: HalfLives) -> tuple[str, str, str]:
    """How interests are summed: edition and half-lives, for record.lua."""
    return half_lives.edition, repr(half_lives.short_s), repr(half_lives.long_s)


def to_sums(interests: Mapping[str, Interest]) -> Iterator[str]:
    """Categories and sums, for interests.lua."""
    for category, interest in interests.items():
        yield category
        yield f"{interest.as_of!r} {interest.short_term!r} {interest.long_term!r}"


def to_interest(category: str, sums: str) -> Interest:
    """What record.lua and `to_sums` keep of a category."""
    as_of, short_term, long_term = (float(number) for number in sums.split())
    return Interest(category, as_of, short_term, long_term)


def pairs(flat: Sequence[str]) -> dict[str, str]:
    """Names and values of a hash, as scripts give them: one after the other."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
