"""What the profile service can be told, by variables that begin with HOMEPAGE_PROFILE_."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import AdminListen, Listen, MetricsListen
from shared.store_settings import StoreSettings

_DAY_S = 86_400.0


class ProfileSettings(StoreSettings):
    """Settings of every service, and those of the store and of interests."""

    model_config = SettingsConfigDict(env_prefix="HOMEPAGE_PROFILE_", extra="ignore", frozen=True)

    listen: Listen = "127.0.0.1:50052"
    admin_listen: AdminListen = "127.0.0.1:50062"
    metrics_listen: MetricsListen = "127.0.0.1:9462"
    database: Path = Field(
        Path("homepage-data/profile.db"),
        description="SQLite file of profiles and the event log; made with its folder when there is none",
    )
    read_threads: int = Field(4, ge=1, le=64, description="Threads that read the database")
    redis_connections: int = Field(16, ge=2, le=1000, description="Connections to the Redis; more calls wait for one")
    busy_timeout_s: float = Field(
        1.0, ge=0, le=60, description="How long to wait for another process that holds the database, in seconds"
    )
    short_half_life_s: float = Field(
        _DAY_S,
        ge=60,
        le=3650 * _DAY_S,
        description="Time after which an event counts half for short-term interests, in seconds; "
        "a change sums up the log anew: all of it at the next start, or in Redis a user's when next read",
    )
    long_half_life_s: float = Field(
        30 * _DAY_S,
        ge=60,
        le=3650 * _DAY_S,
        description="Time after which an event counts half for long-term interests, in seconds; "
        "a change sums up the log anew: all of it at the next start, or in Redis a user's when next read",
    )
