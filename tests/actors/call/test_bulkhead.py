"""Calls that wait for a free place of the bulkhead: cancelled, rejected, and admitted by a new policy."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors import CircuitBreakerConfig, CircuitOpenError, Panel, open_panel
from actors.testing import ScriptedDependency
from tests.actors.policies import policy


@pytest.mark.parametrize("policies", [{}, {"call_timeout": 5}])
async def test_a_disabled_breaker_does_not_count_a_cancelled_waiter(
    panel: Panel, policies: dict[str, float]
) -> None:
    """Calls that wait for a free place of the bulkhead included."""
    breaker = panel.breaker(policy(max_concurrent=1, max_queue=1, **policies))
    await breaker.disable()
    async with breaker.guard():
        with trio.move_on_after(0):
            await breaker.execute(trio.sleep, 0)
    assert sum((await breaker.snapshot()).counts.values()) == 0


async def test_a_waiter_rejected_by_the_open_breaker_frees_its_place(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    """The waiter gets its place after the breaker has opened, and is rejected."""
    breaker = panel.breaker(policy(max_concurrent=1, max_queue=1))
    rejected = []

    async def wait() -> None:
        with pytest.raises(CircuitOpenError):
            await breaker.execute(dependency)
        rejected.append(1)

    async with trio.open_nursery() as nursery:
        async with breaker.guard():
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            await breaker.trip()
    await breaker.reset()
    assert rejected == [1]
    assert await breaker.execute(dependency) == "ok"


@pytest.mark.parametrize("places", [2, None])
async def test_a_new_policy_admits_waiting_calls_at_once(
    panel: Panel, dependency: ScriptedDependency, places: int | None
) -> None:
    """With a larger max_concurrent, and without any."""
    breaker = panel.breaker(policy(max_concurrent=1, max_queue=1))
    dependency.holds()
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(breaker.execute, dependency)
        await wait_all_tasks_blocked()
        assert dependency.running == 1
        await breaker.configure(policy(max_concurrent=places))
        await wait_all_tasks_blocked()
        assert dependency.running == 2
        dependency.lets_go()


async def test_a_disabled_breaker_does_not_count_a_call_cancelled_in_the_queue() -> None:
    async with open_panel() as panel, trio.open_nursery() as nursery:
        breaker = panel.breaker(CircuitBreakerConfig(name="it", max_concurrent=1, max_queue=1))
        await breaker.disable()
        nursery.start_soon(breaker.execute, trio.sleep_forever)
        await wait_all_tasks_blocked()
        with trio.move_on_after(0):
            await breaker.execute(trio.sleep, 0)
        assert (await breaker.snapshot()).counts["cancelled"] == 0
        nursery.cancel_scope.cancel()
