"""One enum of what can go wrong, and the one place that maps it to gRPC.

A core raises `ServiceError(Reason.…)`; the error interceptor turns it into a google.rpc.Status with ErrorInfo always,
BadRequest for bad input and RetryInfo where trying again makes sense (google.rpc error model, AIP-193).
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from shared.timestamps import duration_seconds, to_duration

DOMAIN = "homepage"
STATUS_DETAILS_KEY = "grpc-status-details-bin"


class Reason(enum.StrEnum):
    """What went wrong; the reason of ErrorInfo. STATUS_CODES gives the status code that goes with it."""

    INVALID_FIELD = enum.auto()
    """A field of the request is missing or out of range; the violations name it."""
    INVALID_TOKEN = enum.auto()
    """A page token or item token is not one of ours, or belongs to another user or request."""
    NOT_FOUND = enum.auto()
    """The thing named in the request does not exist."""
    NOT_IMPLEMENTED = enum.auto()
    """The contract has it, this version does not."""
    OVERLOADED = enum.auto()
    """Refused for load; RetryInfo says when to try again."""
    UPSTREAM_UNAVAILABLE = enum.auto()
    """A service that this one needs cannot be reached."""
    NOTHING_TO_SHOW = enum.auto()
    """There is no item at all that could be put on a page."""
    STORE_UNAVAILABLE = enum.auto()
    """The store refused; nothing was written."""
    NOT_READY = enum.auto()
    """The service is still warming up, or is going down."""
    DEADLINE_TOO_SHORT = enum.auto()
    """The deadline has passed, or leaves too little time to begin."""
    PRECONDITION = enum.auto()
    """The state of the system does not allow it; change the state first."""
    INTERNAL = enum.auto()
    """A defect; the error id finds it in the log."""


STATUS_CODES: Mapping[Reason, grpc.StatusCode] = {
    Reason.INVALID_FIELD: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.INVALID_TOKEN: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.NOT_IMPLEMENTED: grpc.StatusCode.UNIMPLEMENTED,
    Reason.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.UPSTREAM_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.NOTHING_TO_SHOW: grpc.StatusCode.UNAVAILABLE,
    Reason.STORE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.NOT_READY: grpc.StatusCode.UNAVAILABLE,
    Reason.DEADLINE_TOO_SHORT: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.PRECONDITION: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
}


@dataclass(frozen=True, slots=True)
class Violation:
    """A field that must change, and how: `field` is its path, e.g. "events[3].item_id"."""

    field: str
    description: str


@dataclass(slots=True)
class ServiceError(Exception):
    """An error the caller may see; `message` is for developers, without user ids or texts of exceptions."""

    reason: Reason
    message: str
    violations: Sequence[Violation] = ()
    retry_after_s: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.reason.name}: {self.message}"


def not_implemented(what: str) -> ServiceError:
    """The error of an RPC or field that the contract has and this version does not."""
    return ServiceError(
        Reason.NOT_IMPLEMENTED,
        f"{what} is part of the contract, but this version does not implement it yet",
        metadata={"feature": what},
    )


def to_status(error: ServiceError) -> status_pb2.Status:
    """The error as google.rpc.Status; each detail type at most once."""
    status = status_pb2.Status(code=STATUS_CODES[error.reason].value[0], message=error.message)
    info = error_details_pb2.ErrorInfo(reason=error.reason.name, domain=DOMAIN, metadata=error.metadata)
    details: list[error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo] = [info]
    if error.violations:
        bad_request = error_details_pb2.BadRequest()
        for violation in error.violations:
            bad_request.field_violations.add(field=violation.field, description=violation.description)
        details.append(bad_request)
    if error.retry_after_s is not None:
        details.append(error_details_pb2.RetryInfo(retry_delay=to_duration(error.retry_after_s)))
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def from_rpc_error(error: grpc.aio.AioRpcError) -> ServiceError | None:
    """Reads back what `to_status` wrote; None when the status carries no ErrorInfo of this system."""
    raw = dict(error.trailing_metadata() or ()).get(STATUS_DETAILS_KEY)
    if not isinstance(raw, bytes):
        return None
    status = status_pb2.Status()
    try:
        status.ParseFromString(raw)
    except DecodeError:
        return None
    return _from_status(status)


def _from_status(status: status_pb2.Status) -> ServiceError | None:
    info, bad_request, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    retry_after_s = None
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad_request)
        if detail.Unpack(retry):
            retry_after_s = duration_seconds(retry.retry_delay)
    if info.domain != DOMAIN or info.reason not in Reason.__members__:
        return None
    violations = [Violation(v.field, v.description) for v in bad_request.field_violations]
    return ServiceError(Reason[info.reason], status.message, violations, retry_after_s, dict(info.metadata))
