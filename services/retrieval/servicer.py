"""The gRPC face of retrieval: validate, translate, call the core, translate back.

Translating takes as long as searching, so both happen in the reading threads, off the event loop.
"""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from homepage.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc

from services.retrieval.background import Worker
from services.retrieval.library import Library
from services.retrieval.library_writer import LibraryWriter
from services.retrieval.retrieve import Retriever
from services.retrieval.translation import MessageCache, check_ids, to_items, to_query, to_response
from shared.metrics import SOURCE_FOUND, SOURCE_SECONDS
from shared.server import Runtime

_CACHE_SLACK = 1000

Context = grpc.aio.ServicerContext[Any, Any]


class RetrievalServicer(retrieval_pb2_grpc.RetrievalServicer):
    """See retrieval.proto."""

    def __init__(
        self, library: Library, writer: LibraryWriter, reader: Worker, retriever: Retriever, runtime: Runtime
    ) -> None:
        self._library = library
        self._writer = writer
        self._reader = reader
        self._retriever = retriever
        self._clock = runtime.clock
        self._metrics = runtime.metrics
        self._cache = MessageCache()

    async def PutItems(
        self, request_iterator: AsyncIterator[retrieval_pb2.PutItemsRequest], _context: Context
    ) -> retrieval_pb2.PutItemsResponse:
        """Each message is checked whole and on disk before the next is read."""
        response = retrieval_pb2.PutItemsResponse()
        async for request in request_iterator:
            result = await self._writer.put(await self._reader.run(to_items, request))
            response.stored += result.stored
            response.unchanged += result.unchanged
        return response

    async def DeleteItems(
        self, request: retrieval_pb2.DeleteItemsRequest, _context: Context
    ) -> retrieval_pb2.DeleteItemsResponse:
        """Unknown ids are ignored."""
        check_ids(request.item_ids)
        deleted = await self._writer.delete(list(request.item_ids))
        return retrieval_pb2.DeleteItemsResponse(deleted=deleted)

    async def GetItems(
        self, request: retrieval_pb2.GetItemsRequest, _context: Context
    ) -> retrieval_pb2.GetItemsResponse:
        """In the order asked for."""
        check_ids(request.item_ids)
        return await self._reader.run(self._get_items, request)

    async def Retrieve(
        self, request: retrieval_pb2.RetrieveRequest, _context: Context
    ) -> retrieval_pb2.RetrieveResponse:
        """Candidates from one snapshot of the library."""
        return await self._reader.run(self._retrieve, request)

    async def GetIndexStatus(
        self, _request: retrieval_pb2.GetIndexStatusRequest, _context: Context
    ) -> retrieval_pb2.GetIndexStatusResponse:
        """How far the index has come."""
        status = await self._reader.run(self._library.status)
        return retrieval_pb2.GetIndexStatusResponse(
            items=status.items,
            indexed=status.indexed,
            pending=status.pending,
            index_version=status.index_version,
            embedding_version=status.embedding_version,
            counted_events=status.counted_events,
        )

    def _get_items(self, request: retrieval_pb2.GetItemsRequest) -> retrieval_pb2.GetItemsResponse:
        catalogue = self._library.snapshot.catalogue
        self._cache.bound(len(catalogue) + _CACHE_SLACK)
        response = retrieval_pb2.GetItemsResponse()
        for item_id in request.item_ids:
            item = catalogue.find(item_id)
            if item is None:
                response.missing_item_ids.append(item_id)
            else:
                response.items.append(self._cache.message(item))
        return response

    def _retrieve(self, request: retrieval_pb2.RetrieveRequest) -> retrieval_pb2.RetrieveResponse:
        query = to_query(request, self._clock.now())
        snapshot = self._library.snapshot
        self._cache.bound(len(snapshot.catalogue) + _CACHE_SLACK)
        retrieved = self._retriever.retrieve(snapshot, query)
        for report in retrieved.reports:
            name = report.source.name.lower()
            self._metrics.histogram(SOURCE_SECONDS, name).observe(report.elapsed_s)
            self._metrics.histogram(SOURCE_FOUND, name).observe(report.found)
        return to_response(retrieved, self._cache)
