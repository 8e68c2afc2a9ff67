"""A reset while closed: calls that run are late, and counting starts again."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CallTimeout, FailureRate, LastCalls, Panel, State
from actors.testing import DependencyDown, ScriptedDependency, advance
from tests.actors.call.breakers import fail, new_breaker

POLICIES = {
    "a fast call": {},
    "a timed call": {"trip": FailureRate(1.0, LastCalls(9), 9)},
    "a call with a timeout": {"call_timeout": 60},
    "a call with a place": {"max_concurrent": 9},
}


@pytest.mark.parametrize("style", ["execute", "guard", "protect"])
@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
async def test_running_calls_are_late_after_a_reset_while_closed(
    panel: Panel, dependency: ScriptedDependency, policy: dict[str, object], style: str, fails: bool
) -> None:
    """They began in the generation before the reset. No transition is reported."""
    breaker = new_breaker(panel, **policy)
    dependency.holds()
    protected = breaker.protect(dependency.__call__)

    async def call() -> None:
        with suppress(DependencyDown):
            if style == "guard":
                async with breaker.guard():
                    await dependency()
            else:
                await (protected() if style == "protect" else breaker.execute(dependency))

    async with panel.events() as events, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(call)
        await wait_all_tasks_blocked()
        await breaker.reset()
        if fails:
            dependency.breaks()
        dependency.lets_go()
        await wait_all_tasks_blocked()
        seen = await breaker.snapshot()
        with trio.move_on_after(0) as nothing:
            await anext(events)
    assert nothing.cancelled_caught
    assert seen.state is State.CLOSED
    assert seen.generation == 2
    assert seen.failure_count == 0
    assert seen.late == 3
    assert seen.in_flight == 0
    assert seen.counts["failure" if fails else "success"] == 3


async def test_a_reset_while_closed_clears_the_failures_and_calls_after_it_count(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = new_breaker(panel, max_failures=3)
    await fail(breaker, dependency, 2)
    await breaker.reset()
    assert (await breaker.snapshot()).failure_count == 0
    await fail(breaker, dependency, 2)
    assert breaker.state is State.CLOSED
    assert (await breaker.snapshot()).late == 0
    await fail(breaker, dependency, 1)
    assert breaker.state is State.OPEN


async def test_a_success_from_before_a_reset_does_not_clear_failures_after_it(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = new_breaker(panel, max_failures=2)
    dependency.holds()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, dependency)
        await wait_all_tasks_blocked()
        await breaker.reset()
        await fail(breaker, ScriptedDependency(), 1)
        dependency.lets_go()
    await fail(breaker, dependency, 1)
    assert breaker.state is State.OPEN


async def test_a_call_that_times_out_after_a_reset_is_late(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = new_breaker(panel, max_failures=1, call_timeout=5)
    async with trio.open_nursery() as nursery:

        async def call() -> None:
            with pytest.raises(CallTimeout):
                await breaker.execute(trio.sleep_forever)

        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        await breaker.reset()
        await advance(mock_clock, 5)
    assert breaker.state is State.CLOSED
    assert (await breaker.snapshot()).late == 1
