"""The shadow of a running breaker: calls, events, changes of the policy, a crash."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    Adaptive,
    CircuitBreakerConfig,
    CircuitOpenError,
    LastCalls,
    Panel,
    ShadowPolicy,
    ShadowTransition,
    SlowCallRate,
    State,
)
from actors.testing import DependencyDown, ScriptedDependency, advance
from tests.actors.call.breakers import fail, new_breaker
from tests.actors.insides import crash_next
from tests.actors.shadow.shadows import counts

TWO = ShadowPolicy(max_failures=2, reset_timeout=10)


async def test_a_shadow_opens_and_recovers_beside_a_closed_breaker(
    panel: Panel, mock_clock: MockClock
) -> None:
    breaker, dependency = new_breaker(panel, shadow=TWO), ScriptedDependency()
    async with panel.events() as events, panel.shadow_events() as shadows:
        await fail(breaker, dependency, 2)
        for _ in range(3):
            await breaker.execute(dependency)
        await advance(mock_clock, 10)
        await breaker.execute(dependency)
        await breaker.execute(dependency)
        seen = [await anext(shadows) for _ in range(3)]
        with trio.move_on_after(0):
            pytest.fail(f"the breaker did something: {await anext(events)}")
    assert [(one.name, one.old, one.new, one.time) for one in seen if isinstance(one, ShadowTransition)] == [
        ("it", State.CLOSED, State.OPEN, 0),
        ("it", State.OPEN, State.HALF_OPEN, 10),
        ("it", State.HALF_OPEN, State.CLOSED, 10),
    ]
    snapshot = await breaker.snapshot()
    assert counts(snapshot.shadow) == {
        "admitted failure": 2,
        "rejected success": 3,
        "admitted success": 2,
    }
    assert (snapshot.counts["success"], snapshot.counts["failure"]) == (5, 2)
    assert (snapshot.transitions, snapshot.would_reject) == ({}, 0)


async def test_rejections_on_the_gate_are_unseen(panel: Panel, mock_clock: MockClock) -> None:
    """They are counted by the shadow's state at their time, though the actor gets them later."""
    breaker = new_breaker(panel, max_failures=3, shadow=TWO)
    await fail(breaker, ScriptedDependency(), 3)
    for _ in range(4):
        with pytest.raises(CircuitOpenError):
            await breaker.execute(trio.sleep, 0)
    await advance(mock_clock, 10)
    with pytest.raises(CircuitOpenError):
        await breaker.execute(trio.sleep, 0)
    assert counts((await breaker.snapshot()).shadow) == {
        "admitted failure": 2,
        "rejected failure": 1,
        "rejected unseen": 4,
        "admitted unseen": 1,
    }


async def test_a_failure_within_a_call_counts_once_in_an_open_shadow(panel: Panel) -> None:
    breaker, broken = new_breaker(panel, shadow=TWO), ScriptedDependency()
    await fail(breaker, broken, 2)
    broken.breaks()
    with pytest.raises(DependencyDown):
        await breaker.execute(breaker.execute, broken)
    assert counts((await breaker.snapshot()).shadow) == {"admitted failure": 2, "rejected failure": 1}


async def test_calls_that_run_when_the_shadow_opens_end_as_they_would(panel: Panel) -> None:
    breaker, dependency = new_breaker(panel, shadow=TWO), ScriptedDependency()
    held = ScriptedDependency()
    held.holds()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(breaker.execute, held)
        await wait_all_tasks_blocked()
        await fail(breaker, dependency, 2)
        held.lets_go()
    snapshot = await breaker.snapshot()
    assert (snapshot.in_flight, snapshot.late) == (0, 0)
    assert counts(snapshot.shadow) == {"admitted failure": 2, "admitted success": 3}


async def test_a_guard_that_fails_after_its_success_counts_in_the_shadow(panel: Panel) -> None:
    breaker = new_breaker(panel, shadow=ShadowPolicy(max_failures=1))
    with pytest.raises(DependencyDown):
        async with breaker.guard() as call:
            call.answered()
            raise DependencyDown
    snapshot = await breaker.snapshot()
    assert snapshot.shadow is not None
    assert snapshot.shadow.state is State.OPEN


@pytest.mark.parametrize("trip", [Adaptive(), SlowCallRate(0.5, 1.0, LastCalls(2), minimum_calls=2)])
async def test_a_shadow_that_needs_more_of_a_call_gets_it(
    panel: Panel, autojump_clock: MockClock, trip: object
) -> None:
    """The breaker's own policy needs no more of a call than two counts."""
    breaker = new_breaker(panel, shadow=ShadowPolicy(trip=trip))  # type: ignore[arg-type]
    assert not breaker.allows_fast_path
    for _ in range(2):
        await breaker.execute(trio.sleep, 2)
    snapshot = await breaker.snapshot()
    assert snapshot.shadow is not None
    assert snapshot.shadow.state is (State.CLOSED if trip == Adaptive() else State.OPEN)
    assert snapshot.slow_count == 0


async def test_without_a_shadow_calls_are_as_fast_as_before(panel: Panel) -> None:
    assert new_breaker(panel).allows_fast_path
    assert new_breaker(panel, "shadowed", shadow=TWO).fast is not None


async def test_a_reload_keeps_an_unchanged_shadow_and_ends_a_removed_one(panel: Panel) -> None:
    breaker = new_breaker(panel, shadow=TWO)
    await fail(breaker, ScriptedDependency(), 2)
    await breaker.configure(CircuitBreakerConfig(name="it", max_failures=9, shadow=TWO))
    shadow = (await breaker.snapshot()).shadow
    assert shadow is not None
    assert (shadow.state, counts(shadow)) == (State.OPEN, {"admitted failure": 2})
    await breaker.configure(CircuitBreakerConfig(name="it", max_failures=9))
    assert (await breaker.snapshot()).shadow is None
    assert breaker.fast is not None


async def test_a_crash_of_the_actor_keeps_the_shadow(panel: Panel) -> None:
    breaker = new_breaker(panel, shadow=TWO)
    await fail(breaker, ScriptedDependency(), 2)
    crash_next(breaker)
    snapshot = await breaker.snapshot()
    assert snapshot.restarts == 1
    assert counts(snapshot.shadow) == {"admitted failure": 2}
    assert snapshot.shadow is not None
    assert snapshot.shadow.state is State.OPEN


async def test_calls_through_an_open_shadow_cost_no_waiting_task_its_place(panel: Panel) -> None:
    breaker = new_breaker(panel, shadow=TWO)
    await fail(breaker, ScriptedDependency(), 2)
    with trio.fail_after(1):
        await breaker.wait_until_admitting()
