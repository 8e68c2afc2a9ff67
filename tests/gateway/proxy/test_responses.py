"""What the gateway answers by itself."""

import json

import pytest

from actors import BulkheadFullError, CircuitOpenError
from actors.messages import RejectReason, State
from gateway.proxy.responses import (
    LocalResponse,
    bad_gateway,
    breaker_rejection,
    gateway_timeout,
    overloaded,
    too_large,
    whole_seconds,
)
from protocols.http import Code


@pytest.mark.parametrize(
    ("seconds", "whole"), [(-1.0, 1), (0.0, 1), (0.2, 1), (1.0, 1), (1.01, 2), (59.999, 60), (60.0, 60)]
)
def test_whole_seconds(seconds, whole):
    """Rounded up, and at least one."""
    assert whole_seconds(seconds) == whole


def opened(retry_after, reason=RejectReason.OPEN):
    return CircuitOpenError("auth-service-http", State.OPEN, retry_after, reason)


@pytest.mark.parametrize(
    ("refused", "status", "error", "retry_after"),
    [
        (breaker_rejection(opened(12.3)), 503, "CIRCUIT_BREAKER_OPEN", "13"),
        (breaker_rejection(opened(None, RejectReason.PROBING)), 503, "CIRCUIT_BREAKER_OPEN", "1"),
        (breaker_rejection(opened(None, RejectReason.FORCED)), 503, "CIRCUIT_BREAKER_OPEN", "30"),
        (breaker_rejection(BulkheadFullError("auth-service-http", 3)), 503, "BULKHEAD_FULL", "1"),
        (bad_gateway(), 502, "SERVICE_UNAVAILABLE", None),
        (gateway_timeout(), 504, "GATEWAY_TIMEOUT", None),
        (overloaded(), 503, "GATEWAY_OVERLOADED", "1"),
        (too_large(10), 413, "PAYLOAD_TOO_LARGE", None),
        (LocalResponse(Code.RATE_LIMITED, "m", retry_after=2.5), 429, "RATE_LIMITED", "3"),
    ],
)
def test_refusals(refused, status, error, retry_after):
    """Each has its status, its code in the envelope, and Retry-After where a rejection is for now only."""
    fields = dict(refused.fields())
    assert (refused.status, json.loads(refused.body)["error"]) == (status, error)
    assert fields.get(b"retry-after", b"").decode() == (retry_after or "")
    assert fields[b"content-type"] == b"application/json"
    assert fields[b"content-length"] == b"%d" % len(refused.body)
