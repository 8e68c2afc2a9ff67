"""The helpers for users' tests act as documented."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CircuitBreakerConfig, Panel, open_panel
from actors.testing import DependencyDown, ScriptedDependency, advance, run_with_panel, settle


async def test_a_script_is_followed_and_then_the_general_state() -> None:
    dependency = ScriptedDependency()
    mine = ValueError("mine")
    dependency.then(1, mine)
    dependency.breaks()
    assert await dependency("any", argument=True) == 1
    with pytest.raises(ValueError, match="mine") as raised:
        await dependency()
    assert raised.value is mine
    with pytest.raises(DependencyDown):
        await dependency()
    dependency.mends()
    assert await dependency() == "ok"
    assert dependency.calls == 4
    assert dependency.running == 0


async def test_calls_wait_until_they_are_let_go() -> None:
    dependency = ScriptedDependency()
    dependency.holds()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dependency)
        await wait_all_tasks_blocked()
        # After a second holds(), calls that wait already still end with the same lets_go().
        dependency.holds()
        assert dependency.running == 1
        dependency.lets_go()
    assert dependency.running == 0


async def test_calls_take_their_time(autojump_clock: MockClock) -> None:
    dependency = ScriptedDependency()
    dependency.takes(5)
    start = trio.current_time()
    await dependency()
    with trio.move_on_after(2):
        await dependency()
    assert trio.current_time() - start == 7
    assert dependency.running == 0


async def test_settle_returns_snapshots_with_all_calls_counted(mock_clock: MockClock) -> None:
    dependency = ScriptedDependency()
    async with open_panel() as panel, trio.open_nursery() as nursery:
        breaker = panel.breaker(CircuitBreakerConfig(name="it"))
        dependency.takes(1)
        for _ in range(3):
            nursery.start_soon(breaker.execute, dependency)
        assert (await settle(panel))["it"].in_flight == 3
        await advance(mock_clock, 1)
        assert (await settle(panel))["it"].counts["success"] == 3


def test_a_scenario_has_its_own_run_panel_and_clock() -> None:
    async def story(panel: Panel, clock: MockClock) -> str:
        start = trio.current_time()
        await advance(clock, 100)
        assert trio.current_time() == start + 100
        breaker = panel.breaker(CircuitBreakerConfig(name="it"))
        result: str = await breaker.execute(ScriptedDependency())
        return result

    assert run_with_panel(story) == "ok"


def test_autojump_advances_the_clock() -> None:
    async def story(panel: Panel, clock: MockClock) -> None:
        await trio.sleep(3600)

    run_with_panel(story, autojump=True)


def test_an_exception_of_a_scenario_is_not_wrapped() -> None:
    async def story(panel: Panel, clock: MockClock) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_with_panel(story)
