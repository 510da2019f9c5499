"""A file whose content comes when the test says so: whoever reads it waits, in a real read of a real pipe."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Self


class HeldFile:
    """Stands in for a file: `with HeldFile(path) as held`, `await held.is_read()`, `held.release()`."""

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        """`content`: what the file has from the release on; None = what it has now."""
        self._path = path
        self._pipe, self._beside = path.with_name(".pipe"), path.with_name(".beside")
        self._content = path.read_bytes() if content is None else content
        self._written_by: int | None = None

    def __enter__(self) -> Self:
        os.mkfifo(self._pipe)
        self._beside.hardlink_to(self._pipe)
        self._beside.replace(self._path)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pipe.exists():
            self.release()

    async def is_read(self) -> None:
        """Returns once somebody reads the file; what that reader read before is done with then."""
        opened = asyncio.to_thread(os.open, self._pipe, os.O_WRONLY)  # waits for a reader
        try:
            self._written_by = await asyncio.wait_for(opened, 5)
        except TimeoutError:
            os.close(os.open(self._pipe, os.O_RDONLY | os.O_NONBLOCK))  # lets the thread go
            raise

    def release(self) -> None:
        """Readers go on: the one that waits, and those to come."""
        self._beside.write_bytes(self._content)
        self._beside.replace(self._path)
        if self._written_by is None:
            with contextlib.suppress(OSError):  # nobody reads it
                self._written_by = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
        self._pipe.unlink()
        if self._written_by is not None:
            os.write(self._written_by, self._content)
            os.close(self._written_by)
