"""What counts as a failure of a gRPC dependency called through grpclib."""

from __future__ import annotations

from grpclib import GRPCError
from grpclib.const import Status
from grpclib.exceptions import ProtocolError, StreamTerminatedError

FAILURES = frozenset(
    {
        Status.UNAVAILABLE,
        Status.DEADLINE_EXCEEDED,
        Status.INTERNAL,
        Status.UNKNOWN,
        Status.RESOURCE_EXHAUSTED,
        Status.DATA_LOSS,
    }
)
"""The statuses that say the service is unwell. The rest are answers."""


def is_failure(error: BaseException) -> bool:
    """One of FAILURES, a lost connection, or a deadline that passed on our side."""
    if isinstance(error, GRPCError):
        return error.status in FAILURES
    return isinstance(error, StreamTerminatedError | ProtocolError | OSError | TimeoutError)
