"""A gRPC server as a service's dependency."""

from __future__ import annotations

from actors.adapters import grpc
from actors.adapters.shortage import is_shortage
from services.dependency import Verdict


def grpc_verdict(error: BaseException) -> Verdict:
    """The verdict on an exception of a gRPC call."""
    if grpc.is_answer(error):
        return Verdict.ANSWER
    if grpc.is_failure(error):
        return Verdict.FAILURE
    return Verdict.OUT_OF_RESOURCES if is_shortage(error) else Verdict.UNRELATED
