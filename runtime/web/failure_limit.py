"""Limits on failed authentications by client, counted in this process's memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from protocols.http import Code
from runtime.web.errors import ApiError

SWEEP_SECONDS = 10.0
"""The least seconds between two removals of expired counts from memory."""


class InlineTimer:
    """Replaces the library's timer, which starts a thread for each burst of hits.

    Expired counts are removed during a later hit, at most every SWEEP_SECONDS.
    """

    def __init__(self, remove_expired: Callable[[], object]) -> None:
        self._remove_expired = remove_expired
        self._due = time.monotonic() + SWEEP_SECONDS

    def start(self) -> None:
        """Remove what has expired."""
        self._remove_expired()

    def is_alive(self) -> bool:
        """Whether it is too early for the next removal."""
        return time.monotonic() < self._due


class FailureCounters(MemoryStorage):
    """The library's storage for moving windows, without its threads."""

    @property
    def timer(self) -> Any:
        """Removes expired failures."""
        return self._timer

    @timer.setter
    def timer(self, timer: threading.Timer) -> None:
        self._timer = InlineTimer(partial(self._remove_expired, timer.function))

    def _remove_expired(self, remove: Callable[[], object]) -> None:
        remove()
        # The library keeps an empty list for each key for ever.
        self.events = {key: failures for key, failures in self.events.items() if failures}


class FailureLimit:
    """Limits the failures of each client to `per_minute`. A failure counts for 60 seconds."""

    def __init__(self, per_minute: int) -> None:
        self._limiter = MovingWindowRateLimiter(FailureCounters())
        self._item = RateLimitItemPerMinute(per_minute)

    def check(self, client: str) -> None:
        """Raise ApiError RATE_LIMITED if the limit is reached. Counts nothing."""
        if not self._limiter.test(self._item, client):
            raise rate_limited(self._limiter, self._item, client)

    def count(self, client: str) -> None:
        """Count a failure. Raises ApiError RATE_LIMITED, and counts nothing, if the limit is reached."""
        if not self._limiter.hit(self._item, client):
            raise rate_limited(self._limiter, self._item, client)


def rate_limited(limiter: MovingWindowRateLimiter, item: RateLimitItem, key: str) -> ApiError:
    """The response beyond a limit, with the time until the oldest failure no longer counts."""
    wait = limiter.get_window_stats(item, key).reset_time - time.time()
    return ApiError(Code.RATE_LIMITED, "too many failed attempts", retry_after=min(60.0, wait))
