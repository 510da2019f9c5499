"""One enum of what can go wrong. A core raises `ServiceError(Reason.…)`; shared.rich_status maps it to gRPC."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


class Reason(enum.StrEnum):
    """What went wrong; the reason of ErrorInfo. shared.rich_status gives the status code that goes with it."""

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
    """The store refused, or did not confirm: nothing was half written, and sending it again is safe."""
    NOT_READY = enum.auto()
    """The service is still warming up, or is going down."""
    DEADLINE_TOO_SHORT = enum.auto()
    """The deadline has passed, or leaves too little time to begin."""
    PRECONDITION = enum.auto()
    """The state of the system does not allow it; change the state first."""
    INTERNAL = enum.auto()
    """A defect; the error id finds it in the log."""


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
