"""Responses that the gateway makes by itself."""

import json

import pytest

from actors import BulkheadFullError, CircuitOpenError
from actors.messages import RejectReason, State
from gateway.proxy.responses import (
    ResponseWriter,
    bad_gateway,
    breaker_rejection,
    gateway_timeout,
    overloaded,
    too_large,
)
from protocols.http import Code
from runtime.web.errors import ApiError


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
        (ApiError(Code.RATE_LIMITED, "m", retry_after=2.5), 429, "RATE_LIMITED", "3"),
    ],
)
async def test_an_error_is_sent_with_its_status_its_code_and_its_wait(refused, status, error, retry_after):
    sent = []

    async def send(message):
        sent.append(message)

    writer = ResponseWriter(send, b"id-1")
    await writer.send_error(refused)
    head, body = sent
    fields = dict(head["headers"])
    assert (head["status"], json.loads(body["body"])["error"]) == (status, error)
    assert fields.get(b"retry-after", b"").decode() == (retry_after or "")
    assert fields[b"content-type"] == b"application/json"
    assert fields[b"content-length"] == b"%d" % len(body["body"])
    assert fields[b"x-request-id"] == b"id-1"
    assert writer.error is refused
