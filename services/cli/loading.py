"""Loads a data set into a running set: items first, then past behaviour while the items are being embedded.

The profile service does not know items, so every event is given its item's category here. What the contract would
refuse is mended or left out before it is sent: a value where the action has none, an impression.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc
from homepage.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from homepage.types.v1 import event_pb2, item_pb2
from rich.progress import Progress

from shared.datasets import Action, Dataset, Interaction, Item, generate_world, open_dataset
from shared.timestamps import to_duration, to_timestamp

EVENT_CAP = 60_000
"""Events loaded at most, the newest of the data set: enough to show everything, and done within a minute."""
ITEMS_PER_MESSAGE = 200
EVENTS_PER_CALL = 500
STREAM_LIMIT_S = 600.0
CALL_LIMIT_S = 30.0
POLL_S = 0.2
STALLED_AFTER_S = 60.0
COUNTING_STALLED_AFTER_S = 10.0

ACTIONS: Mapping[Action, event_pb2.Action.ValueType] = {
    "view": event_pb2.ACTION_VIEW,
    "click": event_pb2.ACTION_CLICK,
    "like": event_pb2.ACTION_LIKE,
    "dislike": event_pb2.ACTION_DISLIKE,
    "hide": event_pb2.ACTION_HIDE,
    "purchase": event_pb2.ACTION_PURCHASE,
    "dwell": event_pb2.ACTION_DWELL,
    "comment": event_pb2.ACTION_COMMENT,
    "share": event_pb2.ACTION_SHARE,
}
"""An impression is no act of the user, so it has no counterpart."""
_VALUED = ("dwell", "purchase")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class LoadError(RuntimeError):
    """The set took the data, but does not get on with it; the text says with what."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load did. Times in seconds; `index_s` runs from the first event to the last embedding."""

    items_stored: int
    items_unchanged: int
    events_recorded: int
    events_duplicate: int
    events_left_out: int
    """Older ones, beyond the cap."""
    items_s: float
    events_s: float
    index_s: float
    index_version: str
    embedding_version: str


def read_data(path: Path | None) -> Dataset:
    """The data set at `path`, or the generated world.

    Raises:
        DatasetError: when there is none, or it cannot be read.
    """
    return open_dataset(path) if path is not None else generate_world()


def to_item(item: Item) -> item_pb2.Item:
    """An item of a data set as the contract has it; texts are cut to the contract's lengths."""
    message = item_pb2.Item(
        item_id=item.item_id,
        title=_text(item.title, 1000),
        summary=_text(item.summary, 10_000),
        category=_text(item.category, 256),
        tags=[tag for tag in (_text(tag, 128) for tag in item.tags[:64]) if tag],
        publisher=_text(item.publisher, 256),
        published_at=_date(item.published_at),
        domain=_text(item.domain, 64),
        language=item.language,
        url=_address(item.url),
        image_url=_address(item.image_url),
        moderation=item_pb2.MODERATION_APPROVED,
    )
    if item.price_micros is not None:
        message.price.CopyFrom(item_pb2.Price(currency_code=item.currency, micros=item.price_micros))
    if item.duration_s is not None and item.duration_s > 0:
        message.duration.CopyFrom(to_duration(item.duration_s))
    return message


def to_entry(interaction: Interaction, category: str) -> profile_pb2.UserEvent:
    """An interaction as an entry of the event log; its value only where the action has one (a like has none)."""
    event = event_pb2.Event(
        event_id=interaction.event_id,
        action=ACTIONS[interaction.action],
        item_id=interaction.item_id,
        time=to_timestamp(interaction.time),
        value=max(interaction.value, 0.0) if interaction.action in _VALUED else 0.0,
        category=_text(category, 256),
    )
    return profile_pb2.UserEvent(user_id=interaction.user_id, event=event)


def events_to_load(dataset: Dataset, cap: int = EVENT_CAP) -> tuple[Interaction, ...]:
    """The newest `cap` acts, oldest first; impressions are none."""
    acts = [interaction for interaction in dataset.interactions if interaction.action in ACTIONS]
    return tuple(acts[-cap:]) if cap > 0 else ()


class Loader:
    """Speaks to a running retrieval and profile service."""

    def __init__(self, retrieval: grpc.Channel, profile: grpc.Channel) -> None:
        self._retrieval = retrieval_pb2_grpc.RetrievalStub(retrieval)
        self._profile = profile_pb2_grpc.ProfileStub(profile)

    def load(self, dataset: Dataset, progress: Progress, cap: int = EVENT_CAP) -> Loaded:
        """Items, then events beside the embedding, then the wait for both to be counted in.

        Raises:
            grpc.RpcError: when a call fails. Loading again goes on where it stopped: everything is idempotent.
            LoadError: when the index or the popularity counts stand still.
        """
        counted_before = self._status().counted_events
        started = time.monotonic()
        put = self._put_items(dataset.items, progress)
        events_from = time.monotonic()
        events = events_to_load(dataset, cap)
        index = _IndexWatch(progress)
        recorded = duplicates = 0
        task = progress.add_task("Past behaviour", total=len(events), unit="events")
        for batch in self._batches(dataset.items, events):
            answer = self._profile.RecordEvents(profile_pb2.RecordEventsRequest(events=batch), timeout=CALL_LIMIT_S)
            recorded, duplicates = recorded + answer.recorded, duplicates + answer.duplicates
            progress.advance(task, len(batch))
            index.show(self._status())
        events_until = time.monotonic()
        status = self._wait(index, progress, counted_before, recorded)
        return Loaded(
            items_stored=put.stored,
            items_unchanged=put.unchanged,
            events_recorded=recorded,
            events_duplicate=duplicates,
            events_left_out=sum(1 for i in dataset.interactions if i.action in ACTIONS) - len(events),
            items_s=events_from - started,
            events_s=events_until - events_from,
            index_s=time.monotonic() - events_from,
            index_version=status.index_version,
            embedding_version=status.embedding_version,
        )

    def _put_items(self, items: Sequence[Item], progress: Progress) -> retrieval_pb2.PutItemsResponse:
        task = progress.add_task("Items", total=len(items), unit="items")

        def messages() -> Iterator[retrieval_pb2.PutItemsRequest]:
            for start in range(0, len(items), ITEMS_PER_MESSAGE):
                part = items[start : start + ITEMS_PER_MESSAGE]
                yield retrieval_pb2.PutItemsRequest(items=[to_item(item) for item in part])
                progress.advance(task, len(part))

        return self._retrieval.PutItems(messages(), timeout=STREAM_LIMIT_S)

    def _batches(self, items: Sequence[Item], events: Sequence[Interaction]) -> Iterator[list[profile_pb2.UserEvent]]:
        categories = {item.item_id: item.category for item in items}
        for start in range(0, len(events), EVENTS_PER_CALL):
            yield [to_entry(event, categories[event.item_id]) for event in events[start : start + EVENTS_PER_CALL]]

    def _wait(
        self, index: "_IndexWatch", progress: Progress, counted_before: int, recorded: int
    ) -> retrieval_pb2.GetIndexStatusResponse:
        status = self._status()
        index.show(status)
        while status.pending:
            index.refuse_standstill(STALLED_AFTER_S, "embedding the items")
            time.sleep(POLL_S)
            status = self._status()
            index.show(status)
        if not recorded:
            return status
        task = progress.add_task("Popularity", total=recorded, unit="events")
        counted = _Standstill()
        while True:
            done = status.counted_events - counted_before
            progress.update(task, completed=min(done, recorded))
            if done >= recorded:
                return status
            counted.note(done)
            if counted.lasts_s() > COUNTING_STALLED_AFTER_S:
                raise LoadError(f"counting events into popularity stands still at {done:,} of {recorded:,}")
            time.sleep(POLL_S)
            status = self._status()

    def _status(self) -> retrieval_pb2.GetIndexStatusResponse:
        return self._retrieval.GetIndexStatus(retrieval_pb2.GetIndexStatusRequest(), timeout=CALL_LIMIT_S)


class _Standstill:
    """For how long a number has not changed."""

    def __init__(self) -> None:
        self._value: int | None = None
        self._since = time.monotonic()

    def note(self, value: int) -> None:
        if value != self._value:
            self._value, self._since = value, time.monotonic()

    def lasts_s(self) -> float:
        return time.monotonic() - self._since


class _IndexWatch:
    """The progress bar of the embedding, which goes on by itself beside the events."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("Embedding", total=None, unit="items")
        self._standstill = _Standstill()

    def show(self, status: retrieval_pb2.GetIndexStatusResponse) -> None:
        done = max(status.items - status.pending, 0)
        self._progress.update(self._task, total=status.items, completed=done)
        self._standstill.note(done)

    def refuse_standstill(self, limit_s: float, what: str) -> None:
        if self._standstill.lasts_s() > limit_s:
            raise LoadError(f"{what} has stood still for {limit_s:.0f} s; is the ranker up?")


def _text(value: str, most: int) -> str:
    """The text without control characters, cut to `most` characters."""
    return _CONTROL.sub(" ", value).strip()[:most]


def _address(url: str) -> str:
    """The address, or nothing when it is longer than the contract takes: half an address leads nowhere."""
    return url if len(url) <= 2048 and url.isprintable() else ""


def _date(seconds: float | None) -> Timestamp | None:
    return to_timestamp(seconds) if seconds is not None else None
