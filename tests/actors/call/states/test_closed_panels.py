"""Calls after the end of their panel, and calls from another trio.run."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors import CircuitBreaker, CircuitBreakerConfig, Panel, PanelClosedError, open_panel
from actors.testing import DependencyDown, ScriptedDependency
from tests.actors.call.breakers import new_breaker


async def test_a_closed_panel_refuses_every_call_at_once(dependency: ScriptedDependency) -> None:
    async with open_panel() as panel:
        breaker = new_breaker(panel)
        await breaker.execute(dependency)
    for refused in (
        breaker.execute(dependency),
        breaker.execute_or(lambda error: None, dependency),
        breaker.snapshot(),
        breaker.trip(),
        breaker.wait_closed(),
    ):
        with pytest.raises(PanelClosedError):
            await refused
    with pytest.raises(PanelClosedError):
        panel.breaker(CircuitBreakerConfig(name="new"))
    assert dependency.calls == 1


async def test_a_call_that_outlives_its_panel_returns_its_own_result(dependency: ScriptedDependency) -> None:
    dependency.holds()
    results = []

    async def outlive(breaker: CircuitBreaker) -> None:
        results.append(await breaker.execute(dependency))

    async with trio.open_nursery() as nursery:
        async with open_panel() as panel:
            nursery.start_soon(outlive, new_breaker(panel))
            await wait_all_tasks_blocked()
        dependency.lets_go()
    assert results == ["ok"]


async def test_a_call_that_outlives_its_panel_raises_its_own_exception() -> None:
    dependency = ScriptedDependency()
    dependency.holds()
    dependency.breaks()

    async def outlive(breaker: CircuitBreaker) -> None:
        with pytest.raises(DependencyDown):
            await breaker.execute(dependency)

    async with trio.open_nursery() as nursery:
        async with open_panel() as panel:
            nursery.start_soon(outlive, new_breaker(panel))
            await wait_all_tasks_blocked()
        dependency.lets_go()


async def test_a_call_from_another_trio_run_is_refused(panel: Panel) -> None:
    breaker = new_breaker(panel)

    def elsewhere() -> None:
        trio.run(breaker.snapshot)

    with pytest.raises(RuntimeError, match=r"belongs to the trio\.run"):
        await trio.to_thread.run_sync(elsewhere)
    assert await trio.to_thread.run_sync(lambda: trio.from_thread.run(breaker.execute, trio.sleep, 0)) is None
