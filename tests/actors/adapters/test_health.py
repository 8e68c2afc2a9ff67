"""breaker_health: the health report of a breaker."""

from __future__ import annotations

import pytest

from actors import CircuitBreakerConfig, State, open_panel
from actors.adapters.health import breaker_health


@pytest.mark.parametrize(
    ("state", "plain", "status"),
    [
        (State.CLOSED, "CLOSED", "healthy"),
        (State.OPEN, "OPEN", "unhealthy"),
        (State.FORCED_OPEN, "OPEN", "unhealthy"),
        (State.DISABLED, "CLOSED", "healthy"),
        (State.OBSERVING, "CLOSED", "healthy"),
    ],
)
async def test_health_reports_one_of_three_states(state: State, plain: str, status: str) -> None:
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it"))
        match state:
            case State.OPEN:
                await breaker.trip()
            case State.FORCED_OPEN:
                await breaker.force_open()
            case State.DISABLED:
                await breaker.disable()
            case State.OBSERVING:
                await breaker.observe()
        health = breaker_health(await breaker.snapshot())
    assert health["status"] == status
    assert health["circuit_breaker"]["state"] == plain
    assert health["circuit_breaker"]["mode"] == state.name
