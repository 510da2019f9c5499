"""The two services that retrieval asks, as thin adapters: contracts on one side, plain values on the other."""

from collections.abc import AsyncGenerator, Sequence

import grpc
import numpy as np
from homepage.profile.v1 import profile_pb2, profile_pb2_grpc
from homepage.ranker.v1 import ranker_pb2, ranker_pb2_grpc

from services.retrieval.background import UpstreamError
from services.retrieval.behaviour import CountedEvent, popularity_weight
from services.retrieval.embedder import EmbeddingRefusedError, Embeddings
from services.retrieval.items import Item
from services.retrieval.popularity import EventPage, UnknownCursorError
from shared.action import Action
from shared.errors import Reason
from shared.rich_status import from_rpc_error
from shared.timestamps import to_seconds

_ACTIONS: frozenset[int] = frozenset(Action)
_PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
    }
)


class RankerEmbeddings:
    """Vectors from Ranker.Embed; see EmbeddingSource. `timeout_s` per call."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self._ranker = ranker_pb2_grpc.RankerStub(channel)
        self._timeout_s = timeout_s

    async def embed(self, items: Sequence[Item]) -> Embeddings:
        """See EmbeddingSource."""
        texts = (
            ranker_pb2.ItemText(
                item_id=item.item_id,
                revision=item.revision,
                title=item.title,
                category=item.category,
                publisher=item.publisher,
            )
            for item in items
        )
        try:
            response = await self._ranker.Embed(ranker_pb2.EmbedRequest(items=texts), timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise EmbeddingRefusedError from error
            raise _upstream_error(error) from error
        vectors = [np.array(embedding.values, np.float32) for embedding in response.embeddings]
        return Embeddings(response.embedding_version, vectors)


class ProfileEvents:
    """The event log from Profile.ReadEvents; see EventSource. Pages that were served are left out."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float, page_size: int) -> None:
        self._profile = profile_pb2_grpc.ProfileStub(channel)
        self._timeout_s = timeout_s
        self._page_size = page_size

    async def read(self, cursor: str) -> AsyncGenerator[EventPage, None]:
        """See EventSource."""
        request = profile_pb2.ReadEventsRequest(
            cursor=cursor, page_size=self._page_size, purpose=profile_pb2.READ_PURPOSE_AGGREGATE
        )
        call = self._profile.ReadEvents(request, timeout=self._timeout_s)
        try:
            async for page in call:
                yield EventPage(tuple(_counted(page)), page.next_cursor)
        except grpc.aio.AioRpcError as error:
            told = from_rpc_error(error)
            if told is not None and told.reason is Reason.INVALID_TOKEN:
                raise UnknownCursorError from error
            raise _upstream_error(error) from error
        finally:
            call.cancel()


def _upstream_error(error: grpc.aio.AioRpcError) -> UpstreamError:
    """What to raise for a failed call."""
    return UpstreamError(error.code().name, passing=error.code() in _PASSING)


def _counted(page: profile_pb2.ReadEventsResponse) -> list[CountedEvent]:
    """The page's acts; those of kinds that this version does not know are left out."""
    return [
        CountedEvent(
            entry.event.item_id,
            popularity_weight(Action(entry.event.action), entry.event.value),
            to_seconds(entry.event.time),
        )
        for entry in page.events
        if entry.HasField("event") and entry.event.action in _ACTIONS
    ]
