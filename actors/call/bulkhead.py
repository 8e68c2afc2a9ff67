"""The bulkhead: it limits the calls that run at once, and those that wait for a place."""

from __future__ import annotations

import math

import trio


class Bulkhead:
    """A CapacityLimiter with a bounded queue. A place belongs to a call, not to a task."""

    def __init__(self, places: int, queue: int, timeout: float | None) -> None:
        self.places = places
        self._limiter = trio.CapacityLimiter(places)
        self._queue = queue
        self._timeout = timeout

    def configure(self, places: int, queue: int, timeout: float | None) -> None:
        """Set new limits for later calls. Running calls keep their places."""
        self.places = self._limiter.total_tokens = places
        self._queue, self._timeout = queue, timeout

    def lift(self) -> None:
        """Remove the limit: waiting calls go on."""
        self._limiter.total_tokens = math.inf

    def take_nowait(self, call: object) -> bool:
        """Take a place at once; False if none is free."""
        try:
            self._limiter.acquire_on_behalf_of_nowait(call)
        except trio.WouldBlock:
            return False
        return True

    async def take(self, call: object) -> bool:
        """Take a place, in turn; False if the queue is full, or after `timeout` seconds.

        Cancellation leaves the queue.
        """
        if self._limiter.statistics().tasks_waiting >= self._queue:
            return False
        timeout = float("inf") if self._timeout is None else self._timeout
        with trio.move_on_after(timeout):
            await self._limiter.acquire_on_behalf_of(call)
            return True
        return False

    def release(self, call: object) -> None:
        """Free the place; the first in the queue takes it."""
        self._limiter.release_on_behalf_of(call)
