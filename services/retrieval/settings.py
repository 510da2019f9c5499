"""Settings of the retrieval service."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.settings import AdminListen, Listen, MetricsListen
from shared.store_settings import StoreSettings


class RetrievalSettings(StoreSettings):
    """What the retrieval service can be told."""

    model_config = SettingsConfigDict(env_prefix="HOMEPAGE_RETRIEVAL_", extra="ignore", frozen=True)

    listen: Listen = "127.0.0.1:50053"
    admin_listen: AdminListen = "127.0.0.1:50063"
    metrics_listen: MetricsListen = "127.0.0.1:9463"
    database: Path = Field(
        Path("homepage-data/retrieval.db"), description="SQLite file of the library; made with its folder when missing"
    )
    follow_interval_s: float = Field(
        0.5,
        ge=0.01,
        le=60,
        description="How often a replica looks for changes that others made at their Redis, in seconds",
    )
    ranker_address: str = Field(
        "127.0.0.1:50054", min_length=1, description="Address of the ranker, which embeds the items' texts"
    )
    profile_address: str = Field(
        "127.0.0.1:50052", min_length=1, description="Address of the profile service, whose events make popularity"
    )
    popularity_half_life_s: float = Field(
        172_800.0, ge=60, le=31_536_000, description="Age at which an act counts half for popularity, in seconds"
    )
    freshness_half_life_s: float = Field(
        172_800.0, ge=60, le=31_536_000, description="Age at which an item is half as fresh, in seconds"
    )
    event_poll_interval_s: float = Field(
        1.0, ge=0.01, le=3600, description="Pause between two looks at the event log, in seconds"
    )
    event_page_size: int = Field(1000, ge=1, le=5000, description="Events counted in one transaction")
    embed_batch_size: int = Field(64, ge=1, le=256, description="Items embedded by one call")
    version_check_interval_s: float = Field(
        60.0,
        ge=0.1,
        le=86_400,
        description="How often an idle service asks whether the embedding model has changed, in seconds",
    )
    upstream_timeout_s: float = Field(
        30.0, gt=0, le=600, description="Time limit of a call for vectors or events, in seconds"
    )
    retry_least_s: float = Field(
        0.2, ge=0.01, le=60, description="First pause after a call for vectors or events has failed, in seconds"
    )
    retry_most_s: float = Field(5.0, ge=0.01, le=3600, description="Longest such pause, in seconds")
    search_threads: int = Field(4, ge=1, le=256, description="Threads that answer reads")
    graph_threads: int = Field(1, ge=1, le=256, description="Threads that build the index's graph in the background")
