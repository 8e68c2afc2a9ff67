"""Calls through a breaker that has a probe of its own."""

from __future__ import annotations

import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CircuitOpenError, Panel, State, Transition
from actors.testing import ScriptedDependency, advance
from tests.actors.call.breakers import fail, new_breaker


async def test_a_breaker_with_an_own_probe_admits_no_call_as_probe(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    probe = ScriptedDependency()
    breaker = new_breaker(panel, max_failures=1, probe=probe)
    await fail(breaker, dependency, 1)
    probe.holds()
    await advance(mock_clock, 60)
    assert probe.running == 1
    with pytest.raises(CircuitOpenError):
        await breaker.execute(dependency)
    probe.breaks()
    probe.lets_go()
    await wait_all_tasks_blocked()
    assert breaker.state is State.OPEN
    probe.mends()
    await advance(mock_clock, 60)
    assert breaker.state is State.CLOSED
    assert probe.calls == 2
    assert dependency.calls == 1


async def test_an_own_probe_that_hangs_is_cancelled_and_opens_the_breaker(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    probe = ScriptedDependency()
    breaker = new_breaker(panel, max_failures=1, probe=probe, half_open_timeout=3)
    await fail(breaker, dependency, 1)
    probe.holds()
    await advance(mock_clock, 60)
    await advance(mock_clock, 3)
    assert breaker.state is State.OPEN
    assert probe.running == 0
    probe.lets_go()
    await advance(mock_clock, 60)
    assert breaker.state is State.CLOSED


async def test_own_probes_run_until_enough_have_succeeded(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    probe = ScriptedDependency()
    breaker = new_breaker(panel, max_failures=1, probe=probe, successes_to_close=3)
    await fail(breaker, dependency, 1)
    await advance(mock_clock, 60)
    assert breaker.state is State.CLOSED
    assert probe.calls == 3


async def test_an_observed_breaker_with_an_own_probe_recovers_by_the_calls_of_callers(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = new_breaker(panel, max_failures=1, probe=dependency)
    await breaker.observe()
    async with panel.events() as events:
        await fail(breaker, dependency, 1)
        await advance(mock_clock, 60)
        await breaker.execute(dependency)
        seen = [await anext(events) for _ in range(3)]
    assert [event.new for event in seen if isinstance(event, Transition)] == [
        State.OPEN,
        State.HALF_OPEN,
        State.CLOSED,
    ]
