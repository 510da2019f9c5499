"""What the library holds: items as plain values.

An item is frozen, so that one object can be shared by every snapshot, thread and cache that knows it; whoever sees
the same object sees the same item.
"""

import enum
from dataclasses import dataclass, field

from shared.ids import derived_id


class Moderation(enum.IntEnum):
    """Whether an item may be shown; numbers as in homepage.types.v1."""

    UNSPECIFIED = 0
    APPROVED = 1
    PENDING = 2
    REJECTED = 3


@dataclass(frozen=True, slots=True)
class Price:
    """An amount: ISO 4217 code and millionths of the unit."""

    currency_code: str
    micros: int


@dataclass(frozen=True, slots=True)
class Item:
    """One item of the library. Times in unix seconds, None = not known or never; other fields as in item.proto."""

    item_id: str
    title: str
    summary: str = ""
    category: str = ""
    tags: tuple[str, ...] = ()
    publisher: str = ""
    published_at: float | None = None
    domain: str = ""
    language: str = ""
    price: Price | None = None
    duration_s: float | None = None
    url: str = ""
    image_url: str = ""
    moderation: Moderation = Moderation.UNSPECIFIED
    unavailable: bool = False
    expires_at: float | None = None
    revision: str = field(init=False)
    """Fingerprint of the text that a model reads: title, category, publisher."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "revision", derived_id(self.title, self.category, self.publisher))
