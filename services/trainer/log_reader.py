"""Reads the event log from the profile service and the texts from the library: contracts on one side, plain values on
the other. A stream that breaks goes on from its cursor. Consent is the profile service's to keep: it is told that this
is for training.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import grpc
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc
from homepage.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from homepage.types.v1 import event_pb2, item_pb2

from services.trainer.event_log import EventLog, LoggedAct, LoggedPage
from shared.datasets import Action, Interaction, Item
from shared.datasets.movielens import DISLIKED_UP_TO, LIKED_FROM
from shared.timestamps import duration_seconds, to_seconds

_ACTIONS: dict[int, Action] = {
    event_pb2.ACTION_VIEW: "view",
    event_pb2.ACTION_CLICK: "click",
    event_pb2.ACTION_LIKE: "like",
    event_pb2.ACTION_DISLIKE: "dislike",
    event_pb2.ACTION_HIDE: "hide",
    event_pb2.ACTION_PURCHASE: "purchase",
    event_pb2.ACTION_DWELL: "dwell",
    event_pb2.ACTION_COMMENT: "comment",
    event_pb2.ACTION_SHARE: "share",
}
_PASSING = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
)


class LogReadError(RuntimeError):
    """A service does not give what was asked; the text says which, and the status it answered with."""


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """How the log is read. Times in seconds."""

    page_size: int = 1000
    """Entries of a message, 1 to 5000."""
    items_at_once: int = 500
    """Of one GetItems, 1 to 1000."""
    stream_s: float = 600.0
    call_s: float = 30.0
    tries: int = 3
    """In a row without getting on."""


async def read_log(profile: grpc.aio.Channel, retrieval: grpc.aio.Channel, limits: ReadLimits) -> EventLog:
    """All that the log holds for training, and the items it speaks of.

    Raises:
        LogReadError: when a service fails for good.
    """
    dropped: Counter[str] = Counter()
    acts: list[LoggedAct] = []
    pages: list[LoggedPage] = []
    async for entry in _entries(profile, limits):
        if entry.HasField("served_page"):
            pages.append(_page(entry))
        elif entry.HasField("event") and (action := _action(entry.event)) is not None:
            acts.append(_act(entry, action))
        else:
            dropped["entry of a kind that is not known here"] += 1
    wanted = dict.fromkeys(act.interaction.item_id for act in acts)
    wanted |= dict.fromkeys(item for page in pages for item, _ in page.items)
    items = await _items(retrieval, list(wanted), limits)
    return EventLog(acts, pages, items, dict(dropped))


async def _entries(channel: grpc.aio.Channel, limits: ReadLimits) -> AsyncIterator[profile_pb2.LoggedEvent]:
    stub = profile_pb2_grpc.ProfileStub(channel)
    cursor, failures = "", 0
    while True:
        request = profile_pb2.ReadEventsRequest(
            cursor=cursor, page_size=limits.page_size, purpose=profile_pb2.READ_PURPOSE_TRAINING
        )
        call = stub.ReadEvents(request, timeout=limits.stream_s)
        try:
            async for message in call:
                cursor, failures = message.next_cursor, 0
                for entry in message.events:
                    yield entry
            return
        except grpc.aio.AioRpcError as error:
            failures += 1
            if error.code() not in _PASSING or failures >= limits.tries:
                raise _failed("the profile service", error) from None
        finally:
            call.cancel()


async def _items(channel: grpc.aio.Channel, item_ids: Sequence[str], limits: ReadLimits) -> tuple[Item, ...]:
    stub = retrieval_pb2_grpc.RetrievalStub(channel)
    items: list[Item] = []
    for start in range(0, len(item_ids), limits.items_at_once):
        request = retrieval_pb2.GetItemsRequest(item_ids=item_ids[start : start + limits.items_at_once])
        try:
            answer = await stub.GetItems(request, timeout=limits.call_s)
        except grpc.aio.AioRpcError as error:
            raise _failed("the retrieval service", error) from None
        items += map(_item, answer.items)
    return tuple(items)


def _failed(service: str, error: grpc.aio.AioRpcError) -> LogReadError:
    hint = "; is it up, and is this its address?" if error.code() is grpc.StatusCode.UNAVAILABLE else ""
    return LogReadError(f"{service} answers {error.code().name}{hint}")


def _action(event: event_pb2.Event) -> Action | None:
    """What was done; a rating is a like, a dislike or a view by the bounds that MovieLens is read with."""
    if event.action != event_pb2.ACTION_RATE:
        return _ACTIONS.get(event.action)
    if event.value >= LIKED_FROM:
        return "like"
    return "dislike" if event.value <= DISLIKED_UP_TO else "view"


def _act(entry: profile_pb2.LoggedEvent, action: Action) -> LoggedAct:
    event = entry.event
    interaction = Interaction(event.event_id, entry.subject, event.item_id, action, to_seconds(event.time), event.value)
    return LoggedAct(interaction, event.recommendation_id)


def _page(entry: profile_pb2.LoggedEvent) -> LoggedPage:
    page = entry.served_page
    items = tuple((item.item_id, item.position) for item in page.items)
    return LoggedPage(page.recommendation_id, entry.subject, to_seconds(page.time), items)


def _item(message: item_pb2.Item) -> Item:
    return Item(
        item_id=message.item_id,
        title=message.title,
        summary=message.summary,
        category=message.category,
        tags=tuple(message.tags),
        publisher=message.publisher,
        published_at=to_seconds(message.published_at) if message.HasField("published_at") else None,
        domain=message.domain,
        language=message.language,
        price_micros=message.price.micros if message.HasField("price") else None,
        currency=message.price.currency_code,
        duration_s=duration_seconds(message.duration) if message.HasField("duration") else None,
        url=message.url,
        image_url=message.image_url,
    )
