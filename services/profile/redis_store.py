"""Profiles and the event log in a Redis, for services of several replicas.

Keys, after the prefix: `about` (the log's id and its newest sequence number); `log`, a stream whose ids are sequence
numbers, with pseudonym and key of each entry; for each user `user:` by name (pseudonym, version, counts of actions),
and by pseudonym `entries:` (payloads by key: kind and id), `events:` (keys by time), `interests:` and `hidden:`. So a
user's name stands in one place only. What must be one step is a script.
"""

import json
import logging
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import FullJitterBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from services.profile.cursor import bad_cursor
from services.profile.events import Entry, Kind
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
from shared.redis_settings import RedisOptions

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
_ALL = -1
_CHUNK = 250
"""Entries of the log read at once."""
_RETRIES = 2
_LONGEST_PAUSE_S = 0.2
_RETRY_AFTER_S = 1.0
_OTHER_LOG = "OTHERLOG"
_COUNT = "action:"


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
        self._log_id = ""

    @property
    def log_id(self) -> str:
        """See ProfileStore. Another one when the Redis was emptied meanwhile."""
        self._open_parts()
        return self._log_id

    async def open(self) -> None:
        """See ProfileStore."""
        try:
            await until_fit(self._options)
        except RedisUnfitError as error:
            raise StoreOpenError(str(error)) from error
        client = self._client()
        try:
            await self._find_log(client)
        except (RedisError, StoreOpenError) as error:
            await client.aclose()
            if isinstance(error, StoreOpenError):
                raise
            raise StoreOpenError(f"cannot use the Redis at {self._options.url} ({type(error).__name__})") from error
        names = ("record", "profile", "stretch", "interests")
        scripts = {name: client.register_script(script(name)) for name in names}
        self._parts = _Parts(client, writes=GroupedWrites(self._send), **scripts)

    async def record(self, entries: Sequence[Entry]) -> Recorded:
        """See ProfileStore."""
        writes = self._open_parts().writes
        if not entries:
            return Recorded()
        are_events = [entry.record.kind is Kind.EVENT for entry in entries]
        return await writes.write(Batch(to_arguments(entries, self._ids), are_events))

    async def profile(self, user: str, most_events: int) -> StoredProfile:
        """See ProfileStore."""
        edition, profile = await self._find(user, most_events)
        if profile.version and edition != self._half_lives.edition:
            profile = await self._summed_up_anew(user)
            profile = replace(profile, recent_events=profile.recent_events[:most_events])
        return profile

    async def read_log(self, query: LogQuery) -> LogPage:
        """See ProfileStore."""
        stretch, last = Stretch(query), query.after
        while True:
            end, rows = await self._piece(last)
            if last > end:
                raise bad_cursor()
            for row in rows:
                sequence, subject, kind, train, payload = row.split(b" ", 4)
                wanted = not query.for_training or train == b"1"
                if wanted and not stretch.take(int(sequence), subject.decode(), Kind(int(kind)), payload):
                    return stretch.cut()
                last = int(sequence)
            if len(rows) < _CHUNK:
                return stretch.whole(end)

    async def close(self) -> None:
        """See ProfileStore."""
        parts = self._parts
        if parts is not None:
            await parts.writes.close()
            self._parts = None
            await parts.client.aclose()

    def _client(self) -> "redis.Redis":
        retry = Retry(FullJitterBackoff(_LONGEST_PAUSE_S, _LONGEST_PAUSE_S / 4), _RETRIES)
        pool = redis.BlockingConnectionPool.from_url(
            max_connections=self._connections,
            timeout=self._options.timeout_s,
            retry=retry,
            **connection_arguments(self._options),
        )
        return redis.Redis.from_pool(pool)

    def _key(self, name: str) -> str:
        return self._options.key_prefix + name

    def _open_parts(self) -> _Parts:
        if self._parts is None:
            raise ServiceError(Reason.NOT_READY, "the profile store is not open", retry_after_s=_RETRY_AFTER_S)
        return self._parts

    async def _find_log(self, client: "redis.Redis") -> None:
        """Takes up the log that is there, or begins one."""
        about = self._key("about")
        schema = int(await cast(Awaitable[Any], client.hget(about, "schema")) or SCHEMA_VERSION)
        if schema > SCHEMA_VERSION:
            known = f"this program knows up to {SCHEMA_VERSION}"
            raise StoreOpenError(f"the profiles in the Redis have schema version {schema}, {known}; run a newer one")
        async with client.pipeline(transaction=True) as pipeline:
            pipeline.hsetnx(about, "schema", str(SCHEMA_VERSION))
            pipeline.hsetnx(about, "log_id", self._ids())
            pipeline.hget(about, "log_id")
            self._log_id = (await pipeline.execute())[-1].decode()

    async def _send(self, arguments: list[str]) -> str:
        given = [self._log_id, repr(self._clock.now()), *rule(self._half_lives), *arguments]
        told: bytes = await self._asked(self._open_parts().record(keys=[self._options.key_prefix], args=given))
        return told.decode()

    async def _piece(self, after: int) -> tuple[int, list[bytes]]:
        """The newest sequence number, and at most _CHUNK entries after `after`."""
        given = [self._log_id, str(after), str(_CHUNK)]
        end, *rows = await self._asked(self._open_parts().stretch(keys=[self._options.key_prefix], args=given))
        return int(end), rows

    async def _find(self, user: str, most_events: int) -> tuple[str, StoredProfile]:
        """The profile as far as it is kept, and the edition of its interests."""
        given = [self._log_id, user, str(most_events), str(MOST_HIDDEN)]
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
        await self._asked(self._open_parts().interests(keys=[self._options.key_prefix], args=given))
        return replace(profile, interests=tuple(interests.values()))

    async def _asked(self, answer: Awaitable[Any]) -> Any:
        """The server's answer; its refusals as ServiceError."""
        try:
            return await answer
        except RedisError as error:
            if str(error).startswith(_OTHER_LOG):
                raise await self._other_log() from error
            raise _unavailable(error) from error

    async def _other_log(self) -> ServiceError:
        """The Redis was emptied, or is another one: what is recorded from now on is a new log."""
        log.error("the event log in the Redis is gone: another one begins")
        try:
            await self._find_log(self._open_parts().client)
        except RedisError as error:
            return _unavailable(error)
        message = "the event log was another one; nothing was written, send it again"
        return ServiceError(Reason.STORE_UNAVAILABLE, message, retry_after_s=_RETRY_AFTER_S)


def _unavailable(error: RedisError) -> ServiceError:
    log.error("store refused", extra={FIELDS: {"redis_error": type(error).__name__}})
    message = "the profile store cannot be used now; what is sent again is recorded once"
    return ServiceError(Reason.STORE_UNAVAILABLE, message, retry_after_s=_RETRY_AFTER_S)
