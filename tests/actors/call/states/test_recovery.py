"""From OPEN through HALF_OPEN to CLOSED: deadlines, probes by calls, the ramp."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CircuitOpenError, FailureRate, LastCalls, Panel, RejectReason, State
from actors.testing import ScriptedDependency, advance
from tests.actors.call.breakers import fail, new_breaker


async def test_an_open_breaker_turns_half_open_at_its_deadline_without_traffic(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = new_breaker(panel, max_failures=1)
    await fail(breaker, dependency, 1)
    await advance(mock_clock, 59.9)
    assert breaker.state is State.OPEN
    await advance(mock_clock, 0.1)
    assert breaker.state is State.HALF_OPEN


async def test_a_call_at_exactly_the_deadline_is_admitted_before_the_actor_wakes(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = new_breaker(panel, max_failures=1)
    await fail(breaker, dependency, 1)
    mock_clock.jump(60)
    assert await breaker.execute(dependency) == "ok"


async def test_a_half_open_breaker_admits_one_of_twenty_calls(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = new_breaker(panel, max_failures=1)
    await fail(breaker, dependency, 1)
    await advance(mock_clock, 60)
    dependency.holds()
    rejections = []

    async def one() -> None:
        try:
            await breaker.execute(dependency)
        except CircuitOpenError as error:
            rejections.append((error.state, error.reason))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(one)
        await wait_all_tasks_blocked()
        assert dependency.running == 1
        dependency.lets_go()
    assert rejections == [(State.HALF_OPEN, RejectReason.PROBING)] * 19
    assert breaker.state is State.CLOSED


async def test_wait_closed_returns_when_a_probe_has_closed_the_breaker(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = new_breaker(panel, max_failures=1)
    await breaker.wait_closed()
    await fail(breaker, dependency, 1)
    waited = []

    async def wait() -> None:
        await breaker.wait_closed()
        waited.append(breaker.state)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await advance(mock_clock, 60)
        assert not waited
        await breaker.execute(dependency)
    assert waited == [State.CLOSED]


async def test_a_ramp_rejects_calls_after_recovery_with_a_failure_rate_too(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = new_breaker(panel, trip=FailureRate(0.5, LastCalls(4), 1), ramp=10)
    await fail(breaker, dependency, 1)
    await advance(mock_clock, 60)
    await breaker.execute(dependency)
    with pytest.raises(CircuitOpenError) as rejected:
        await breaker.execute(dependency)
    assert rejected.value.state is State.CLOSED
    assert rejected.value.reason is RejectReason.RAMP
    await advance(mock_clock, 10)
    assert [await breaker.execute(dependency) for _ in range(5)] == ["ok"] * 5
