"""An open breaker with a probe that runs at an interval."""

from __future__ import annotations

from actors import CircuitBreaker, CircuitBreakerConfig, Panel
from actors.testing import ScriptedDependency


async def opened(panel: Panel, probe: ScriptedDependency, **policy: object) -> CircuitBreaker:
    settings = {"name": "it", "probe_interval": 5, "reset_timeout": 60, "probe": probe, **policy}
    breaker = panel.breaker(CircuitBreakerConfig(**settings))  # type: ignore[arg-type]
    await breaker.trip()
    return breaker
