"""What every data set is made of, whatever file or simulator it comes from: items, interactions, impressions.
Plain frozen values; times are unix seconds (UTC) throughout."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Action = Literal[
    "impression",
    "view",
    "click",
    "like",
    "dislike",
    "hide",
    "purchase",
    "dwell",
    "comment",
    "share",
]
Source = Literal["generated", "movielens", "mind", "jsonlines"]

ACTIONS: tuple[Action, ...] = get_args(Action)


class DatasetError(ValueError):
    """A data set cannot be read. The text names the file, the line where there is one, and what to change."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something that can stand on a homepage."""

    item_id: str
    title: str
    summary: str = ""
    category: str = ""  # one category, the unit of interest weights
    tags: tuple[str, ...] = ()
    publisher: str = ""  # newspaper, brand, channel or advertiser
    published_at: float | None = None  # unix seconds
    domain: str = ""  # free text: "news", "shop", "video", "ads", ...
    language: str = "en"  # BCP 47
    price_micros: int | None = None  # millionths of one unit of `currency`
    currency: str = ""  # ISO 4217; empty without a price
    duration_s: float | None = None  # seconds of playing time
    url: str = ""
    image_url: str = ""


@dataclass(frozen=True, slots=True)
class Interaction:
    """One thing a user did with an item. `event_id` is the idempotency key: reading the same data twice
    gives the same ids, and no two interactions of a data set share one."""

    event_id: str
    user_id: str
    item_id: str
    action: Action
    time: float  # unix seconds
    value: float = 0.0  # dwell: seconds; purchase: amount in the item's currency; rated films: the rating


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One earlier action of the user an impression was shown to."""

    item_id: str
    action: Action
    time: float | None = None  # unix seconds; None where the source does not tell


@dataclass(frozen=True, slots=True)
class Candidate:
    """One item of a slate, and whether the user acted on it."""

    item_id: str
    label: Literal[0, 1]
    position: int | None = None  # 1 is the first place; None where the source does not tell


@dataclass(frozen=True, slots=True)
class Impression:
    """One slate as it was shown. `impression_id` is unique within its `split`."""

    impression_id: str
    user_id: str
    time: float | None  # unix seconds; None where the source does not tell
    history: tuple[HistoryEntry, ...]  # oldest first
    candidates: tuple[Candidate, ...]  # in the order of the source
    split: str = ""  # "train", "test", ... where the source is split; else empty


@dataclass(frozen=True, slots=True)
class Dataset:
    """Items and behaviour, self-contained: every item id used anywhere is the id of one of `items`."""

    name: str
    source: Source
    items: tuple[Item, ...]
    interactions: tuple[Interaction, ...]  # by time, then event_id
    impressions: tuple[Impression, ...]  # in the order of the source; may be empty
    now: float  # the reference present, unix seconds, just after the last event; 0 without any time
    dropped: Mapping[str, int]  # what was left out, and how often

    def busiest_users(self, count: int) -> tuple[str, ...]:
        """The `count` users with the most interactions, busiest first, ties by user id."""
        totals = Counter(interaction.user_id for interaction in self.interactions)
        return tuple(sorted(totals, key=lambda user: (-totals[user], user))[:count])

    def fingerprint(self) -> str:
        """32 hex digits over everything in the data set: equal fingerprints mean equal data."""
        digest = hashlib.blake2b(digest_size=16)
        for record in (self.name, self.source, self.now, sorted(self.dropped.items())):
            digest.update(repr(record).encode())
        for item in self.items:
            digest.update(repr(item).encode())
        for interaction in self.interactions:
            digest.update(repr(interaction).encode())
        for shown in self.impressions:
            # Histories repeat from slate to slate: flat tuples hash several times faster than nested reprs.
            digest.update(repr((shown.impression_id, shown.user_id, shown.time, shown.split)).encode())
            digest.update(repr([(e.item_id, e.action, e.time) for e in shown.history]).encode())
            digest.update(repr([(c.item_id, c.label, c.position) for c in shown.candidates]).encode())
        return digest.hexdigest()


def short_id(*fields: object) -> str:
    """16 hex digits that depend on every field, its type and its place, the same on every machine."""
    return hashlib.blake2b(repr(fields).encode(), digest_size=8).hexdigest()


def in_time_order(interactions: list[Interaction]) -> tuple[Interaction, ...]:
    """Sorted by time; the event id settles ties, so the order never depends on how the source was walked."""
    return tuple(sorted(interactions, key=lambda event: (event.time, event.event_id)))
