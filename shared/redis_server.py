"""A Redis server as stores use it: how it is reached, and whether it keeps what it acknowledges.

A service starts with `until_fit`, which refuses a server that may lose or evict data, so that this is found out at the
start and not by the loss.
"""

import asyncio
import logging
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any

from redis import Redis, exceptions

from shared.logs import FIELDS
from shared.start import StartError
from shared.store_settings import RedisOptions

log = logging.getLogger(__name__)

_ASKED_EVERY_S = 1.0
LEAST_VERSION = (7, 0)
"""From here on a script is refused as a whole where it may not write: for want of memory, or on a replica."""


class RedisUnfitError(StartError):
    """The Redis cannot be used; the text says what to change."""


class RedisAwayError(RedisUnfitError):
    """It cannot be reached, or does not answer yet."""


def connection_arguments(options: RedisOptions) -> dict[str, Any]:
    """Arguments of redis-py's from_url."""
    arguments: dict[str, Any] = {
        "url": options.url,
        "username": options.username or None,
        "password": options.password or None,
        "socket_timeout": options.timeout_s,
        "socket_connect_timeout": options.timeout_s,
    }
    if options.tls_ca is not None:
        arguments |= {"url": options.url.replace("redis://", "rediss://", 1), "ssl_ca_certs": str(options.tls_ca)}
    encrypted = arguments["url"].startswith("rediss://")
    if encrypted and options.tls_certificate is not None and options.tls_key is not None:
        arguments |= {"ssl_certfile": str(options.tls_certificate), "ssl_keyfile": str(options.tls_key)}
    if encrypted:
        arguments["ssl_check_hostname"] = True  # not so by itself before redis-py 6
    return arguments


def open_client(options: RedisOptions) -> Redis:
    """A client for threads."""
    return Redis.from_url(**connection_arguments(options))


async def until_fit(options: RedisOptions) -> None:
    """As `check`, but waits up to `options.wait_s` for a server that is away: services and Redis may start together."""
    ends = time.monotonic() + options.wait_s
    waiting = False
    while True:
        try:
            return await asyncio.to_thread(check, options)
        except RedisAwayError:
            if time.monotonic() >= ends:
                raise
            if not waiting:
                log.warning("waiting for the Redis", extra={FIELDS: {"url": options.url}})
            waiting = True
        await asyncio.sleep(_ASKED_EVERY_S)


def check(options: RedisOptions) -> None:
    """Asks the server what it is and how it keeps data.

    Raises:
        RedisAwayError: it cannot be reached, or is loading.
        RedisUnfitError: it is too old, a cluster's, not durable, or may evict keys; or files for TLS cannot be read.
    """
    for path in filter(None, (options.tls_ca, options.tls_certificate, options.tls_key)):
        if not os.access(path, os.R_OK):
            raise RedisUnfitError(f"cannot read {path}, which is to be used for TLS to the Redis")
    with open_client(options) as client:
        try:
            info: Mapping[str, Any] = client.info("everything")
            config = _config(client) if options.must_be_durable else {}
        except exceptions.AuthenticationError:
            raise RedisUnfitError(f"{options.url} refuses this user or password") from None
        except (exceptions.RedisError, OSError) as error:
            raise _refusal(options.url, error) from error
    if found := objections(info, config, must_be_durable=options.must_be_durable):
        raise RedisUnfitError(f"the Redis at {options.url} will not do: " + "; ".join(found))


def _refusal(url: str, error: Exception) -> RedisUnfitError:
    """What may pass by itself is told from what will not."""
    of_tls = [each for each in _with_causes(error) if isinstance(each, ssl.SSLError)]
    if of_tls:
        return RedisUnfitError(
            f"cannot speak TLS with the Redis at {url} ({of_tls[-1].reason or 'it closed the connection'})"
        )
    if isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError):
        return RedisAwayError(f"cannot reach the Redis at {url} ({type(error).__name__})")
    return RedisUnfitError(f"the Redis at {url} refuses INFO: {error}")


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def objections(info: Mapping[str, Any], config: Mapping[str, str] | None, *, must_be_durable: bool) -> list[str]:
    """What speaks against a server, by its INFO and its CONFIG (None: it does not tell)."""
    found = []
    if tuple(int(part) for part in str(info["redis_version"]).split(".")[:2]) < LEAST_VERSION:
        found.append(f"it is version {info['redis_version']}, and 7.0 is the first that serves")
    if info.get("cluster_enabled"):
        found.append("it is part of a Redis Cluster, and a store lies on one server (which may have replicas)")
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy.startswith("allkeys"):
        found.append(f"maxmemory-policy {policy} throws data away when memory is full: set noeviction")
    if must_be_durable:
        found += _lack_of_durability(config)
    return found


def _lack_of_durability(config: Mapping[str, str] | None) -> list[str]:
    if config is None:
        return [
            "it does not tell whether it flushes writes to disk (CONFIG GET is refused): "
            "where its operator sees to that, set …_REDIS_MUST_BE_DURABLE=false"
        ]
    wanted = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}
    return [
        f"{name} is {config.get(name)}, and only with {value} is on disk what it acknowledges"
        for name, value in wanted.items()
        if config.get(name) != value
    ]


def _config(client: Redis) -> Mapping[str, str] | None:
    try:
        return {str(name): str(value) for name, value in client.config_get("*append*").items()}
    except exceptions.AuthenticationError:
        raise
    except exceptions.ResponseError:
        return None
