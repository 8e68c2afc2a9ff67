"""execute_or: a fallback for rejections alone."""

from __future__ import annotations

import pytest

from actors import CircuitBreakerConfig, CircuitOpenError, Panel, State
from actors.testing import ScriptedDependency
from tests.actors.call.breakers import fail, new_breaker


async def test_execute_or_calls_its_fallback_only_for_rejections_by_its_own_breaker(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = new_breaker(panel, max_failures=1)

    async def awaited(error: Exception) -> str:
        return f"awaited {type(error).__name__}"

    assert await breaker.execute_or(lambda error: "plain", dependency) == "ok"
    other = panel.breaker(CircuitBreakerConfig(name="other"))
    await other.trip()
    with pytest.raises(CircuitOpenError, match="other"):
        await breaker.execute_or(lambda error: "plain", other.execute, dependency)
    await fail(breaker, dependency, 1)
    assert breaker.state is State.OPEN
    assert await breaker.execute_or(lambda error: "plain", dependency) == "plain"
    assert await breaker.execute_or(awaited, dependency) == "awaited CircuitOpenError"
