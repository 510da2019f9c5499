"""Items between the contract and the core."""

import re
import sys
from collections.abc import Iterable

from google.protobuf.duration_pb2 import Duration
from homepage.types.v1 import item_pb2

from services.retrieval.items import Item, Moderation, Price
from shared.timestamps import duration_seconds, to_duration, to_seconds, to_timestamp
from shared.validation import MIN_TIMESTAMP_S, Checks

MAX_ID = 256
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*")
_CURRENCY = re.compile(r"[A-Z]{3}")
_MODERATIONS: frozenset[int] = frozenset(Moderation)
_MAX_DURATION_S = 315_576_000_000
"""10,000 years, what protobuf's Duration may hold."""


def text(checks: Checks, field: str, value: str, most: int, least: int = 0) -> None:
    """Checks.text, quick for what is in order: printable texts hold no control characters."""
    if not (least <= len(value) <= most and value.isprintable()):
        checks.text(field, value, most, least=least)


def ids(checks: Checks, field: str, values: Iterable[str]) -> None:
    """Item ids: each 1 to 256 characters."""
    for position, value in enumerate(values):
        text(checks, f"{field}[{position}]", value, MAX_ID, 1)


def language(checks: Checks, field: str, value: str) -> None:
    """A BCP 47 tag by its form (RFC 5646): letters, then subtags of letters and digits; at most 64 characters."""
    if len(value) > 64 or not _LANGUAGE.fullmatch(value):
        checks.fail(field, 'must be a BCP 47 tag such as "en" or "zh-Hans"')


def check_item(checks: Checks, path: str, item: item_pb2.Item) -> None:
    """Everything that item.proto asks of an item."""
    text(checks, f"{path}.item_id", item.item_id, MAX_ID, 1)
    text(checks, f"{path}.title", item.title, 1000, 1)
    text(checks, f"{path}.summary", item.summary, 10_000)
    text(checks, f"{path}.category", item.category, 256)
    checks.size(f"{path}.tags", item.tags, 64)
    for position, tag in enumerate(item.tags):
        text(checks, f"{path}.tags[{position}]", tag, 128, 1)
    text(checks, f"{path}.publisher", item.publisher, 256)
    text(checks, f"{path}.domain", item.domain, 64)
    text(checks, f"{path}.url", item.url, 2048)
    text(checks, f"{path}.image_url", item.image_url, 2048)
    if item.language:
        language(checks, f"{path}.language", item.language)
    if item.HasField("published_at"):
        checks.timestamp(f"{path}.published_at", item.published_at, earliest_s=MIN_TIMESTAMP_S)
    if item.HasField("expires_at"):
        checks.timestamp(f"{path}.expires_at", item.expires_at)
    if item.HasField("price"):
        _check_price(checks, f"{path}.price", item.price)
    if item.HasField("duration"):
        _check_duration(checks, f"{path}.duration", item.duration)
    if item.moderation not in _MODERATIONS:
        checks.fail(f"{path}.moderation", "is not a value of Moderation")


def _check_price(checks: Checks, path: str, price: item_pb2.Price) -> None:
    if not _CURRENCY.fullmatch(price.currency_code):
        checks.fail(f"{path}.currency_code", 'must be an ISO 4217 code such as "EUR"')
    if price.micros < 0:
        checks.fail(f"{path}.micros", "must not be negative")


def _check_duration(checks: Checks, path: str, duration: Duration) -> None:
    if not (0 <= duration.seconds < _MAX_DURATION_S and 0 <= duration.nanos < 1_000_000_000):
        checks.fail(path, "must be a duration of 0 or more, of less than 10,000 years")


def to_item(message: item_pb2.Item) -> Item:
    """A checked message as an item. Texts that many items share are kept once."""
    price = Price(message.price.currency_code, message.price.micros) if message.HasField("price") else None
    return Item(
        item_id=message.item_id,
        title=message.title,
        summary=message.summary,
        category=sys.intern(message.category),
        tags=tuple(sys.intern(tag) for tag in message.tags),
        publisher=sys.intern(message.publisher),
        published_at=to_seconds(message.published_at) if message.HasField("published_at") else None,
        domain=sys.intern(message.domain),
        language=sys.intern(message.language),
        price=price,
        duration_s=duration_seconds(message.duration) if message.HasField("duration") else None,
        url=message.url,
        image_url=message.image_url,
        moderation=Moderation(message.moderation),
        unavailable=message.unavailable,
        expires_at=to_seconds(message.expires_at) if message.HasField("expires_at") else None,
    )


def to_message(item: Item) -> item_pb2.Item:
    """An item as a message."""
    message = item_pb2.Item(
        item_id=item.item_id,
        title=item.title,
        summary=item.summary,
        category=item.category,
        tags=item.tags,
        publisher=item.publisher,
        domain=item.domain,
        language=item.language,
        url=item.url,
        image_url=item.image_url,
        moderation=item_pb2.Moderation.ValueType(item.moderation),
        unavailable=item.unavailable,
        revision=item.revision,
    )
    if item.published_at is not None:
        message.published_at.CopyFrom(to_timestamp(item.published_at))
    if item.expires_at is not None:
        message.expires_at.CopyFrom(to_timestamp(item.expires_at))
    if item.duration_s is not None:
        message.duration.CopyFrom(to_duration(item.duration_s))
    if item.price is not None:
        message.price.currency_code = item.price.currency_code
        message.price.micros = item.price.micros
    return message


class MessageCache:
    """Ready-made messages of items, which answers copy: one Retrieve holds some 250, and few of them ever change.

    An entry counts only for the very item object it was made from, so a changed item never shows its old message.
    """

    def __init__(self) -> None:
        self._messages: dict[str, tuple[Item, item_pb2.Item]] = {}

    def message(self, item: Item) -> item_pb2.Item:
        """The message of an item; not to be changed."""
        known = self._messages.get(item.item_id)
        if known is not None and known[0] is item:
            return known[1]
        message = to_message(item)
        self._messages[item.item_id] = (item, message)
        return message

    def bound(self, most: int) -> None:
        """Starts anew when there are more than `most` messages: those of removed items are never asked for again."""
        if len(self._messages) > most:
            self._messages.clear()
