"""Verdicts on the exceptions of gRPC calls."""

from __future__ import annotations

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from services.dependency import Verdict
from services.grpc.dependency import grpc_verdict


@pytest.mark.parametrize("status", [one for one in Status if one is not Status.OK])
def test_a_grpc_status_is_an_answer_or_a_failure(status: Status) -> None:
    """A status that isn't passed on as a 4xx is a failure: a 503 with an origin, which is counted."""
    assert grpc_verdict(GRPCError(status)) in (Verdict.ANSWER, Verdict.FAILURE)
