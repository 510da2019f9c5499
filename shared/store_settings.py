"""What a service that keeps data is told of where: in a SQLite file of its own, or in a Redis."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from shared.settings import REDIS_URL, ServiceSettings


class StoreSettings(ServiceSettings):
    """Where a service keeps its data: in a file of its own, or in a Redis that its replicas share."""

    store: Literal["sqlite", "redis"] = Field(
        "sqlite", description="Where data is kept: in a file of this process, or in a Redis that replicas share"
    )
    database: Path = Field(description="SQLite file of the store; made with its folder when there is none")
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        pattern=REDIS_URL,
        description="The Redis of the store: redis://host:port/database, rediss:// for TLS, or unix:///path",
    )
    redis_username: str = Field("", description="User at the Redis; empty = its default user")
    redis_password: SecretStr = Field(SecretStr(""), description="Password at the Redis; empty = none")
    redis_tls_ca: Path | None = Field(
        None, description="PEM certificates that sign the Redis; set = TLS to it, also with redis://"
    )
    redis_tls_certificate: Path | None = Field(None, description="PEM certificate shown to the Redis")
    redis_tls_key: Path | None = Field(None, description="PEM private key of that certificate")
    redis_key_prefix: str = Field(
        "homepage:", min_length=1, description="What the names of all keys at the Redis begin with"
    )
    redis_timeout_s: float = Field(
        2.0,
        ge=0.05,
        le=60,
        description="Time limit of an attempt to connect to the Redis or to get an answer, of which there may be two, "
        "in seconds",
    )
    redis_wait_s: float = Field(
        60.0,
        ge=0,
        le=3600,
        description="How long a start waits for a Redis that is not there yet or still loads its data, in seconds",
    )
    redis_must_be_durable: bool = Field(
        True,
        description="End the start unless the Redis flushes each write to disk before it acknowledges it "
        "(appendonly yes, appendfsync always, no-appendfsync-on-rewrite no); false = its operator sees to that",
    )

    @model_validator(mode="after")
    def _whole_set_of_files(self) -> Self:
        if (self.redis_tls_certificate is None) != (self.redis_tls_key is None):
            raise ValueError("REDIS_TLS_CERTIFICATE and REDIS_TLS_KEY go together: set both, or none")
        encrypted = self.redis_tls_ca is not None or self.redis_url.startswith("rediss://")
        if self.redis_tls_certificate is not None and not encrypted:
            raise ValueError("REDIS_TLS_CERTIFICATE is shown over TLS only: set REDIS_TLS_CA too, or rediss://")
        if self.redis_tls_ca is not None and self.redis_url.startswith("unix://"):
            raise ValueError("REDIS_TLS_CA is for redis:// and rediss://: a unix:// socket has no TLS")
        return self

    @property
    def store_at(self) -> str:
        """Where the data is, in words for a log."""
        return self.redis_url if self.store == "redis" else str(self.database)

    def redis_options(self, store: str) -> "RedisOptions":
        """For the store of that name, which gets a part of the key space of its own."""
        return RedisOptions(
            self.redis_url,
            f"{self.redis_key_prefix}{store}:",
            self.redis_username,
            self.redis_password.get_secret_value(),
            self.redis_timeout_s,
            self.redis_wait_s,
            self.redis_must_be_durable,
            self.redis_tls_ca,
            self.redis_tls_certificate,
            self.redis_tls_key,
        )


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """How a store uses its Redis; see StoreSettings."""

    url: str
    key_prefix: str
    username: str = ""
    password: str = ""
    timeout_s: float = 2.0
    wait_s: float = 0.0
    must_be_durable: bool = True
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
