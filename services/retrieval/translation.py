"""Between the contract and the core: what requests must look like, and messages from values and back."""

import re
import sys
from collections.abc import Iterable, Sequence

from google.protobuf.duration_pb2 import Duration
from homepage.retrieval.v1 import retrieval_pb2
from homepage.types.v1 import item_pb2

from services.retrieval.behaviour import HistoryEntry
from services.retrieval.filters import ItemFilter, Scope
from services.retrieval.items import Item, Moderation, Price
from services.retrieval.retrieve import Candidate, Query, Retrieved
from services.retrieval.sources import Source
from shared.action import Action
from shared.contract_checks import check_filter, check_language
from shared.timestamps import duration_seconds, to_duration, to_seconds, to_timestamp
from shared.validation import MIN_TIMESTAMP_S, Checks

MAX_ID = 256
MAX_PER_MESSAGE = 1000
_CURRENCY = re.compile(r"[A-Z]{3}")
_MODERATIONS: frozenset[int] = frozenset(Moderation)
_MAX_DURATION_S = 315_576_000_000
"""10,000 years, what protobuf's Duration may hold."""
DEFAULT_CANDIDATES = 200
MAX_CANDIDATES = 1000
MAX_HISTORY = 500
MAX_EXCLUDED = 10_000
_ACTIONS: frozenset[int] = frozenset(Action)
_SOURCES: frozenset[int] = frozenset(Source)


def _text(checks: Checks, field: str, value: str, most: int, least: int = 0) -> None:
    """Checks.text, quick for what is in order: printable texts hold no control characters."""
    if not (least <= len(value) <= most and value.isprintable()):
        checks.text(field, value, most, least=least)


def _ids(checks: Checks, field: str, values: Iterable[str]) -> None:
    """Item ids: each 1 to 256 characters."""
    for position, value in enumerate(values):
        _text(checks, f"{field}[{position}]", value, MAX_ID, 1)


def check_ids(item_ids: Sequence[str]) -> None:
    """A list of 1 to 1000 item ids. Raises ServiceError(INVALID_FIELD) with every violation."""
    checks = Checks()
    checks.size("item_ids", item_ids, MAX_PER_MESSAGE, least=1)
    _ids(checks, "item_ids", item_ids[:MAX_PER_MESSAGE])
    checks.done()


def to_items(request: retrieval_pb2.PutItemsRequest) -> list[Item]:
    """The items of a message, which is refused whole when anything in it is wrong.

    Raises:
        ServiceError: INVALID_FIELD with all violations.
    """
    checks = Checks()
    checks.size("items", request.items, MAX_PER_MESSAGE, least=1)
    for position, item in enumerate(request.items[:MAX_PER_MESSAGE]):
        _check_item(checks, f"items[{position}]", item)
    checks.done()
    return [_to_item(item) for item in request.items]


def _check_item(checks: Checks, path: str, item: item_pb2.Item) -> None:
    """Everything that item.proto asks of an item."""
    _text(checks, f"{path}.item_id", item.item_id, MAX_ID, 1)
    _text(checks, f"{path}.title", item.title, 1000, 1)
    _text(checks, f"{path}.summary", item.summary, 10_000)
    _text(checks, f"{path}.category", item.category, 256)
    checks.size(f"{path}.tags", item.tags, 64)
    for position, tag in enumerate(item.tags):
        _text(checks, f"{path}.tags[{position}]", tag, 128, 1)
    _text(checks, f"{path}.publisher", item.publisher, 256)
    _text(checks, f"{path}.domain", item.domain, 64)
    _text(checks, f"{path}.url", item.url, 2048)
    _text(checks, f"{path}.image_url", item.image_url, 2048)
    if item.language:
        check_language(checks, f"{path}.language", item.language)
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


def _to_item(message: item_pb2.Item) -> Item:
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


def to_query(request: retrieval_pb2.RetrieveRequest, now: float) -> Query:
    """A request as a query; `now` (unix seconds) where the request says nothing.

    Raises:
        ServiceError: INVALID_FIELD with all violations.
    """
    _check(request)
    scope = Scope(
        history=tuple(HistoryEntry(entry.item_id, Action(entry.action)) for entry in request.history),
        excluded=tuple(request.exclude_item_ids),
        wanted=_item_filter(request.filter),
        now=to_seconds(request.now) if request.HasField("now") else now,
    )
    sources = tuple(Source(source) for source in dict.fromkeys(request.sources)) or tuple(Source)
    return Query(scope, request.max_candidates or DEFAULT_CANDIDATES, sources)


def _check(request: retrieval_pb2.RetrieveRequest) -> None:
    checks = Checks()
    checks.size("history", request.history, MAX_HISTORY)
    for position, entry in enumerate(request.history[:MAX_HISTORY]):
        path = f"history[{position}]"
        _text(checks, f"{path}.item_id", entry.item_id, MAX_ID, 1)
        if entry.action not in _ACTIONS:
            checks.fail(f"{path}.action", "is required, and must be a value of Action")
        if entry.HasField("time"):
            checks.timestamp(f"{path}.time", entry.time)
    checks.number("max_candidates", request.max_candidates, 0, MAX_CANDIDATES)
    for position, source in enumerate(request.sources):
        if source not in _SOURCES:
            checks.fail(f"sources[{position}]", "must be a value of Source other than SOURCE_UNSPECIFIED")
    checks.size("exclude_item_ids", request.exclude_item_ids, MAX_EXCLUDED)
    _ids(checks, "exclude_item_ids", request.exclude_item_ids[:MAX_EXCLUDED])
    check_filter(checks, request.filter)
    if request.HasField("now"):
        checks.timestamp("now", request.now)
    checks.done()


def _item_filter(wanted: item_pb2.ItemFilter) -> ItemFilter:
    return ItemFilter(
        include_categories=frozenset(wanted.include_categories),
        exclude_categories=frozenset(wanted.exclude_categories),
        languages=tuple(wanted.languages),
        max_age_s=duration_seconds(wanted.max_age) if wanted.HasField("max_age") else None,
        domains=frozenset(wanted.domains),
    )


def to_response(retrieved: Retrieved, cache: MessageCache) -> retrieval_pb2.RetrieveResponse:
    """What was retrieved as a message."""
    response = retrieval_pb2.RetrieveResponse(
        history_items=[cache.message(item) for item in retrieved.history_items],
        index_version=retrieved.index_version,
        embedding_version=retrieved.embedding_version,
        removals=[retrieval_pb2.Removal(filter=each.filter, count=each.count) for each in retrieved.removals],
    )
    for candidate in retrieved.candidates:
        _add_candidate(response, candidate, cache)
    for report in retrieved.reports:
        elapsed: Duration = to_duration(report.elapsed_s)
        response.source_reports.add(source=_source(report.source), found=report.found, elapsed=elapsed)
    return response


def _add_candidate(response: retrieval_pb2.RetrieveResponse, candidate: Candidate, cache: MessageCache) -> None:
    added = response.candidates.add(item=cache.message(candidate.item), popularity=candidate.popularity)
    for score in candidate.scores:
        near_to = candidate.anchor_item_id if score.source is Source.NEAREST else ""
        added.sources.add(source=_source(score.source), score=score.score, anchor_item_id=near_to)


def _source(source: Source) -> retrieval_pb2.Source.ValueType:
    return retrieval_pb2.Source.ValueType(source)
