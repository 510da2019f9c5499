"""gRPC reflection that also finds methods by their full name, as ghz asks for them."""

from collections.abc import Sequence
from typing import Any, cast

import grpc
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import Default, DescriptorPool
from grpc_reflection.v1alpha import reflection


class _SymbolPool:
    """The default descriptor pool, but for one lookup: it knows symbols of every kind except methods."""

    def __init__(self) -> None:
        self._pool = Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802
        """The file that defines a symbol; KeyError when none does."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return self._pool.FindServiceByName(symbol.rpartition(".")[0]).file


def add_reflection(names: Sequence[str], server: grpc.aio.Server) -> None:
    """Lets clients list the named services and read their contracts."""
    pool = cast(DescriptorPool, _SymbolPool())
    reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server, pool=pool)
