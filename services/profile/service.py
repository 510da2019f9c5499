"""The profile service as the runtime sees it: the store, and the servicer over it."""

import logging

import grpc
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc

from services.profile.interests import HalfLives
from services.profile.servicer import ProfileServicer
from services.profile.settings import ProfileSettings
from services.profile.sqlite_database import SqliteOptions
from services.profile.sqlite_store import SqliteProfileStore
from services.profile.store import ProfileStore
from shared.logs import FIELDS
from shared.server import Runtime

log = logging.getLogger(__name__)


class ProfileService:
    """Opens the store before calls are taken, closes it after the last one."""

    names: tuple[str, ...] = (profile_pb2.DESCRIPTOR.services_by_name["Profile"].full_name,)

    def __init__(self, runtime: Runtime, settings: ProfileSettings) -> None:
        half_lives = HalfLives(settings.short_half_life_s, settings.long_half_life_s)
        self._settings = settings
        self._store = _store(runtime, settings, half_lives)
        self._servicer = ProfileServicer(self._store, half_lives, runtime.clock, runtime.metrics)

    def register(self, server: grpc.aio.Server) -> None:
        """Adds Profile."""
        profile_pb2_grpc.add_ProfileServicer_to_server(self._servicer, server)

    async def start(self) -> None:
        """Opens the store."""
        await self._store.open()
        log.info("store open", extra={FIELDS: {"store": self._settings.store, "at": self._settings.store_at}})

    async def stop(self) -> None:
        """Writes what waits and closes the store."""
        await self._store.close()


def _store(runtime: Runtime, settings: ProfileSettings, half_lives: HalfLives) -> ProfileStore:
    if settings.store == "redis":
        # Not above: redis-py takes a third of a second to import, and most processes do without.
        from services.profile.redis_store import RedisProfileStore

        options = settings.redis_options("profile")
        return RedisProfileStore(options, settings.redis_connections, half_lives, runtime.clock, runtime.ids)
    file = SqliteOptions(settings.database, settings.read_threads, settings.busy_timeout_s)
    return SqliteProfileStore(file, half_lives, runtime.clock, runtime.ids)
