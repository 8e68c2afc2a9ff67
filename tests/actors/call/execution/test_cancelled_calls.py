"""Cancelled calls: by their callers, by opening, and by closed coroutines and generators."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CircuitOpenError, Panel, RejectReason, State
from actors.testing import ScriptedDependency, advance
from tests.actors.call.breakers import fail, new_breaker


@pytest.mark.parametrize("fields", [{}, {"call_timeout": 99}, {"max_concurrent": 1}])
@pytest.mark.parametrize("half_open", [False, True])
async def test_a_cancelled_call_is_neutral_and_gives_its_permit_back(
    panel: Panel,
    dependency: ScriptedDependency,
    mock_clock: MockClock,
    fields: dict[str, float],
    half_open: bool,
) -> None:
    breaker = new_breaker(panel, max_failures=1, **fields)
    if half_open:
        await fail(breaker, dependency, 1)
        await advance(mock_clock, 60)
    before = breaker.state
    dependency.holds()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(breaker.execute, dependency)
            await wait_all_tasks_blocked()
            assert (await breaker.snapshot()).in_flight == 1
            scope.cancel()
    snapshot = await breaker.snapshot()
    assert breaker.state is before
    assert snapshot.in_flight == 0
    assert snapshot.counts["cancelled"] == 1
    dependency.lets_go()
    assert await breaker.execute(dependency) == "ok"


async def test_opening_cancels_calls_in_flight_with_cancel_in_flight(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = new_breaker(panel, max_failures=1, cancel_in_flight=True)
    raised = []

    async def one() -> None:
        with pytest.raises(CircuitOpenError) as caught:
            await breaker.execute(trio.sleep_forever)
        raised.append(caught.value.reason)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(one)
        await wait_all_tasks_blocked()
        await fail(breaker, dependency, 1)
    assert raised == [RejectReason.OPEN] * 3
    snapshot = await breaker.snapshot()
    assert snapshot.in_flight == 0
    assert snapshot.counts["cancelled"] == 3
    assert snapshot.counts["failure"] == 1


async def test_a_closed_coroutine_gives_its_permit_back(panel: Panel) -> None:
    breaker = new_breaker(panel)

    async def park() -> None:
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)

    coroutine = breaker.execute(park)
    coroutine.send(None)
    assert (await breaker.snapshot()).in_flight == 1
    coroutine.close()
    snapshot = await breaker.snapshot()
    assert snapshot.in_flight == 0
    assert snapshot.counts["cancelled"] == 1


async def test_force_open_cancels_calls_in_flight_with_cancel_in_flight(panel: Panel) -> None:
    breaker = new_breaker(panel, cancel_in_flight=True)

    async def call() -> None:
        with pytest.raises(CircuitOpenError, match="FORCED_OPEN"):
            await breaker.execute(trio.sleep_forever)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        await breaker.force_open()


@pytest.mark.parametrize("half_open", [False, True])
async def test_a_generator_closed_inside_a_guard_counts_as_cancelled(
    panel: Panel, mock_clock: MockClock, half_open: bool
) -> None:
    """Its permit is free again: in HALF_OPEN, the next call is the probe."""
    breaker = new_breaker(panel, max_failures=1)
    if half_open:
        await breaker.trip()
        await advance(mock_clock, 60)
    before = breaker.state

    async def rows() -> AsyncIterator[int]:
        async with breaker.guard():
            yield 1

    generator = rows()
    await anext(generator)
    assert (await breaker.snapshot()).in_flight == 1
    await generator.aclose()  # type: ignore[attr-defined]
    snapshot = await breaker.snapshot()
    assert snapshot.state is before
    assert snapshot.in_flight == 0
    assert snapshot.counts["cancelled"] == 1
    async with breaker.guard():
        pass
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("disabled", [False, True])
async def test_a_generator_closed_after_its_success_or_while_disabled_counts_no_cancellation(
    panel: Panel, disabled: bool
) -> None:
    """A settled call keeps its outcome, and a disabled breaker counts nothing."""
    breaker = new_breaker(panel)
    if disabled:
        await breaker.disable()

    async def rows() -> AsyncIterator[int]:
        async with breaker.guard() as call:
            if not disabled:
                call.succeed()
            yield 1

    generator = rows()
    await anext(generator)
    await generator.aclose()  # type: ignore[attr-defined]
    counts = (await breaker.snapshot()).counts
    assert counts["success"] == (0 if disabled else 1)
    assert counts["cancelled"] == 0


async def test_a_group_of_cancellations_counts_as_cancelled(panel: Panel) -> None:
    """Some libraries put the Cancelled of their child tasks into an exception group."""
    breaker = new_breaker(panel, max_failures=1)

    async def wrapping() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            raise BaseExceptionGroup("children", [cancelled]) from None

    with trio.move_on_after(0):
        await breaker.execute(wrapping)
    snapshot = await breaker.snapshot()
    assert snapshot.state is State.CLOSED
    assert snapshot.counts["cancelled"] == 1
    assert snapshot.in_flight == 0


async def test_a_cancelled_call_counts_as_cancelled_after_fail(panel: Panel) -> None:
    """A cancelled call doesn't count as a failure, even after `fail()`."""
    breaker = new_breaker(panel, max_failures=1)
    with trio.move_on_after(0):
        async with breaker.guard() as call:
            call.fail("failed before it was cancelled")
            await trio.sleep_forever()
    assert (await breaker.snapshot()).counts["cancelled"] == 1
    assert breaker.state is State.CLOSED
