"""Whose failure an upstream's response is. docs/explanation/charging.md argues each rule."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Set

import httpx

from actors.adapters.httpx import retry_after
from actors.call.guard import Guard
from gateway.proxy.headers import Fields, find
from protocols.http import FAILURE_ORIGIN, HANDLER_FAILURE

HANDLER_CLIENTS = 3
HANDLER_SECONDS = 60.0
"""A handler's own error counts once requests of so many clients have ended in one within so many seconds."""

_ANSWERS = frozenset((501, 505))
"""The service says what it can't do, and is well."""
_FAILURE_ORIGIN = FAILURE_ORIGIN.lower().encode()
_HANDLER_FAILURE = HANDLER_FAILURE.lower().encode()


class HandlerFailures:
    """Tells a handler that fails for one client's data from a service that fails for everybody."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, Hashable]] = deque(maxlen=100)

    def counts(self, client: Hashable, now: float) -> bool:
        """Note a handler's own error. Whether it is a failure of the service. now: seconds, on any clock."""
        while self._recent and self._recent[0][0] <= now - HANDLER_SECONDS:
            self._recent.popleft()
        if client not in {known for _, known in self._recent}:
            self._recent.append((now, client))
        return len(self._recent) >= HANDLER_CLIENTS


def charge(
    call: Guard,
    response: httpx.Response,
    fields: Fields,
    *,
    origins: Set[str],
    handlers: HandlerFailures,
    client: Hashable,
    now: float,
) -> str | None:
    """Say to the breaker what a response means, and return the breaker that has counted its failure already.

    fields: the response's, with names in lower case. origins: the breakers that the service may name. Nothing
    is said of a response below 500: it is a success.
    """
    status = response.status_code
    if status < 500 or status in _ANSWERS:
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
    call.fail(f"status {status}", retry_after=retry_after(response))
    return None
