"""Profiles and the event log in a Redis, for services of several replicas.

Keys, after the prefix: `about` (the log's id and its newest sequence number); `log`, a stream whose ids are sequence
numbers, with pseudonym and key of each entry; for each user `user:` by name (pseudonym, version, counts of actions),
and by pseudonym `entries:` (payloads by key: kind and id), `events:` (keys by time), `interests:` and `hidden:`. So a
user's name stands in one place only. What must be one step is a script.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, cast

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import OutOfMemoryError, RedisError

from services.profile.cursor import bad_cursor
from services.profile.events import Entry, Event, Kind
from services.profile.grouped_writes import Batch, GroupedWrites
from services.profile.interests import HalfLives, Interest, added
from services.profile.payloads import event_of
from services.profile.redis_entries import pairs, rule, script, to_arguments, to_interest, to_sums
from services.profile.store import MOST_HIDDEN, ActionCount, LogPage, LogQuery, Recorded, StoredProfile, StoreOpenError
from services.profile.stretch import Stretch
from shared.action import Action
from shared.clock import Clock
from shared.errors import Reason, ServiceError
from shared.ids import IdSource
from shared.logs import FIELDS
from shared.redis_server import RedisUnfitError, connection_arguments, until_fit
from shared.store_settings import RedisOptions

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
_ALL = -1
_CHUNK = 250
"""Entries of the log read at once."""
_LARGE_BATCH = 100
"""From so many entries on a batch is made ready in a thread: 1000 would hold up all other calls for 14 ms."""
_RETRY_AFTER_S = 1.0
_COUNT = "action:"
_TRIAL = "trial"


@dataclass(frozen=True, slots=True)
class _Parts:
    """What an open store consists of."""

    client: "redis.Redis"
    record: AsyncScript
    profile: AsyncScript
    stretch: AsyncScript
    interests: AsyncScript
    writes: GroupedWrites


class RedisProfileStore:
    """A ProfileStore in a Redis, on at most `connections` connections; more calls wait for one.

    After a broken connection it is not known whether a batch was written; sent again it is recorded once.
    """

    def __init__(
        self, options: RedisOptions, connections: int, half_lives: HalfLives, clock: Clock, ids: IdSource
    ) -> None:
        self._options = options
        self._connections = connections
        self._half_lives = half_lives
        self._clock = clock
        self._ids = ids
        self._parts: _Parts | None = None

    async def open(self) -> None:
        """See ProfileStore."""
        try:
            await until_fit(self._options)
        except RedisUnfitError as error:
            raise StoreOpenError(str(error)) from error
        parts = self._connected()
        try:
            await self._check_schema(parts.client)
            await self._try()
        except BaseException as error:
            await parts.client.aclose()
            if isinstance(error, RedisError | ServiceError):
                raise StoreOpenError(f"the Redis at {self._options.url} refuses: {error.__cause__ or error}") from error
            raise
        self._parts = parts

    async def record(self, entries: Sequence[Entry]) -> Recorded:
        """See ProfileStore."""
        writes = self._open_parts().writes
        if not entries:
            return Recorded()
        if len(entries) < _LARGE_BATCH:
            arguments = to_arguments(entries, self._ids)
        else:
            arguments = await asyncio.to_thread(to_arguments, entries, self._ids)
        return await writes.write(Batch(arguments, [entry.record.kind is Kind.EVENT for entry in entries]))

    async def profile(self, user: str, most_events: int) -> StoredProfile:
        """See ProfileStore."""
        edition, profile = await self._find(user, most_events)
        if profile.version and edition != self._half_lives.edition:
            profile = await self._summed_up_anew(user)
            profile = replace(profile, recent_events=profile.recent_events[:most_events])
        return profile

    async def log_id(self) -> str:
        """See ProfileStore. Another one after the Redis was emptied."""
        client, about = self._open_parts().client, self._key("about")
        found = await self._asked(client.hget(about, "log_id"))
        if found is None:
            await self._asked(client.hsetnx(about, "log_id", self._ids()))
            found = await self._asked(client.hget(about, "log_id"))
        return str(found.decode())

    async def read_log(self, query: LogQuery) -> LogPage:
        """See ProfileStore."""
        stretch, last = Stretch(query), query.after
        most = min(_CHUNK, query.most_entries + 1)  # one more than wanted tells whether there are more
        while True:
            given = [query.log_id, str(last), str(most)]
            told = await self._asked(self._open_parts().stretch(keys=[self._options.key_prefix], args=given))
            if told is None or last > int(told[0]):
                raise bad_cursor()
            end, rows = int(told[0]), told[1:]
            for row in rows:
                sequence, subject, kind, train, payload = row.split(b" ", 4)
                wanted = payload and (train == b"1" or not query.for_training)
                if wanted and not stretch.take(int(sequence), subject.decode(), Kind(int(kind)), payload):
                    return stretch.cut()
                last = int(sequence)
            if len(rows) < most:
                return stretch.whole(end)

    async def close(self) -> None:
        """See ProfileStore."""
        parts = self._parts
        if parts is not None:
            await parts.writes.close()
            self._parts = None
            await parts.client.aclose()

    def _connected(self) -> _Parts:
        pool = redis.BlockingConnectionPool.from_url(
            max_connections=self._connections,
            timeout=self._options.timeout_s,
            retry=Retry(NoBackoff(), 1),  # for a connection that has gone stale; all scripts may be run twice
            **connection_arguments(self._options),
        )
        client = redis.Redis.from_pool(pool)
        names = ("record", "profile", "stretch", "interests")
        scripts = {name: client.register_script(script(name)) for name in names}
        return _Parts(client, writes=GroupedWrites(self._send), **scripts)

    async def _check_schema(self, client: "redis.Redis") -> None:
        about = self._key("about")
        schema, log_id = await cast(Awaitable[list[Any]], client.hmget(about, ["schema", "log_id"]))
        if int(schema or 0) > SCHEMA_VERSION:
            known = f"this program knows up to {SCHEMA_VERSION}"
            where = f"{self._options.key_prefix}* at {self._options.url}"
            raise StoreOpenError(f"{where} has schema version {int(schema)}, {known}; run a newer one")
        if log_id is None and await client.exists(self._key("log")):
            raise StoreOpenError(f"{about} is gone, though its log is there: restore it, or name another prefix")
        if schema is None:
            await cast(Awaitable[Any], client.hsetnx(about, "schema", str(SCHEMA_VERSION)))

    async def _try(self) -> None:
        """Does all of it once under a prefix of its own: what a user at the Redis may not do must not fail half-way."""
        options = replace(self._options, key_prefix=f"{self._key(_TRIAL)}:{self._ids()}:")
        trial = RedisProfileStore(options, 1, self._half_lives, self._clock, lambda: _TRIAL)
        trial._parts = parts = trial._connected()
        event = Event(_TRIAL, 0.0, Action.HIDE, _TRIAL, category=_TRIAL)
        try:
            await trial.record([Entry(_TRIAL, event)])
            await trial._summed_up_anew(_TRIAL)
            await trial.read_log(LogQuery(await trial.log_id(), 0, 1, 1, for_training=False))
        except ServiceError as error:
            if not isinstance(error.__cause__, OutOfMemoryError):  # a full one can still be read
                raise
        finally:
            kinds = ("user", "entries", "events", "interests", "hidden")
            keys = ("about", "log", *(f"{kind}:{_TRIAL}" for kind in kinds))
            await self._asked(parts.client.delete(*map(trial._key, keys)))
            await trial.close()

    def _key(self, name: str) -> str:
        return self._options.key_prefix + name

    def _open_parts(self) -> _Parts:
        if self._parts is None:
            raise ServiceError(Reason.NOT_READY, "the profile store is not open", retry_after_s=_RETRY_AFTER_S)
        return self._parts

    async def _send(self, arguments: list[str]) -> str:
        given = [self._ids(), repr(self._clock.now()), *rule(self._half_lives), *arguments]
        told: bytes = await self._asked(self._open_parts().record(keys=[self._options.key_prefix], args=given))
        return told.decode()

    async def _find(self, user: str, most_events: int) -> tuple[str, StoredProfile]:
        """The profile as far as it is kept, and the edition of its interests."""
        given = [user, str(most_events), str(MOST_HIDDEN)]
        told = await self._asked(self._open_parts().profile(keys=[self._options.key_prefix], args=given))
        fields, events, interests, hidden = map(json.loads, told)
        of_user = pairs(fields)
        if "version" not in of_user:
            return "", StoredProfile()
        counts = {int(name.removeprefix(_COUNT)): int(n) for name, n in of_user.items() if name.startswith(_COUNT)}
        return of_user["edition"], StoredProfile(
            int(of_user["version"]),
            float(of_user["updated_at"]),
            tuple(event_of(named) for named in events),
            tuple(to_interest(category, sums) for category, sums in pairs(interests).items()),
            tuple(ActionCount(Action(action), counts[action]) for action in sorted(counts)),
            tuple(hidden),
        )

    async def _summed_up_anew(self, user: str) -> StoredProfile:
        """The profile with all its events, its interests by the present rule; kept, unless more came in meanwhile."""
        _, profile = await self._find(user, _ALL)
        interests: dict[str, Interest] = {}
        for event in reversed(profile.recent_events):
            if event.category:
                interests[event.category] = added(interests.get(event.category), event, self._half_lives)
        given = [user, str(profile.version), self._half_lives.edition, *to_sums(interests)]
        with suppress(ServiceError):  # whoever reads next sums up again
            await self._asked(self._open_parts().interests(keys=[self._options.key_prefix], args=given))
        return replace(profile, interests=tuple(interests.values()))

    async def _asked(self, answer: Awaitable[Any]) -> Any:
        """The server's answer; its refusals as ServiceError."""
        try:
            return await answer
        except RedisError as error:
            log.error("store refused", extra={FIELDS: {"redis_error": type(error).__name__}})
            message = "the profile store cannot be used now; what is sent again is recorded once"
            raise ServiceError(Reason.STORE_UNAVAILABLE, message, retry_after_s=_RETRY_AFTER_S) from error
