"""guard().exclude(): time that is no part of a call's duration."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    CallTimeout,
    CircuitBreaker,
    CircuitBreakerConfig,
    Guard,
    LastCalls,
    Panel,
    SlowCallRate,
    open_panel,
)
from tests.actors.actor.half_open import half_open
from tests.actors.machine.machines import C, O


async def test_excluded_time_is_no_part_of_the_duration(mock_clock: MockClock) -> None:
    async with open_panel(durations=(1.0, 5.0)) as panel:
        config = CircuitBreakerConfig(name="it", trip=SlowCallRate(1.0, 2.0, LastCalls(1), 1))
        breaker = panel.breaker(config)
        async with breaker.guard() as call:
            mock_clock.jump(4.5)
            call.exclude(1.0)
            call.exclude(2.0)
        assert (await breaker.snapshot()).state is C
        assert await totals(breaker) == 1.5
        async with breaker.guard() as call:
            mock_clock.jump(1.0)
            call.exclude(3.0)
            call.exclude(-50.0)
            call.exclude(float("nan"))
        assert await totals(breaker) == 1.5, "never below zero, never longer"
        async with breaker.guard() as call:
            mock_clock.jump(3.0)
            call.exclude(2.0)
            call.succeed()
        assert await totals(breaker) == 2.5
        async with breaker.guard() as call:
            mock_clock.jump(3.0)
            call.exclude(1.0)
        assert breaker.state is O


async def totals(breaker: CircuitBreaker) -> float:
    durations = (await breaker.snapshot()).durations
    assert durations is not None
    return durations.total


async def test_excluded_time_is_no_part_of_the_time_to_an_answer(panel: Panel, mock_clock: MockClock) -> None:
    trip = SlowCallRate(0.5, 2.0, LastCalls(2), 2)
    breaker = await half_open(panel, mock_clock, trip=trip)
    for excluded, after in ((0.0, O), (2.0, C)):
        async with breaker.guard() as call:
            mock_clock.jump(3.0)
            call.exclude(excluded)
            call.answered()
            await wait_all_tasks_blocked()
            assert breaker.state is after
        mock_clock.jump(60)
        await wait_all_tasks_blocked()


async def test_excluded_time_is_no_part_of_a_call_that_timed_out(mock_clock: MockClock) -> None:
    async with open_panel(durations=(1.0, 5.0)) as panel:
        config = CircuitBreakerConfig(name="it", trip=SlowCallRate(1.0, 2.0, LastCalls(1), 1), call_timeout=3)
        breaker = panel.breaker(config)
        for excluded, after in ((2.0, C), (0.5, O)):
            with pytest.raises(CallTimeout):
                async with breaker.guard() as call:
                    call.exclude(excluded)
                    mock_clock.jump(3)
                    await trio.sleep_forever()
            assert breaker.state is after
        assert await totals(breaker) == 3.5


async def test_exclude_does_nothing_if_no_time_is_measured(panel: Panel) -> None:
    breaker = panel.breaker(CircuitBreakerConfig(name="it"))
    async with breaker.guard() as call:
        call.exclude(1.0)
    assert isinstance(call, Guard)
    assert (await breaker.snapshot()).counts["success"] == 1
