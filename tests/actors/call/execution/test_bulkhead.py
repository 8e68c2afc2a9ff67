"""The bulkhead: full, with waiting calls, and configured while calls wait."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import BulkheadFullError, CircuitOpenError, Panel, State, open_panel
from actors.testing import DependencyDown, ScriptedDependency, advance
from tests.actors.call.breakers import new_breaker
from tests.actors.policies import policy


async def test_a_rejection_by_a_full_bulkhead_is_no_failure(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = new_breaker(panel, max_failures=1, max_concurrent=2)
    dependency.holds()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, dependency)
        nursery.start_soon(breaker.execute, dependency)
        await wait_all_tasks_blocked()
        with pytest.raises(BulkheadFullError, match="2 calls are running"):
            await breaker.execute(dependency)
        dependency.lets_go()
    snapshot = await breaker.snapshot()
    assert snapshot.state is State.CLOSED
    assert snapshot.rejections["bulkhead"] == 1
    assert snapshot.counts["success"] == 2
    assert snapshot.counts["rejected"] == 1


async def test_waiting_calls_get_places_in_order_and_leave_when_cancelled(panel: Panel) -> None:
    breaker = new_breaker(panel, max_concurrent=1, max_queue=3)
    order = []
    release = trio.Event()

    async def one(number: int) -> None:
        order.append(number)
        await release.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, one, 0)
        await wait_all_tasks_blocked()
        scopes = []
        for number in range(1, 4):
            scope = trio.CancelScope()
            scopes.append(scope)

            async def waits(scope: trio.CancelScope = scope, number: int = number) -> None:
                with scope:
                    await breaker.execute(one, number)

            nursery.start_soon(waits)
            await wait_all_tasks_blocked()
        with pytest.raises(BulkheadFullError):
            await breaker.execute(one, 9)
        scopes[1].cancel()
        await wait_all_tasks_blocked()
        release.set()
    assert order == [0, 1, 3]
    snapshot = await breaker.snapshot()
    assert snapshot.counts["success"] == 3
    assert snapshot.counts["cancelled"] == 1
    assert snapshot.in_flight == 0


async def test_a_waiting_call_is_rejected_after_queue_timeout(
    panel: Panel, autojump_clock: MockClock
) -> None:
    breaker = new_breaker(panel, max_concurrent=1, max_queue=1, queue_timeout=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, trio.sleep, 10)
        await wait_all_tasks_blocked()
        with pytest.raises(BulkheadFullError):
            await breaker.execute(trio.sleep, 1)
        assert trio.current_time() == 2


async def test_waiting_calls_are_rejected_if_the_breaker_opens_before_they_get_a_place(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = new_breaker(panel, max_failures=1, max_concurrent=1, max_queue=5)
    dependency.holds()
    dependency.breaks()
    rejected = []

    async def waits() -> None:
        try:
            await breaker.execute(dependency)
        except (CircuitOpenError, DependencyDown) as error:
            rejected.append(type(error))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(waits)
        await wait_all_tasks_blocked()
        dependency.lets_go()
    assert sorted(kind.__name__ for kind in rejected) == ["CircuitOpenError"] * 3 + ["DependencyDown"]
    assert dependency.calls == 1


async def test_a_probe_without_a_free_place_gives_its_permit_back(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = new_breaker(panel, max_failures=1, max_concurrent=1, max_queue=1)
    dependency.holds()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, dependency)
        await wait_all_tasks_blocked()
        await breaker.trip()
        await advance(mock_clock, 60)
        with pytest.raises(BulkheadFullError):
            await breaker.execute(dependency)
        dependency.lets_go()
    assert await breaker.execute(dependency) == "ok"
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("fields", [{}, {"call_timeout": 5}])
async def test_a_disabled_breaker_does_not_count_a_cancelled_waiting_call(
    panel: Panel, fields: dict[str, float]
) -> None:
    breaker = new_breaker(panel, max_concurrent=1, max_queue=1, **fields)
    await breaker.disable()
    async with breaker.guard():
        with trio.move_on_after(0):
            await breaker.execute(trio.sleep, 0)
    assert sum((await breaker.snapshot()).counts.values()) == 0


async def test_a_disabled_breaker_does_not_count_a_call_cancelled_while_another_runs() -> None:
    async with open_panel() as panel, trio.open_nursery() as nursery:
        breaker = new_breaker(panel, max_concurrent=1, max_queue=1)
        await breaker.disable()
        nursery.start_soon(breaker.execute, trio.sleep_forever)
        await wait_all_tasks_blocked()
        with trio.move_on_after(0):
            await breaker.execute(trio.sleep, 0)
        assert (await breaker.snapshot()).counts["cancelled"] == 0
        nursery.cancel_scope.cancel()


async def test_a_waiting_call_rejected_by_the_open_breaker_gives_its_place_back(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    """The call gets its place after the breaker has opened."""
    breaker = new_breaker(panel, max_concurrent=1, max_queue=1)
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
    breaker = new_breaker(panel, max_concurrent=1, max_queue=1)
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
