"""Two limiters of the usual kinds, each with its known failures: the tests show that they can fail."""

from __future__ import annotations

import math


class Gradient:
    """The gradient of a short over a long average, with room for a queue, a fifth of the way at a time.

    Durations are durations, whether a call failed or not.
    """

    def __init__(self, initial: float = 20, maximum: float = 100) -> None:
        self.value = initial
        self._maximum = maximum
        self.long: float | None = None

    @property
    def limit(self) -> int:
        return int(self.value)

    def window(self, duration: float) -> int:
        """Take a window in which the limit was used up."""
        self.long = duration if self.long is None else self.long + (duration - self.long) / 20
        gradient = max(0.5, min(1.0, self.long / duration))
        target = self.value * gradient + math.sqrt(self.value)
        self.value = min(self._maximum, max(1.0, self.value + 0.2 * (target - self.value)))
        return self.limit


class FixedBaseline(Gradient):
    """The same with a baseline that never moves, and so with a constant gradient at a constant latency."""

    def __init__(self, baseline: float, initial: float) -> None:
        super().__init__(initial)
        self._baseline = baseline

    def window(self, duration: float) -> int:
        self.long = self._baseline
        return super().window(duration)


class Measuring:
    """It lets `few` calls through at once for one window in `every`, to measure the baseline."""

    def __init__(self, limit: int, few: int = 3, every: int = 10) -> None:
        self._limit, self._few, self._every = limit, few, every
        self._windows = 0

    @property
    def limit(self) -> int:
        return self._few if self._windows % self._every == self._every - 1 else self._limit

    def window(self, duration: float) -> int:
        """Take a window."""
        self._windows += 1
        return self.limit
