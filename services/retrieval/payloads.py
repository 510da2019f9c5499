"""Items, vectors and sums as the bytes and texts that stores keep; reading gives back exactly what was written."""

import json

import numpy as np

from services.retrieval.items import Item, Moderation, Price
from services.retrieval.store import StoredVector, Tally

FLOATS = np.dtype("<f4")
"""Of vectors: float32, little-endian."""
_PLAIN = (
    "title",
    "summary",
    "category",
    "tags",
    "publisher",
    "published_at",
    "domain",
    "language",
    "duration_s",
    "url",
    "image_url",
    "unavailable",
    "expires_at",
)


def item_to_json(item: Item) -> str:
    """An item without its id and without what is as it is by default."""
    body = {name: value for name in _PLAIN if _says_something(value := getattr(item, name))}
    if item.price is not None:
        body["price"] = [item.price.currency_code, item.price.micros]
    body["moderation"] = int(item.moderation)
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _says_something(value: object) -> bool:
    """False for the defaults of Item, which need not be kept; 0.0 is a time like any other."""
    return value is not None and value is not False and value not in ("", ())


def item_from_json(item_id: str, body: str | bytes) -> Item:
    """The item that `item_to_json` was given.

    Fields that a newer version wrote are ignored: replicas of two versions may share a store for a while.
    """
    named = json.loads(body)
    price = Price(*named["price"]) if "price" in named else None
    fields = {name: named[name] for name in _PLAIN if name in named}
    fields["tags"] = tuple(fields.get("tags", ()))
    return Item(item_id, price=price, moderation=Moderation(named["moderation"]), **fields)


def vector_to_bytes(vector: StoredVector) -> bytes:
    """A line of JSON with text revision and embedding version, then the values."""
    head = json.dumps([vector.revision, vector.embedding_version])
    return head.encode() + b"\n" + vector.values.astype(FLOATS).tobytes()


def vector_from_bytes(item_id: str, data: bytes) -> StoredVector:
    """The vector that `vector_to_bytes` was given."""
    head, _, values = data.partition(b"\n")
    revision, version = json.loads(head)
    return StoredVector(item_id, revision, version, np.frombuffer(values, FLOATS))


def tally_to_text(tally: Tally) -> str:
    """Sum and time with all their digits."""
    return f"{float(tally.total)!r} {float(tally.as_of)!r}"


def tally_from_text(data: bytes) -> Tally:
    """The sum that `tally_to_text` was given."""
    return Tally(*map(float, data.split()))
