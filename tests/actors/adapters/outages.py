"""A breaker that has opened after failures."""

from __future__ import annotations

import pytest

from actors import CircuitBreaker, CircuitBreakerConfig, Panel
from actors.testing import DependencyDown, ScriptedDependency


async def opened_breaker(panel: Panel) -> CircuitBreaker:
    breaker = panel.breaker(CircuitBreakerConfig(name="it", max_failures=2))
    dependency = ScriptedDependency()
    dependency.breaks()
    for _ in range(2):
        with pytest.raises(DependencyDown):
            await breaker.execute(dependency)
    return breaker
