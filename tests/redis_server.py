"""A real redis-server for tests, on a socket of its own; nothing of it outlives them."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

_STARTS_WITHIN_S = 30.0


class RedisServer:
    """A server that keeps its data in `folder`, each write on disk before it is acknowledged; can be killed."""

    def __init__(self, folder: Path, **options: str) -> None:
        self._folder = folder
        self._options = {"appendonly": "yes", "appendfsync": "always", "save": "", "port": "0", **options}
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = folder / "redis.sock"

    @property
    def url(self) -> str:
        """What to connect to."""
        return f"unix://{self.socket}"

    def client(self) -> redis.Redis:
        """A client of it."""
        return redis.Redis.from_url(self.url, password=self._options.get("requirepass"))

    def start(self) -> None:
        """Returns once it answers."""
        assert self._process is None
        arguments = [text for name, value in self._options.items() for text in (f"--{name}", value)]
        folder = ["--dir", str(self._folder), "--unixsocket", str(self.socket), "--logfile", "log"]
        self._process = subprocess.Popen(["redis-server", *folder, *arguments], stdout=subprocess.DEVNULL)
        limit = time.monotonic() + _STARTS_WITHIN_S
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < limit, "redis-server does not answer"
            time.sleep(0.02)

    def _answers(self) -> bool:
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def kill(self) -> None:
        """As `kill -9` does; data stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def require_redis() -> None:
    """Skips where there is none."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")


@contextmanager
def running_redis(folder: Path, **options: str) -> Iterator[RedisServer]:
    """A server of one test's own; options as in redis.conf."""
    require_redis()
    server = RedisServer(folder, **options)
    try:
        server.start()
        yield server
    finally:
        server.kill()
