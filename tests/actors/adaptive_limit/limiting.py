"""Limiters fed by hand: whole windows of equal calls."""

from __future__ import annotations

from typing import Any

from actors import AdaptiveLimit
from actors.policy.adaptive_limit import ConcurrencyLimiter

WINDOW = 1.0
CALLS = 100
"""The calls in a window: as many as are judged."""


class Limiting:
    """A limiter, and the time at which its present window began. In each window the calls end alike."""

    def __init__(self, *, baseline: float | None = 0.1, **settings: Any) -> None:
        self.limiter: ConcurrencyLimiter = AdaptiveLimit(window=WINDOW, **settings).limiter()
        self.now = 0.0
        self._seconds = WINDOW
        if baseline is not None:
            self.window(baseline, in_flight=1)
            assert self.limiter.baseline == baseline

    def window(
        self, duration: float, *, in_flight: int | None = None, failed: int = 0, calls: int = CALLS
    ) -> int:
        """Pass a window, and return the limit after it. in_flight: None: as many as the limit allows."""
        limiter = self.limiter
        busy = limiter.limit if in_flight is None else in_flight
        if self.now == 0:
            # The first window begins with its first call.
            self.now = 100.0
            self._seconds = max(WINDOW, duration)
            first = self.now + duration
        else:
            first = self.now + self._seconds * 0.9
        for number in range(calls):
            last = number == calls - 1
            now = self.now + self._seconds + 1e-6 if last else first
            limiter.record(duration, failed=number < failed, in_flight=busy, now=now)
        self.now += self._seconds + 1e-6
        self._seconds = max(WINDOW, 2 * duration)
        return limiter.limit

    def windows(self, count: int, duration: float, **fields: Any) -> list[int]:
        """The limit after each of `count` windows."""
        return [self.window(duration, **fields) for _ in range(count)]
