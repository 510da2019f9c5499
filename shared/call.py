"""What belongs to the call that is being served: its request id and its deadline.

Both live in context variables, which asyncio copies into every task that a handler starts; so the client
interceptors find them without their being handed through every function.
"""

from contextvars import ContextVar

REQUEST_ID_KEY = "x-request-id"

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the incoming call, as accepted or made by the server."""

deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
"""Monotonic time in seconds (Clock.monotonic) at which the incoming call ends; None = no limit."""
