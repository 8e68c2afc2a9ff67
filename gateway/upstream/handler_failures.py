"""Errors of a service's own handlers: one client's bad data, or a failure of the service."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable

HANDLER_CLIENTS = 3
HANDLER_SECONDS = 60.0
"""A handler's error is a failure once this many clients have met one within this many seconds."""


class HandlerFailures:
    """Distinguishes a handler that fails on one client's data from a service that fails for all clients."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, Hashable]] = deque(maxlen=100)

    def counts(self, client: Hashable, now: float) -> bool:
        """Record a handler's error; return whether it is a failure of the service.

        now: seconds, on any clock that doesn't go back.
        """
        while self._recent and self._recent[0][0] <= now - HANDLER_SECONDS:
            self._recent.popleft()
        if client not in {known for _, known in self._recent}:
            self._recent.append((now, client))
        return len(self._recent) >= HANDLER_CLIENTS
