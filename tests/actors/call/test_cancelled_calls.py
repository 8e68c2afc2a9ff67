"""Cancelled calls: closed generators, groups of cancellations, and cancellation after a verdict."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CircuitOpenError, Panel, State
from actors.testing import advance
from tests.actors.policies import policy


@pytest.mark.parametrize("half_open", [False, True])
async def test_a_generator_closed_inside_a_guard_counts_as_cancelled(
    panel: Panel, mock_clock: MockClock, half_open: bool
) -> None:
    """Its permit is free again: in HALF_OPEN, the next call is the probe."""
    breaker = panel.breaker(policy(max_failures=1))
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
    breaker = panel.breaker(policy())
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
    breaker = panel.breaker(policy(max_failures=1))

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
    breaker = panel.breaker(policy(max_failures=1))
    with trio.move_on_after(0):
        async with breaker.guard() as call:
            call.fail("failed before it was cancelled")
            await trio.sleep_forever()
    assert (await breaker.snapshot()).counts["cancelled"] == 1
    assert breaker.state is State.CLOSED


async def test_force_open_cancels_calls_in_flight_with_cancel_in_flight(panel: Panel) -> None:
    """As opening does."""
    breaker = panel.breaker(policy(cancel_in_flight=True))

    async def call() -> None:
        with pytest.raises(CircuitOpenError, match="FORCED_OPEN"):
            await breaker.execute(trio.sleep_forever)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        await breaker.force_open()
