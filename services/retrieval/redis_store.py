"""The library in a Redis, for services of several replicas: each holds all of it in memory and follows the changes.

Keys, after the prefix: `about` (schema, the library's id, the revision of its latest change, progress of counting),
`items`, `vectors` and `tallies` (hashes by item id), `changed` and `gone` (see redis_scripts/library.lua). Every change
is one script, which the server runs as one step or refuses as a whole, and which changes nothing unless the revision is
the one that the caller knows: a change that arrives late, or twice, cannot undo what came after it.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, TypeVar

import numpy as np
from redis import Redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
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
from services.retrieval.store import (
    Changes,
    Progress,
    StoredVector,
    StoreMovedError,
    StoreOpenError,
    StoreReplacedError,
    Tally,
)
from shared.errors import Reason, ServiceError
from shared.ids import IdSource
from shared.logs import FIELDS
from shared.redis_server import RedisUnfitError, check, open_client
from shared.store_settings import RedisOptions

log = logging.getLogger(__name__)

T = TypeVar("T")

SCHEMA_VERSION = 1
MOST_CHANGES = 1000
"""Changes read at once; a vector of 384 dimensions is 1.6 KB."""
_SCANNED_AT_ONCE = 1000
_RETRY_AFTER_S = 1.0
_OTHER_LIBRARY = "OTHERLIBRARY "
_TRIAL = "trial"
_SCRIPTS = ("put_items", "delete_items", "put_vectors", "put_counts", "forget_counts", "progress", "changes")
_KEYS = ("about", "items", "vectors", "tallies", "changed", "gone")


@dataclass(slots=True)
class _Opened:
    """A connection to the library with this id, on the server with this run_id."""

    client: Redis
    scripts: Mapping[str, Script]
    library_id: str
    run_id: str
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
        self._failing: set[str] = set()

    def open(self) -> None:
        """See LibraryStore."""
        try:
            check(self._options)
        except RedisUnfitError as error:
            raise StoreOpenError(str(error)) from error
        client = open_client(self._options)
        client.set_retry(Retry(NoBackoff(), 0))  # whoever calls tries again
        try:
            self._try(client)
            self._opened = self._found(client)
        except BaseException as error:
            client.close()
            if isinstance(error, RedisError | ServiceError | StoreReplacedError):
                raise StoreOpenError(f"the Redis at {self._options.url} refuses: {error.__cause__ or error}") from error
            raise

    def _found(self, client: Redis) -> _Opened:
        open_ = client.register_script(_text("open"))
        run_id, schema, library_id, revision = open_([self._options.key_prefix], [self._ids(), SCHEMA_VERSION])
        where = f"{self._options.key_prefix}* at {self._options.url}"
        if schema is None:
            raise StoreOpenError(f"the keys {where} are not a library; name another prefix")
        if int(schema) > SCHEMA_VERSION:
            known = f"this program knows up to {SCHEMA_VERSION}"
            raise StoreOpenError(f"{where} has schema version {int(schema)}, {known}; run a newer one")
        scripts = {name: client.register_script(_script(name)) for name in _SCRIPTS}
        return _Opened(client, scripts, library_id.decode(), run_id.decode(), int(revision), int(revision))

    def _try(self, client: Redis) -> None:
        """Does all of it once under a prefix of its own: what a user at the Redis may not do must not fail half-way."""
        options = replace(self._options, key_prefix=f"{self._options.key_prefix}{_TRIAL}:{self._ids()}:")
        writer, reader = RedisStore(options, self._ids), RedisStore(options, self._ids)
        item = Item(_TRIAL, _TRIAL)
        try:
            writer._opened, reader._opened = writer._found(client), reader._found(client)
            writer.put_items([item])
            writer.put_vectors([StoredVector(_TRIAL, item.revision, _TRIAL, np.ones(1, np.float32))])
            writer.put_counts({_TRIAL: Tally(1.0, 0.0)}, Progress(_TRIAL, 1))
            reader.changes()
            writer.forget_counts()
            writer.delete_items([_TRIAL])
        except ServiceError as error:
            if not isinstance(error.__cause__, OutOfMemoryError):  # a full one can be read, and deleting makes room
                raise
        finally:
            with suppress(RedisError):
                client.unlink(*(options.key_prefix + key for key in _KEYS))

    def close(self) -> None:
        """Ends the connection; may be called twice."""
        if self._opened is not None:
            self._opened.client.close()
            self._opened = None

    def items(self) -> list[Item]:
        """See LibraryStore."""
        return self._all("items", item_from_json)

    def vectors(self) -> list[StoredVector]:
        """See LibraryStore."""
        return self._all("vectors", vector_from_bytes)

    def tallies(self) -> list[tuple[str, Tally]]:
        """See LibraryStore."""
        return self._all("tallies", lambda item_id, value: (item_id, tally_from_text(value)))

    def _all(self, key: str, decode: Callable[[str, bytes], T]) -> list[T]:
        """A whole hash by item id. What others change meanwhile comes as it was before or after; see `changes`."""
        found: dict[str, T] = {}
        with self._translated("load"):
            for name, value in self._open.client.hscan_iter(self._options.key_prefix + key, count=_SCANNED_AT_ONCE):
                item_id = name.decode()
                found[item_id] = decode(item_id, value)
        return [found[item_id] for item_id in sorted(found)]

    def progress(self) -> Progress:
        """See LibraryStore."""
        return _progress(*self._run("progress", []))

    def put_items(self, items: Sequence[Item]) -> None:
        """See LibraryStore."""
        self._write("put_items", [text for item in items for text in (item.item_id, item_to_json(item))])

    def delete_items(self, item_ids: Sequence[str]) -> None:
        """See LibraryStore."""
        self._write("delete_items", item_ids)

    def put_vectors(self, vectors: Sequence[StoredVector]) -> None:
        """See LibraryStore."""
        self._write("put_vectors", [part for v in vectors for part in (v.item_id, vector_to_bytes(v))])

    def put_counts(self, tallies: Mapping[str, Tally], progress: Progress, faded: Collection[str] = ()) -> None:
        """See LibraryStore."""
        sums = [text for item_id, tally in tallies.items() for text in (item_id, tally_to_text(tally))]
        self._write("put_counts", [progress.cursor, progress.counted, len(tallies), *sums, *faded])

    def forget_counts(self) -> Progress:
        """See LibraryStore."""
        [generation] = self._write("forget_counts", [])
        return Progress(generation=generation)

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

    def _write(self, script: str, arguments: Sequence[str | int | bytes]) -> list[Any]:
        """Runs a script that changes something, and need not be told of that again; returns what else it answers."""
        answer = self._run(script, arguments)
        if answer is None:
            raise StoreMovedError
        opened = self._open
        opened.known = opened.all_known_at = answer[0]
        return list(answer[1:])

    def _run(self, script: str, arguments: Sequence[str | int | bytes]) -> Any:
        opened = self._open
        known = (opened.library_id, opened.run_id, opened.known)
        with self._translated(script):
            try:
                return opened.scripts[script]([self._options.key_prefix], [*known, *arguments])
            except ResponseError as error:
                if not str(error).startswith(_OTHER_LIBRARY):
                    raise
                self._opened = self._found(opened.client)
                raise StoreReplacedError(str(error).removeprefix(_OTHER_LIBRARY)) from error

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        """Errors of Redis as those of a store. The log has when they begin and when they have ended."""
        fields = {"doing": doing}
        try:
            yield
        except (RedisError, StoreOpenError) as error:
            if doing not in self._failing:
                log.warning("the Redis of the library failed", extra={FIELDS: {**fields, "error": _name(error)}})
            self._failing.add(doing)
            message = "the library's Redis did not confirm; sending the same again is safe"
            raise ServiceError(Reason.STORE_UNAVAILABLE, message, retry_after_s=_RETRY_AFTER_S) from error
        if doing in self._failing:
            log.info("the Redis of the library works again", extra={FIELDS: fields})
        self._failing.discard(doing)

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
        items=[item_from_json(item_id, value) for item_id, value in items.items() if value is not None],
        deleted=[item_id for item_id, value in items.items() if value is None],
        vectors=[vector_from_bytes(item_id, value) for item_id, value in vectors.items() if value is not None],
        tallies={item_id: tally_from_text(value) for item_id, value in tallies.items() if value is not None},
        faded=[item_id for item_id, value in tallies.items() if value is None],
        progress=progress,
    )


def _name(error: Exception) -> str:
    return str(error) if isinstance(error, StoreOpenError) else type(error).__name__


def _progress(cursor: Any, counted: Any, generation: Any) -> Progress:
    return Progress(cursor.decode(), int(counted), int(generation))


def _text(name: str) -> str:
    return (files("services.retrieval") / "redis_scripts" / f"{name}.lua").read_text("utf-8")


def _script(name: str) -> str:
    """A script with what all have in common after its first line, which says how the server is to run it."""
    first, _, rest = _text(name).partition("\n")
    return f"{first}\n{_text('library')}{rest}"
