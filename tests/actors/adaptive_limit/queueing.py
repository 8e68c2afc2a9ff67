"""A dependency with a queue, and callers that come by chance: dice with a seed, on a mock clock."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from statistics import mean

import trio

from actors import BulkheadFullError, CircuitBreaker


class QueueingDependency:
    """It serves `capacity` calls at once, first in, first out. Each takes `seconds` on average, by chance."""

    def __init__(self, capacity: int, seconds: float, dice: random.Random) -> None:
        self._servers = trio.CapacityLimiter(capacity)
        self.seconds = seconds
        self._dice = dice

    def serve_at_once(self, capacity: int) -> None:
        """Change the capacity from now on."""
        self._servers.total_tokens = capacity

    async def __call__(self) -> None:
        async with self._servers:
            await trio.sleep(self._dice.expovariate(1 / self.seconds))


@dataclass
class Period:
    """The results of the callers. latencies: seconds, of the calls that ended. limits: at each call."""

    rejected: int = 0
    latencies: list[float] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)

    @property
    def latency(self) -> float:
        """On average, seconds."""
        return mean(self.latencies)

    @property
    def limit(self) -> float:
        """On average."""
        return mean(self.limits)


class Load:
    """Calls through a breaker, `rate` a second, whose callers don't wait for each other."""

    def __init__(
        self, breaker: CircuitBreaker, dependency: QueueingDependency, rate: float, dice: random.Random
    ) -> None:
        self._breaker, self._dependency, self._dice = breaker, dependency, dice
        self.rate = rate
        self._period = Period()

    async def run(self, seconds: float) -> Period:
        """Call for a time, wait for the last calls, and return the callers' results."""
        self._period = Period()
        end = trio.current_time() + seconds
        async with trio.open_nursery() as nursery:
            while trio.current_time() < end:
                await trio.sleep(self._dice.expovariate(self.rate))
                nursery.start_soon(self._call, self._period)
        return self._period

    async def _call(self, period: Period) -> None:
        start = trio.current_time()
        bulkhead = self._breaker.bulkhead
        assert bulkhead is not None
        period.limits.append(bulkhead.places)
        try:
            await self._breaker.execute(self._dependency)
        except BulkheadFullError:
            period.rejected += 1
        else:
            period.latencies.append(trio.current_time() - start)
