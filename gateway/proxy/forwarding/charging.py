"""Which breaker a failed response is charged to. docs/explanation/charging.md explains each rule."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Set

import httpx

from actors.adapters.httpx import retry_after
from actors.call.guard import Guard
from gateway.proxy.headers import Fields, find
from gateway.upstream.handler_failures import HandlerFailures
from protocols.http import FAILURE_ORIGIN, HANDLER_FAILURE

_NOT_FAILURES = frozenset((501, 505))
"""The service states that it doesn't support the request; it is healthy."""
_FAILURE_ORIGIN = FAILURE_ORIGIN.lower().encode()
_HANDLER_FAILURE = HANDLER_FAILURE.lower().encode()


def charge(
    call: Guard,
    response: httpx.Response,
    fields: Fields,
    *,
    origins: Set[str],
    handlers: HandlerFailures,
    client: Hashable,
    now: float,
    describe: Callable[[str], str] = str,
) -> str | None:
    """Count a response's failure on the call's breaker, unless another breaker has counted it.

    Returns that other breaker's name, else None. fields: the response's, with lower-case names. origins: the
    breakers that the service may name. describe: makes the breaker's text of a failure from the bare cause.

    A status below 500, 501 and 505 change nothing: the call is a success.
    """
    status = response.status_code
    if status < 500 or status in _NOT_FAILURES:
        return None
    named = find(fields, _FAILURE_ORIGIN)
    origin = named[0].decode("latin-1") if len(named) == 1 else None
    if origin in origins:
        # One fault, one breaker.
        call.ignore()
        return origin
    if find(fields, _HANDLER_FAILURE) and not handlers.counts(client, now):
        call.ignore()
        return None
    call.fail(describe(f"status {status}"), retry_after=retry_after(response))
    return None
