"""The closed loop: real breakers with adaptive limits before a dependency with a queue."""

from __future__ import annotations

import random

import pytest
from trio.testing import MockClock

from actors import AdaptiveLimit, Panel
from tests.actors.adaptive_limit.queueing import Load, QueueingDependency
from tests.actors.call.breakers import new_breaker

SECONDS = 0.1
SEEDS = [1, 2]


class Loop:
    """A breaker, its load and its dependency, all of one seed."""

    def __init__(self, panel: Panel, seed: int, capacity: int, rate: float, limit: object) -> None:
        dice = random.Random(seed)
        self.breaker = new_breaker(panel, max_concurrent=limit)
        self.dependency = QueueingDependency(capacity, SECONDS, dice)
        self.load = Load(self.breaker, self.dependency, rate, dice)


def looped(panel: Panel, seed: int, capacity: int, rate: float, **settings: float) -> Loop:
    return Loop(panel, seed, capacity, rate, AdaptiveLimit(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", SEEDS)
async def test_under_overload_it_is_near_the_capacity_within_ten_seconds(
    panel: Panel, autojump_clock: MockClock, seed: int
) -> None:
    """Twice the load that the dependency can serve: it is fully used, and its queue is bounded."""
    loop = looped(panel, seed, capacity=10, rate=200)
    await loop.load.run(10)
    seen = await loop.load.run(10)
    assert 10 <= seen.limit <= 40
    assert len(seen.latencies) >= 0.9 * 10 * 10 / SECONDS
    assert seen.latency <= 3.2 * SECONDS


async def test_without_it_the_queue_is_as_long_as_the_limit(panel: Panel, autojump_clock: MockClock) -> None:
    """The load of the test above is therefore too much for a limit that is too large."""
    loop = Loop(panel, 1, 10, 200, 100)
    await loop.load.run(3)
    assert (await loop.load.run(5)).latency >= 8 * SECONDS


async def test_it_grows_to_a_larger_dependency(panel: Panel, autojump_clock: MockClock) -> None:
    """From 4 to a dependency that serves 20 at once."""
    loop = looped(panel, 1, capacity=20, rate=250, initial=4)
    await loop.load.run(12)
    seen = await loop.load.run(8)
    assert 20 <= seen.limit <= 60
    assert len(seen.latencies) >= 0.9 * 8 * 20 / SECONDS
    assert seen.latency <= 3 * SECONDS


async def test_it_follows_a_capacity_that_halves_and_doubles(panel: Panel, autojump_clock: MockClock) -> None:
    """Each time the dependency is fully used, with a bounded queue, ten seconds later."""
    loop = looped(panel, 1, capacity=16, rate=200)
    await loop.load.run(10)
    for capacity in (8, 16):
        loop.dependency.serve_at_once(capacity)
        await loop.load.run(10)
        seen = await loop.load.run(8)
        assert len(seen.latencies) >= 0.85 * 8 * capacity / SECONDS
        assert seen.latency <= 3.5 * SECONDS


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_load_below_the_capacity_is_not_rejected(
    panel: Panel, autojump_clock: MockClock, seed: int
) -> None:
    loop = looped(panel, seed, capacity=40, rate=80)
    seen = await loop.load.run(40)
    assert seen.rejected <= 0.005 * len(seen.latencies)
    assert seen.latency <= 1.2 * SECONDS


async def test_rare_calls_are_not_rejected(panel: Panel, autojump_clock: MockClock) -> None:
    """Two a second, whose latency varies by chance: five minutes."""
    loop = looped(panel, 1, capacity=40, rate=2)
    assert (await loop.load.run(300)).rejected == 0


async def test_a_dependency_that_gets_slower_by_itself_costs_half_a_minute(
    panel: Panel, autojump_clock: MockClock
) -> None:
    """The limit takes that for congestion until it has measured the new latency at its minimum."""
    loop = looped(panel, 1, capacity=200, rate=60)
    await loop.load.run(15)
    loop.dependency.seconds = 3 * SECONDS
    assert (await loop.load.run(30)).rejected > 300
    assert (await loop.load.run(20)).rejected == 0
