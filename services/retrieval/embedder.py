"""Gets vectors for items that have none, batch by batch, and notices when the model behind them has changed."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.retrieval.index import InvalidVectorError
from services.retrieval.items import Item
from services.retrieval.library import Library
from services.retrieval.library_writer import LibraryWriter
from services.retrieval.store import StoredVector, Vector
from shared.logs import FIELDS

log = logging.getLogger(__name__)


class EmbeddingRefusedError(Exception):
    """The model will not embed one of these texts, however often it is asked."""


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Unit vectors in the order of the items asked for."""

    version: str
    vectors: Sequence[Vector]


class EmbeddingSource(Protocol):
    """Where vectors come from."""

    async def embed(self, items: Sequence[Item]) -> Embeddings:
        """One vector per item. Raises UpstreamError or EmbeddingRefusedError."""


@dataclass(frozen=True, slots=True)
class EmbedderOptions:
    """Items per call, and how often the model's version is asked for when there is nothing to embed, in seconds."""

    batch_size: int
    version_check_s: float


class Embedder:
    """Its `step` is repeated by a Background. A refused batch is halved until the refused text stands alone."""

    def __init__(
        self,
        library: Library,
        writer: LibraryWriter,
        source: EmbeddingSource,
        options: EmbedderOptions,
        monotonic: Callable[[], float],
    ) -> None:
        self._library = library
        self._writer = writer
        self._source = source
        self._options = options
        self._monotonic = monotonic
        self._batch_size = options.batch_size
        self._version_seen_at = -math.inf

    async def step(self) -> bool:
        """Embeds one batch, or asks for the version when that is due; True when there may be more to do."""
        await self._writer.follow()  # others may have embedded what waits here
        batch = self._library.pending(self._batch_size)
        if not batch and self._monotonic() - self._version_seen_at >= self._options.version_check_s:
            probe = self._library.any_item()
            batch = () if probe is None else (probe,)
        if not batch:
            return False
        try:
            embeddings = await self._source.embed(batch)
            await self._writer.put_vectors(_stored(batch, embeddings))
        except (EmbeddingRefusedError, InvalidVectorError):
            await self._set_aside(batch)
            return True
        self._version_seen_at = self._monotonic()
        self._batch_size = min(2 * self._batch_size, self._options.batch_size)
        return True

    async def _set_aside(self, batch: tuple[Item, ...]) -> None:
        if len(batch) > 1:
            self._batch_size = len(batch) // 2
            return
        # A refused probe must not be asked again and again either.
        self._version_seen_at = self._monotonic()
        await self._writer.refuse(batch[0])
        log.warning("an item cannot be embedded", extra={FIELDS: {"item_id": batch[0].item_id}})


def _stored(items: Sequence[Item], embeddings: Embeddings) -> list[StoredVector]:
    if len(items) != len(embeddings.vectors):
        raise InvalidVectorError("another number of vectors than of items")
    return [
        StoredVector(item.item_id, item.revision, embeddings.version, vector)
        for item, vector in zip(items, embeddings.vectors, strict=True)
    ]
