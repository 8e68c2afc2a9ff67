"""Waits for admission while a ramp admits a part of the calls."""

from __future__ import annotations

import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CircuitOpenError, Panel, State
from actors.machine.ramp import Ramp
from actors.testing import ScriptedDependency, advance
from tests.actors.waiting.waiters import quick_policy, waiting


async def test_a_wait_in_a_ramp_lasts_until_a_call_is_admitted(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = panel.breaker(quick_policy(ramp=10))
    await breaker.trip()
    await advance(mock_clock, 10)
    async with waiting(breaker) as waiters:
        await breaker.execute(dependency)
        await wait_all_tasks_blocked()
        assert breaker.state is State.CLOSED
        assert waiters.ended == []
        await advance(mock_clock, 9.9)
        assert waiters.ended == []
        await advance(mock_clock, 0.125)
        assert len(waiters.ended) == 1
        assert await breaker.execute(dependency) == "ok"


async def test_rejected_calls_in_a_ramp_bring_the_next_admission_nearer(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = panel.breaker(quick_policy(ramp=10))
    await breaker.trip()
    await advance(mock_clock, 10)
    async with waiting(breaker) as waiters:
        await breaker.execute(dependency)
        await advance(mock_clock, 5)
        with pytest.raises(CircuitOpenError):
            await breaker.execute(dependency)
        await wait_all_tasks_blocked()
        assert waiters.ended == [15]
        assert await breaker.execute(dependency) == "ok"


def test_a_single_call_at_the_ramps_next_admission_is_admitted() -> None:
    """Also if rounding would put that time an instant too early."""
    for start in (0.0, 0.1, 1000.3, 123456.789):
        for duration in (0.7, 3, 10, 30.3):
            for asked in ([], [0.1], [0.3, 0.1], [0.07] * 5):
                ramp = Ramp(start, duration)
                now = start
                for share in asked:
                    now = max(now, start + share * duration)
                    ramp.admit(now)
                assert ramp.admit(ramp.next_admission(now)), (start, duration, asked)


async def test_a_ramp_under_load_doesnt_wake_every_waiter_at_every_call(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock, asked_times: list[float]
) -> None:
    breaker = panel.breaker(quick_policy(ramp=100))
    await breaker.trip()
    await advance(mock_clock, 10)
    async with waiting(breaker, 10):
        await breaker.execute(dependency)
        for _ in range(9):
            await advance(mock_clock, 1)
            with pytest.raises(CircuitOpenError):
                await breaker.execute(dependency)
        # Once when they came, and once when the ramp began.
        assert len(asked_times) == 20
