"""Changes a library in its own thread, one change after the other, and wakes whoever has work by it."""

from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from services.retrieval.background import Background, Worker
from services.retrieval.graph_builder import Build
from services.retrieval.items import Item
from services.retrieval.library import Library, PutResult
from services.retrieval.popularity import EventPage
from services.retrieval.store import Progress, StoredVector

P = ParamSpec("P")
T = TypeVar("T")


class LibraryWriter:
    """The changes of a Library, for the event loop. `wakes`: who looks for work whenever something may have changed."""

    def __init__(self, library: Library, worker: Worker) -> None:
        self._library = library
        self._worker = worker
        self.wakes: Sequence[Background] = ()

    @property
    def progress(self) -> Progress:
        """See Library.progress."""
        return self._library.progress

    async def follow(self) -> None:
        """See Library.follow. Wakes nobody when nothing has changed: it is called all the time."""
        before = self._library.snapshot
        try:
            await self._worker.run(self._library.follow)
        finally:
            if self._library.snapshot is not before:
                self._wake()

    async def put(self, items: Sequence[Item]) -> PutResult:
        """See Library.put."""
        return await self._change(self._library.put, items)

    async def delete(self, item_ids: Sequence[str]) -> int:
        """See Library.delete."""
        return await self._change(self._library.delete, item_ids)

    async def put_vectors(self, vectors: Sequence[StoredVector]) -> None:
        """See Library.put_vectors."""
        await self._change(self._library.put_vectors, vectors)

    async def refuse(self, item: Item) -> None:
        """See Library.refuse."""
        await self._change(self._library.refuse, item)

    async def count(self, page: EventPage, after: Progress) -> Progress:
        """See Library.count."""
        return await self._change(self._library.count, page, after)

    async def forget_counts(self, after: Progress) -> None:
        """See Library.forget_counts."""
        await self._change(self._library.forget_counts, after)

    async def adopt(self, build: Build) -> None:
        """See Library.adopt."""
        await self._worker.run(self._library.adopt, build)

    async def _change(self, change: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A change that fails may have taken over those of others before."""
        try:
            return await self._worker.run(change, *args, **kwargs)
        finally:
            self._wake()

    def _wake(self) -> None:
        for task in self.wakes:
            task.wake()
