"""A half-open breaker."""

from __future__ import annotations

from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CircuitBreaker, CircuitBreakerConfig, Panel
from tests.actors.machine.machines import H


async def half_open(panel: Panel, clock: MockClock, **policy: object) -> CircuitBreaker:
    breaker = panel.breaker(CircuitBreakerConfig(name="it", **policy))  # type: ignore[arg-type]
    await breaker.trip()
    clock.jump(breaker.config.reset_timeout)
    await wait_all_tasks_blocked()
    assert breaker.state is H
    return breaker
