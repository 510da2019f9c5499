"""What is asked of a Redis before a store uses it, and how it is reached."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError

from shared.redis_server import RedisAwayError, RedisUnfitError, check, objections, open_client, until_fit
from shared.settings import SettingsError, load
from shared.store_settings import RedisOptions, StoreSettings
from tests.redis_server import RedisServer, require_redis, running_redis
from tests.shared.certificates import Authority

INFO = {"redis_version": "7.4.1", "cluster_enabled": 0, "maxmemory_policy": "noeviction"}
DURABLE = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}


def options(server: RedisServer, **fields: Any) -> RedisOptions:
    return RedisOptions(**{"url": server.url, "key_prefix": "x:", "timeout_s": 5.0, **fields})


def test_a_durable_server_is_fit(redis_server: RedisServer) -> None:
    check(options(redis_server))


@pytest.mark.parametrize(
    ("info", "config", "objection"),
    [
        ({"redis_version": "6.2.14"}, DURABLE, "it is version 6.2.14"),
        ({"cluster_enabled": 1}, DURABLE, "part of a Redis Cluster"),
        ({"maxmemory_policy": "allkeys-lru"}, DURABLE, "set noeviction"),
        ({}, {**DURABLE, "appendonly": "no"}, "appendonly is no, and only with yes"),
        ({}, {**DURABLE, "appendfsync": "everysec"}, "appendfsync is everysec, and only with always"),
        ({}, {**DURABLE, "no-appendfsync-on-rewrite": "yes"}, "no-appendfsync-on-rewrite is yes, and only with no"),
        ({}, None, "…_REDIS_MUST_BE_DURABLE=false"),
    ],
)
def test_what_speaks_against_a_server_is_told_with_what_to_change(
    info: dict[str, Any], config: dict[str, str] | None, objection: str
) -> None:
    (found,) = objections({**INFO, **info}, config, must_be_durable=True)
    assert objection in found


def test_a_user_who_may_not_ask_what_the_server_is_is_told_so(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        with server.client() as client:
            client.acl_setuser("app", enabled=True, passwords=["+p"], categories=["+@all"], commands=["-info"])
        with pytest.raises(RedisUnfitError, match="refuses INFO"):
            check(options(server, username="app", password="p"))


@pytest.mark.parametrize("url", ["redis://r", "redis://r:6379/2", "rediss://[::1]:6380/0", "unix:///run/redis.sock"])
def test_urls_as_they_are_written(url: str) -> None:
    assert load(StoreSettings, {"DATABASE": "x.db", "REDIS_URL": url}).redis_url == url


def test_a_server_whose_operator_sees_to_durability_is_not_asked_for_it() -> None:
    assert objections(INFO, None, must_be_durable=False) == []


def test_a_wrong_password_is_told_without_showing_it(tmp_path: Path) -> None:
    with running_redis(tmp_path, requirepass="right-4711") as server:
        check(options(server, password="right-4711"))
        check(options(server, username="default", password="right-4711"))
        for password in ("", "wrong-0815"):
            with pytest.raises(RedisUnfitError) as raised:
                check(options(server, password=password))
            assert "refuses this user or password" in str(raised.value)
            assert "0815" not in str(raised.value)


def test_a_user_who_may_not_read_the_configuration_is_told_so(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        with server.client() as client:
            client.acl_setuser("app", enabled=True, passwords=["+p"], categories=["+@all"], commands=["-config"])
        with pytest.raises(RedisUnfitError, match="CONFIG GET is refused"):
            check(options(server, username="app", password="p"))
        check(options(server, username="app", password="p", must_be_durable=False))


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RedisAwayError, match=r"cannot reach the Redis at unix:.*nowhere \(ConnectionError\)"):
        check(RedisOptions(f"unix://{tmp_path}/nowhere", "x:"))


async def test_a_start_waits_for_a_server_that_comes_up_later(tmp_path: Path) -> None:
    require_redis()
    server = RedisServer(tmp_path)
    waiting = asyncio.create_task(until_fit(options(server, wait_s=60.0)))
    await asyncio.sleep(0)
    try:
        await asyncio.to_thread(server.start)
        await asyncio.wait_for(waiting, 30)
    finally:
        server.kill()
    with pytest.raises(RedisAwayError):
        await until_fit(options(server, wait_s=0.0))


async def test_a_start_does_not_wait_for_a_server_that_will_not_do(tmp_path: Path) -> None:
    with running_redis(tmp_path, appendonly="no") as server, pytest.raises(RedisUnfitError, match="appendonly"):
        await asyncio.wait_for(until_fit(options(server, wait_s=60.0)), 30)


def test_over_mutual_tls_only_who_shows_a_certificate_is_answered(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path, "authority"), Authority(tmp_path, "stranger")
    served, shown = authority.issue("server"), authority.issue("client")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    files = {"cert-file": served.certificate, "key-file": served.key, "ca-cert-file": authority.file}
    tls = {f"tls-{name}": str(path) for name, path in files.items()}
    with running_redis(tmp_path, **{"tls-port": str(port), **tls}) as server:
        url = f"redis://127.0.0.1:{port}/0"
        known = {"tls_ca": authority.file, "tls_certificate": shown.certificate, "tls_key": shown.key}
        check(options(server, url=url, **known))
        wrong = {
            "CERTIFICATE_VERIFY_FAILED": {"tls_ca": stranger.file},
            "cannot speak TLS": {"tls_certificate": None},
            "cannot read .*none": {"tls_ca": tmp_path / "none"},
        }
        for told, changed in wrong.items():
            with pytest.raises(RedisUnfitError, match=told) as raised:
                check(options(server, url=url, **{**known, **changed}))
            assert not isinstance(raised.value, RedisAwayError), "waiting would not help"
        with pytest.raises(RedisUnfitError):
            check(options(server, url=url))
        with pytest.raises(RedisUnfitError, match="CERTIFICATE_VERIFY_FAILED"):
            check(options(server, url=url.replace("127.0.0.1", "localhost"), **known))


def test_settings_become_options() -> None:
    environment = {
        "DATABASE": "x.db",
        "REDIS_URL": "rediss://r:6380/2",
        "REDIS_PASSWORD": "p",
        "REDIS_KEY_PREFIX": "a:",
    }
    found = load(StoreSettings, environment).redis_options("profile")
    assert found == RedisOptions("rediss://r:6380/2", "a:profile:", password="p", wait_s=60.0)
    with pytest.raises(RedisError), open_client(RedisOptions("rediss://127.0.0.1:1/2", "a:")) as client:
        client.ping()


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hush-81c4@r:6379",
        "redis://r:6379?password=hush-81c4",
        "http://r",
        "redis://r:99999/0",
        "redis://r:abc/0",
        "redis://[::1",
        "redis://r/abc",
        "unix://relative",
    ],
)
def test_a_url_with_a_password_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(SettingsError, match="without user and password") as raised:
        load(StoreSettings, {"DATABASE": "x.db", "REDIS_URL": url})
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"REDIS_TLS_CA": "/ca", "REDIS_TLS_KEY": "/key"}, "set both, or none"),
        ({"REDIS_TLS_CERTIFICATE": "/cert", "REDIS_TLS_KEY": "/key"}, "set REDIS_TLS_CA too, or rediss://"),
        ({"REDIS_TLS_CA": "/ca", "REDIS_URL": "unix:///r.sock"}, "a unix:// socket has no TLS"),
    ],
)
def test_half_a_set_of_files_is_refused(environment: dict[str, str], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        load(StoreSettings, {"DATABASE": "x.db", **environment})
