"""The library in a Redis, for services of several replicas: each holds all of it in memory and follows the changes.

Keys, after the prefix: `about` (schema, the library's id, the revision of its latest change, progress of counting),
`items`, `vectors` and `tallies` (hashes by item id), `changed` and `gone` (see redis_scripts/library.lua). Every change
is one script, which the server runs as one step or refuses as a whole.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, TypeVar

from redis import Redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from services.retrieval.items import Item
from services.retrieval.payloads import (
    item_from_json,
    item_to_json,
    tally_from_text,
    tally_to_text,
    vector_from_bytes,
    vector_to_bytes,
)
from services.retrieval.store import Changes, CountsMovedError, Progress, StoredVector, StoreOpenError, Tally
from shared.errors import Reason, ServiceError
from shared.ids import IdSource
from shared.logs import FIELDS
from shared.redis_server import RedisUnfitError, check, open_client
from shared.redis_settings import RedisOptions

log = logging.getLogger(__name__)

T = TypeVar("T")

SCHEMA_VERSION = 1
MOST_CHANGES = 1000
"""Changes read at once; a vector of 384 dimensions is 1.6 KB."""
_SCANNED_AT_ONCE = 1000
_RETRY_AFTER_S = 1.0
_OTHER_LIBRARY = "OTHERLIBRARY"
_SCRIPTS = ("put_items", "delete_items", "put_vectors", "put_counts", "forget_counts", "changes")


@dataclass(slots=True)
class _Opened:
    """A connection to the library with this id."""

    client: Redis
    scripts: Mapping[str, Script]
    library_id: str
    known: int
    """The revision up to which the caller has been told of changes."""
    all_known_at: int
    """The latest revision at which there was no other change to tell."""


class RedisStore:
    """See LibraryStore. `ids`: gives a new library its id."""

    def __init__(self, options: RedisOptions, ids: IdSource) -> None:
        self._options = options
        self._ids = ids
        self._opened: _Opened | None = None

    def open(self) -> None:
        """See LibraryStore."""
        try:
            check(self._options)
        except RedisUnfitError as error:
            raise StoreOpenError(str(error)) from error
        client = open_client(self._options)
        # A second attempt is for a connection that has gone stale; every script may be run twice.
        client.set_retry(Retry(NoBackoff(), 1))
        try:
            self._opened = self._found(client)
        except RedisError as error:
            client.close()
            raise StoreOpenError(f"cannot use the Redis at {self._options.url} ({type(error).__name__})") from error
        except StoreOpenError:
            client.close()
            raise

    def _found(self, client: Redis) -> _Opened:
        open_ = client.register_script(_text("open"))
        schema, library_id, revision = open_([self._options.key_prefix], [self._ids(), SCHEMA_VERSION])
        where = f"{self._options.key_prefix}* at {self._options.url}"
        if schema is None:
            raise StoreOpenError(f"the keys {where} are not a library; name another prefix")
        if int(schema) > SCHEMA_VERSION:
            known = f"this program knows up to {SCHEMA_VERSION}"
            raise StoreOpenError(f"{where} has schema version {int(schema)}, {known}; run a newer one")
        scripts = {name: client.register_script(_script(name)) for name in _SCRIPTS}
        return _Opened(client, scripts, library_id.decode(), int(revision), int(revision))

    def close(self) -> None:
        """Ends the connection; may be called twice."""
        if self._opened is not None:
            self._opened.client.close()
            self._opened = None

    def items(self) -> list[Item]:
        """See LibraryStore."""
        return self._all("items", _item)

    def vectors(self) -> list[StoredVector]:
        """See LibraryStore."""
        return self._all("vectors", vector_from_bytes)

    def tallies(self) -> list[tuple[str, Tally]]:
        """See LibraryStore."""
        return self._all("tallies", lambda item_id, value: (item_id, tally_from_text(value)))

    def _all(self, key: str, decode: Callable[[str, bytes], T]) -> list[T]:
        """A whole hash by item id. What others change meanwhile comes as it was before or after; see `changes`."""
        found: dict[str, T] = {}
        with _translated():
            for name, value in self._open.client.hscan_iter(self._options.key_prefix + key, count=_SCANNED_AT_ONCE):
                item_id = name.decode()
                found[item_id] = decode(item_id, value)
        return [found[item_id] for item_id in sorted(found)]

    def progress(self) -> Progress:
        """See LibraryStore."""
        with _translated():
            about = self._options.key_prefix + "about"
            cursor, counted, generation = self._open.client.hmget(about, ["cursor", "counted", "generation"])
        return _progress(cursor, counted, generation)

    def put_items(self, items: Sequence[Item]) -> None:
        """See LibraryStore."""
        self._write("put_items", [text for item in items for text in (item.item_id, _value(item))])

    def delete_items(self, item_ids: Sequence[str]) -> None:
        """See LibraryStore."""
        self._write("delete_items", item_ids)

    def put_vectors(self, vectors: Sequence[StoredVector]) -> None:
        """See LibraryStore."""
        self._write("put_vectors", [part for v in vectors for part in (v.item_id, v.revision, vector_to_bytes(v))])

    def put_counts(
        self, tallies: Mapping[str, Tally], progress: Progress, after: Progress, faded: Collection[str] = ()
    ) -> None:
        """See LibraryStore."""
        sums = [text for item_id, tally in tallies.items() for text in (item_id, tally_to_text(tally))]
        now = (after.cursor, after.counted, after.generation)
        self._write("put_counts", [*now, progress.cursor, progress.counted, len(tallies), *sums, *faded])

    def forget_counts(self, after: Progress) -> Progress:
        """See LibraryStore."""
        self._write("forget_counts", [after.cursor, after.counted, after.generation])
        return Progress(generation=after.generation + 1)

    def changes(self) -> Changes | None:
        """See LibraryStore."""
        opened = self._open
        answer = self._run("changes", [opened.all_known_at, MOST_CHANGES])
        if answer is None:
            return None
        up_to, present, *progress = answer[:5]
        changes = _changes(_progress(*progress), answer[5::2], answer[6::2])
        opened.known = up_to
        if up_to == present:
            opened.all_known_at = present
        return changes

    def _write(self, script: str, arguments: Sequence[str | int | bytes]) -> None:
        """Runs a script that changes something; what nobody else has come between with need not be told again."""
        opened = self._open
        written = self._run(script, arguments)
        if written is None:
            raise CountsMovedError
        before, after = written
        if before == opened.known:
            opened.known = opened.all_known_at = after

    def _run(self, script: str, arguments: Sequence[str | int | bytes]) -> Any:
        opened = self._open
        with _translated():
            return opened.scripts[script]([self._options.key_prefix], [opened.library_id, opened.known, *arguments])

    @property
    def _open(self) -> _Opened:
        if self._opened is None:
            raise ServiceError(Reason.NOT_READY, "the library is not open", retry_after_s=1.0)
        return self._opened


def _changes(progress: Progress, members: Sequence[bytes], values: Sequence[bytes | None]) -> Changes:
    """What changes.lua answers, by kind; the value of what has gone is None."""
    found: dict[str, dict[str, bytes | None]] = {"i": {}, "v": {}, "t": {}}
    for member, value in zip(members, values, strict=True):
        kind, _, item_id = member.decode().partition(":")
        found[kind][item_id] = value
    items, vectors, tallies = found["i"], found["v"], found["t"]
    return Changes(
        items=[_item(item_id, value) for item_id, value in items.items() if value is not None],
        deleted=[item_id for item_id, value in items.items() if value is None],
        vectors=[vector_from_bytes(item_id, value) for item_id, value in vectors.items() if value is not None],
        tallies={item_id: tally_from_text(value) for item_id, value in tallies.items() if value is not None},
        faded=[item_id for item_id, value in tallies.items() if value is None],
        progress=progress,
    )


def _value(item: Item) -> str:
    """An item as it is kept: before its fields stands its text's fingerprint, which put_vectors.lua compares."""
    return f"{item.revision} {item_to_json(item)}"


def _item(item_id: str, value: bytes) -> Item:
    return item_from_json(item_id, value.partition(b" ")[2])


def _progress(cursor: Any, counted: Any, generation: Any) -> Progress:
    return Progress(cursor.decode(), int(counted), int(generation))


def _text(name: str) -> str:
    return (files("services.retrieval") / "redis_scripts" / f"{name}.lua").read_text("utf-8")


def _script(name: str) -> str:
    """A script with what all have in common after its first line, which says how the server is to run it."""
    first, _, rest = _text(name).partition("\n")
    return f"{first}\n{_text('library')}{rest}"


@contextmanager
def _translated() -> Iterator[None]:
    """Errors of Redis as those of a store."""
    try:
        yield
    except RedisError as error:
        log.warning("the Redis of the library failed", extra={FIELDS: {"error": type(error).__name__}})
        if isinstance(error, ResponseError) and _OTHER_LIBRARY in str(error):
            message = "the library in Redis is not the one that was loaded; restart this replica to load it"
        else:
            message = "the library's Redis did not confirm; sending the same again is safe"
        raise ServiceError(Reason.STORE_UNAVAILABLE, message, retry_after_s=_RETRY_AFTER_S) from error
