"""breaker_health: the health report of a breaker."""

from __future__ import annotations

import json

import pytest

from actors import Adaptive, CircuitBreakerConfig, ShadowPolicy, State, open_panel
from actors.adapters.health import breaker_health
from actors.testing import DependencyDown, ScriptedDependency


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


async def test_a_shadow_is_in_a_key_of_its_own_and_changes_no_health() -> None:
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it", shadow=ShadowPolicy(trip=Adaptive())))
        dependency = ScriptedDependency()
        dependency.breaks()
        for _ in range(4):
            with pytest.raises(DependencyDown):
                await breaker.execute(dependency)
        health = breaker_health(await breaker.snapshot())
        plain = breaker_health(await panel.breaker(CircuitBreakerConfig(name="plain")).snapshot())
    shadow = health["circuit_breaker"].pop("shadow")
    assert (health["status"], health["circuit_breaker"]["state"]) == ("healthy", "CLOSED")
    assert health["circuit_breaker"].keys() == plain["circuit_breaker"].keys()
    assert (shadow["opened"], shadow["state"], shadow["stopped"]) == (0, "CLOSED", None)
    assert shadow["calls"]["admitted"]["failure"] == shadow["failure_count"] == 4
    assert shadow["learned"]["evidence"] == 4
    assert json.loads(json.dumps(shadow)) == shadow
