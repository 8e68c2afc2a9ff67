"""CallSettled events: of an early success, and of a call older than the subscription."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors import CallSettled, Outcome, Panel
from actors.testing import ScriptedDependency
from tests.actors.call.breakers import new_breaker


async def test_succeed_emits_its_event_inside_the_block(panel: Panel) -> None:
    breaker = new_breaker(panel)
    async with breaker.events() as events, breaker.guard() as call:
        call.succeed()
        event = await anext(events)
        assert isinstance(event, CallSettled)
        assert event.outcome is Outcome.SUCCESS
    snapshot = await breaker.snapshot()
    assert snapshot.counts["success"] == 1
    assert snapshot.in_flight == 0


async def test_a_call_that_began_before_the_subscription_emits_its_event(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    """Without subscribers, successes are counted on the gate and emit no events."""
    breaker = new_breaker(panel)
    dependency.holds()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, dependency)
        await wait_all_tasks_blocked()
        async with breaker.events() as events:
            dependency.lets_go()
            await wait_all_tasks_blocked()
            await breaker.snapshot()
            event = await anext(events)
    assert isinstance(event, CallSettled)
    assert event.outcome is Outcome.SUCCESS
    assert not event.late


async def test_events_refuses_a_buffer_of_0(panel: Panel) -> None:
    """Such a subscriber would lose every event."""
    with pytest.raises(ValueError, match="buffer must be at least 1, got 0"):
        async with panel.events(buffer=0):
            pass
