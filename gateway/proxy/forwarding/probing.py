"""Which request acts as a breaker's probe, and for how long its client may keep the probe waiting."""

from __future__ import annotations

import math

import trio

from actors import CircuitBreaker, CircuitOpenError
from actors.call.guard import Guard
from actors.messages import RETRY_SOON, RejectReason, State
from gateway.proxy.request_body import DownstreamRequest
from gateway.proxy.responses import breaker_rejection
from runtime.web.errors import ApiError

PROBE_BODY_SECONDS = 1.0
"""Maximum seconds to buffer the start of a request body before the request may act as a probe."""
PROBE_CLIENT_SHARE = 0.25
"""The share of a probe's time in which it may wait for its client; the rest is the upstream's."""
STREAMING_SECONDS = 1.0
"""A probe whose response still streams this many seconds after its head is a success."""


async def may_probe(breaker: CircuitBreaker, downstream: DownstreamRequest, *, has_body: bool) -> bool:
    """Whether a request may act as a probe. Raises ApiError if it may, but its client is slow.

    A probe's time is limited: a client that sends slowly would use it up, and the probe would fail.
    """
    probe_due = breaker.state is State.HALF_OPEN or breaker.retry_after == 0
    if not probe_due or not has_body:
        return probe_due
    is_slow = not await downstream.body_buffered_within(PROBE_BODY_SECONDS)
    if is_slow and breaker.state is not State.CLOSED:
        raise probing_rejection(breaker)
    return probe_due


def client_wait_budget(breaker: CircuitBreaker) -> float:
    """Seconds that an admitted call may wait for its client."""
    probe_timeout = breaker.config.probe_timeout
    if probe_timeout is None or breaker.state is not State.HALF_OPEN:
        return math.inf
    return PROBE_CLIENT_SHARE * probe_timeout


def probing_rejection(breaker: CircuitBreaker) -> ApiError:
    """The response to a request whose client is too slow for a probe."""
    return breaker_rejection(CircuitOpenError(breaker.name, breaker.state, RETRY_SOON, RejectReason.PROBING))


async def succeed_later(call: Guard) -> None:
    """Count a streaming probe as a success, however long its client takes to read."""
    await trio.sleep(STREAMING_SECONDS)
    call.answered()
