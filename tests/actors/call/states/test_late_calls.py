"""Calls that end after the state in which they began."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors import FailureRate, LastCalls, Panel, State
from actors.testing import DependencyDown, ScriptedDependency
from tests.actors.call.breakers import new_breaker


async def test_a_retired_gate_is_dropped_when_its_last_call_has_ended(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    """Memory stays bounded if a breaker opens often while calls are in flight."""
    breaker = new_breaker(panel, max_failures=1)
    for _ in range(3):
        dependency.breaks()
        with pytest.raises(DependencyDown):
            await breaker.execute(dependency)
        await breaker.reset()
        dependency.mends()
        dependency.holds()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(breaker.execute, dependency)
            await wait_all_tasks_blocked()
            await breaker.trip()
            assert len(breaker.retired or ()) == 1
            dependency.lets_go()
        snapshot = await breaker.snapshot()
        assert breaker.retired is None
        assert snapshot.in_flight == 0
        await breaker.reset()


async def test_a_success_that_completes_the_minimum_of_calls_trips(panel: Panel) -> None:
    """The call is admitted while no success can trip, and ends after a failure."""
    breaker = new_breaker(panel, trip=FailureRate(0.5, LastCalls(10), 2))
    dependency = ScriptedDependency()
    dependency.holds()
    dependency.then("ok")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, dependency)
        await wait_all_tasks_blocked()
        broken = ScriptedDependency()
        broken.breaks()
        with pytest.raises(DependencyDown):
            await breaker.execute(broken)
        assert breaker.state is State.CLOSED
        dependency.lets_go()
    assert breaker.state is State.OPEN
