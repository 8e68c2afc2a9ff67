"""No call waits for the store: compared with calls of a breaker that isn't shared, in the same run."""

from __future__ import annotations

import statistics
import time

import pytest
import trio

from actors import CircuitBreaker, CircuitBreakerConfig, open_panel
from actors.adapters.valkey import share_breakers
from tests.actors.adapters.valkey.connecting import connected
from tests.valkey import ValkeyServer

CALLS = 3000
LATE = 0.0005
"""Seconds by which the 99th percentile may be later than without sharing."""


async def works() -> None:
    """A dependency in the process."""


async def fails() -> None:
    raise OSError


async def seconds(breaker: CircuitBreaker, number: int) -> float:
    start = time.perf_counter()
    try:
        await breaker.execute(fails if number % 10 == 9 else works)
    except OSError:
        pass
    return time.perf_counter() - start


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def late(values: list[float]) -> int:
    """The number of calls that took 0.1 s longer than the median."""
    return sum(one > statistics.median(values) + 0.1 for one in values)


@pytest.mark.parametrize("fault", ["none", "hung", "killed"])
async def test_no_call_waits_for_the_store(valkey: ValkeyServer, fault: str) -> None:
    times = await call_side_by_side(valkey, fault)
    assert late(times["shared"]) <= late(times["alone"]) + CALLS // 1000


@pytest.mark.resilience
@pytest.mark.parametrize("fault", ["none", "hung", "killed"])
async def test_calls_are_as_quick_as_without_sharing(valkey: ValkeyServer, fault: str) -> None:
    """On a machine with nothing else to do."""
    times = await call_side_by_side(valkey, fault)
    assert p99(times["shared"]) <= p99(times["alone"]) + LATE


async def call_side_by_side(valkey: ValkeyServer, fault: str) -> dict[str, list[float]]:
    """The seconds of calls through a breaker alone and through a shared one."""
    async with open_panel() as alone, open_panel() as panel, share_breakers(panel, valkey.url) as sharing:
        config = CircuitBreakerConfig(name="it", max_failures=10**6)
        breakers = {"alone": alone.breaker(config), "shared": panel.breaker(config)}
        await connected(sharing)
        if fault == "hung":
            valkey.freeze()
        elif fault == "killed":
            valkey.kill()
        times: dict[str, list[float]] = {"alone": [], "shared": []}
        for number in range(CALLS):
            # Side by side, so that both meet the same noise; which one is first alternates.
            for name in sorted(breakers, reverse=number % 2 == 0):
                times[name].append(await seconds(breakers[name], number))
            # Sharing's own tasks get their turn between the calls.
            await trio.sleep(0.0005 if number % 5 == 0 else 0)
        assert sharing.status().connected or fault != "none"
    return times
