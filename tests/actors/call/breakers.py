"""Breakers for the tests of calls, and how their calls are counted."""

from __future__ import annotations

from typing import Any

import pytest

from actors import CircuitBreaker, CircuitBreakerConfig, Panel
from actors.testing import DependencyDown, ScriptedDependency


def new_breaker(panel: Panel, name: str = "it", **fields: Any) -> CircuitBreaker:
    """A breaker of the panel, with the default policy except for these fields."""
    return panel.breaker(CircuitBreakerConfig(name=name, **fields))


async def fail(breaker: CircuitBreaker, dependency: ScriptedDependency, times: int) -> None:
    dependency.breaks()
    for _ in range(times):
        with pytest.raises(DependencyDown):
            await breaker.execute(dependency)
    dependency.mends()


async def outcome_counts(breaker: CircuitBreaker) -> dict[str, int]:
    """How many calls were counted by outcome, without zeros. No call may be in flight."""
    snapshot = await breaker.snapshot()
    assert snapshot.in_flight == 0
    return {outcome: count for outcome, count in snapshot.counts.items() if count}
