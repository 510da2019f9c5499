"""The text template: what a model reads of an item and of a history entry.

Training, serving and embedding all build their input here and nowhere else. A change of the words below is a change
of every model's input, so TEMPLATE_VERSION goes into the version of every vector.
"""

from dataclasses import dataclass

TEMPLATE_VERSION = 1
_SEPARATOR = " . "
NEGATIVE_ACTIONS = frozenset({"dislike", "hide"})
"""Left out of the user context: likeness to what the user refused must not raise a score."""


@dataclass(frozen=True, slots=True)
class ItemText:
    """What is read of a candidate. Category and publisher may be empty."""

    title: str
    category: str = ""
    publisher: str = ""


@dataclass(frozen=True, slots=True)
class HistoryText:
    """What is read of something the user acted on. `action` is a lower-case name, e.g. "click"; empty = not known."""

    title: str
    category: str = ""
    action: str = ""


def text_of_item(item: ItemText) -> str:
    """`title . category . publisher`, empty parts left out."""
    return _joined(item.title, item.category, item.publisher)


def text_of_history(entry: HistoryText) -> str:
    """`title . category`, empty parts left out. The publisher stays out: it costs context and tells little."""
    return _joined(entry.title, entry.category)


def _joined(*parts: str) -> str:
    return _SEPARATOR.join(part for part in map(str.strip, parts) if part)
