"""Counts of a breaker under load add up at each scrape."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from actors import CircuitBreakerConfig, open_panel
from tests.actors.adapters.metrics.callers import CountingCallers
from tests.actors.adapters.metrics.scraping import scrape

OUTCOMES = ("success", "failure", "ignored", "cancelled", "rejected")


def add_up(found: dict[tuple[str, ...], float]) -> float:
    """Check that the counts agree, and return the number of counted calls."""
    calls = {outcome: found["circuit_breaker_calls_total", outcome] for outcome in OUTCOMES}
    assert calls["failure"] == found["circuit_breaker_failures_total",]
    rejections = sum(v for k, v in found.items() if k[0] == "circuit_breaker_rejections_total")
    assert calls["rejected"] == rejections
    return sum(calls.values())


@pytest.mark.parametrize("durations", [None, (0.1, 1.0)])
async def test_every_call_is_in_exactly_one_outcome_at_every_scrape(
    durations: tuple[float, ...] | None,
) -> None:
    """No scrape under load misses a call that has ended, or counts one twice."""
    policy = CircuitBreakerConfig(
        name="it",
        max_failures=3,
        reset_timeout=0.002,
        ignore=KeyError,
        max_concurrent=None if durations is None else 6,
    )
    async with open_panel(durations=durations) as panel:
        crowd = CountingCallers(panel.breaker(policy))
        scrapes = 0
        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(crowd.caller, 250)
            while len(nursery.child_tasks):
                ended = crowd.ended.total()
                found = await scrape(panel)
                counted = add_up(found)
                assert ended <= counted
                assert counted + found["circuit_breaker_in_flight",] <= crowd.begun
                scrapes += 1
                await trio.sleep(0.001)
        found = await scrape(panel)
    assert scrapes > 10
    assert add_up(found) == crowd.begun == 3000
    assert {outcome: found["circuit_breaker_calls_total", outcome] for outcome in OUTCOMES} == dict(
        crowd.ended
    )
    assert min(crowd.ended.values()) > 0
    if durations is not None:
        measured = crowd.begun - crowd.ended["rejected"] - crowd.ended["cancelled"]
        assert found["circuit_breaker_call_duration_seconds_count",] == measured
