"""What a call costs with the adaptive strategy and with a window of seconds, in interleaved rounds."""

from __future__ import annotations

import statistics
import time

import trio

from actors import Adaptive, CircuitBreaker, CircuitBreakerConfig, FailureRate, LastSeconds, open_panel

CALLS = 20_000


async def _nothing() -> None:
    pass


async def _round(breaker: CircuitBreaker) -> float:
    begun = time.process_time()
    for _ in range(CALLS):
        await breaker.execute(_nothing)
    spent = time.process_time() - begun
    # Rolls come by timers: they are part of the cost.
    await trio.lowlevel.checkpoint()
    return spent


async def _measure(rounds: int) -> float:
    window = FailureRate(0.5, LastSeconds(10.0), 20)
    async with open_panel() as panel:
        ours = panel.breaker(CircuitBreakerConfig(name="adaptive", trip=Adaptive()))
        theirs = panel.breaker(CircuitBreakerConfig(name="window", trip=window))
        ratios = []
        for _ in range(rounds):
            ours_first = await _round(ours)
            ratios.append(ours_first / await _round(theirs))
        return statistics.median(ratios)


def ratio(rounds: int = 31) -> float:
    """The cost of a call with Adaptive as a multiple of that with a window of ten seconds."""
    return trio.run(_measure, rounds)
