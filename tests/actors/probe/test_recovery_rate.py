"""half_open_failure_rate with real calls, and with the breaker's own probe."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CircuitBreaker, CircuitBreakerConfig, Panel, State
from actors.testing import DependencyDown, ScriptedDependency, advance
from tests.actors.machine.machines import C, H, O


def rate_policy(**settings: object) -> CircuitBreakerConfig:
    values = {"name": "it", "max_failures": 1, "reset_timeout": 10, "half_open_max_calls": 3, **settings}
    return CircuitBreakerConfig(**{"half_open_failure_rate": 0.5, **values})  # type: ignore[arg-type]


async def recovering_breaker(panel: Panel, clock: MockClock, **settings: object) -> CircuitBreaker:
    breaker = panel.breaker(rate_policy(**settings))
    await breaker.trip()
    await advance(clock, 10)
    assert breaker.state is H
    return breaker


@pytest.mark.parametrize("style", ["execute", "guard", "protect"])
async def test_every_call_style_probes(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock, style: str
) -> None:
    breaker = await recovering_breaker(panel, mock_clock)

    @breaker.protect
    async def protected() -> object:
        return await dependency()

    async def call() -> None:
        if style == "guard":
            async with breaker.guard():
                await dependency()
        else:
            await (breaker.execute(dependency) if style == "execute" else protected())

    dependency.then("ok", DependencyDown("down"), "ok")
    await call()
    with pytest.raises(DependencyDown):
        await call()
    assert breaker.state is H
    await call()
    assert breaker.state is C


@pytest.mark.parametrize(
    ("script", "after"), [((True, False, True), C), ((False, True, False), O), ((True, True, True), C)]
)
async def test_the_breakers_own_probe_runs_once_for_each_probe_that_is_judged(
    panel: Panel, mock_clock: MockClock, script: tuple[bool, ...], after: State
) -> None:
    """One after another, and no caller is risked."""
    passes, ran = list(script), []

    async def own() -> None:
        ran.append(trio.current_time())
        await trio.sleep(1)
        if not passes.pop(0):
            raise DependencyDown

    breaker = panel.breaker(rate_policy(probe=own))
    await breaker.trip()
    await advance(mock_clock, 10)
    for _ in range(3):
        assert breaker.state is H
        await advance(mock_clock, 1)
    assert breaker.state is after
    assert ran == [10, 11, 12]


async def test_an_own_probe_that_hangs_is_one_failed_probe(panel: Panel, mock_clock: MockClock) -> None:
    ran = []

    async def own() -> None:
        ran.append(trio.current_time())
        if len(ran) == 1:
            await trio.sleep_forever()

    breaker = panel.breaker(rate_policy(probe=own, half_open_timeout=5))
    await breaker.trip()
    await advance(mock_clock, 10)
    await advance(mock_clock, 5)
    await wait_all_tasks_blocked()
    assert breaker.state is C
    assert ran == [10, 15, 15]


async def test_a_guard_that_succeeded_and_then_failed_is_a_failed_probe(
    panel: Panel, mock_clock: MockClock
) -> None:
    breaker = await recovering_breaker(panel, mock_clock)
    for _ in range(2):
        assert breaker.state is H
        async with breaker.guard() as guard:
            guard.succeed()
            guard.fail("broke off")
    assert breaker.state is O
