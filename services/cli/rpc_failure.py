"""A failed call, told in one clear paragraph: what was answered, why, and what to do about it."""

from typing import cast

import grpc

from shared.errors import Reason, ServiceError
from shared.rich_status import from_rpc_error


def tell(error: grpc.RpcError, address: str) -> str:
    """Code, reason, field violations and advice as plain text, one fact a line."""
    call = cast(grpc.Call, error)
    code = call.code()
    own = from_rpc_error(cast(grpc.aio.AioRpcError, error))
    if own is not None:
        # The message of bad input repeats its first violation.
        why = "this must change in the request:" if own.violations else f"{own.message}."
        return "\n".join([f"{code.name} ({own.reason.name}): {why}", *_advice(own)])
    if code == grpc.StatusCode.UNAVAILABLE:
        return (
            f"UNAVAILABLE: no server answers at {address}.\n"
            "Start one with `homepage up` (then `homepage load`), or with `homepage demo --keep`, which brings data."
        )
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"DEADLINE_EXCEEDED: {address} did not answer in time. Give the call more with --timeout."
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return f"UNIMPLEMENTED: {address} is another service. Is this the right address?"
    return f"{code.name}: {call.details()}"


def _advice(error: ServiceError) -> list[str]:
    lines = [f"  {violation.field}: {violation.description}" for violation in error.violations]
    if error.retry_after_s is not None:
        lines.append(f"Try again in {error.retry_after_s:g} s.")
    if error.reason == Reason.DEADLINE_TOO_SHORT:
        lines.append("Give the call more with --timeout.")
    if error.reason == Reason.NOTHING_TO_SHOW:
        lines.append("The content library has nothing to show. `homepage load` fills it.")
    return lines
