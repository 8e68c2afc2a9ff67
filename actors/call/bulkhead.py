"""The bulkhead: it limits the calls that run at once, and those that wait for a place."""

from __future__ import annotations

import math

import trio

from ..policy.adaptive_limit import AdaptiveLimit, ConcurrencyLimiter


class Bulkhead:
    """A CapacityLimiter with a bounded queue. A place belongs to a call, not to a task.

    places: the calls that may run at once. adaptive: it sets `places` by the calls' latency; None: they are
    fixed.
    """

    places: int

    def __init__(self, limit: int | AdaptiveLimit, queue: int, timeout: float | None) -> None:
        self.adaptive: ConcurrencyLimiter | None = None
        self._limiter = trio.CapacityLimiter(1)
        self.configure(limit, queue, timeout)

    def configure(self, limit: int | AdaptiveLimit, queue: int, timeout: float | None) -> None:
        """Set new limits for later calls. Running calls keep their places.

        An adaptive limit that replaces another one goes on from what that has measured.
        """
        self._queue, self._timeout = queue, timeout
        if isinstance(limit, int):
            self.adaptive = None
            self._set_places(limit)
            return
        if self.adaptive is None:
            self.adaptive = limit.limiter()
        else:
            self.adaptive.configure(limit)
        self._set_places(self.adaptive.limit)

    def _set_places(self, places: int) -> None:
        self.places = self._limiter.total_tokens = places

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

    def measure(self, duration: float, *, failed: bool, now: float) -> None:
        """Have the limit adapt to a call that has ended, or was answered, and still has its place.

        duration: seconds. A larger limit gives places to the first in the queue.
        """
        if self.adaptive is None:
            return
        self.adaptive.record(duration, failed=failed, in_flight=self._limiter.borrowed_tokens, now=now)
        if self.adaptive.limit != self.places:
            self._set_places(self.adaptive.limit)

    def release(self, call: object) -> None:
        """Free the place; the first in the queue takes it."""
        self._limiter.release_on_behalf_of(call)
