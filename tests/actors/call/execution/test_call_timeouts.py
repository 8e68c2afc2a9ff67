"""Calls that take longer than call_timeout."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CallTimeout, Panel, State
from actors.testing import ScriptedDependency, advance
from tests.actors.call.breakers import new_breaker


async def test_a_call_timeout_counts_when_it_fires_even_if_the_call_lingers(
    panel: Panel, mock_clock: MockClock
) -> None:
    breaker = new_breaker(panel, max_failures=1, call_timeout=5)

    async def stubborn() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(100)

    with pytest.RaisesGroup(CallTimeout):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(breaker.execute, stubborn)
            await wait_all_tasks_blocked()
            await advance(mock_clock, 5)
            assert breaker.state is State.OPEN
            await advance(mock_clock, 100)
    snapshot = await breaker.snapshot()
    assert snapshot.counts["failure"] == 1
    assert snapshot.in_flight == 0
    assert snapshot.late == 0


async def test_a_call_timeout_names_its_breaker_and_has_no_cause(
    panel: Panel, dependency: ScriptedDependency, autojump_clock: MockClock
) -> None:
    breaker = new_breaker(panel, call_timeout=5)
    dependency.holds()
    with pytest.raises(CallTimeout, match="'it'.*5 s") as caught:
        await breaker.execute(dependency)
    assert trio.current_time() == 5
    assert caught.value.__cause__ is None


async def test_a_callers_own_deadline_is_no_call_timeout(
    panel: Panel, dependency: ScriptedDependency, autojump_clock: MockClock
) -> None:
    breaker = new_breaker(panel, max_failures=1, call_timeout=5)
    dependency.holds()
    with trio.move_on_after(5) as scope:
        await breaker.execute(dependency)
    assert scope.cancelled_caught or breaker.state is State.OPEN
    with trio.move_on_after(4) as scope:
        await breaker.reset()
        await breaker.execute(dependency)
    assert scope.cancelled_caught
    assert breaker.state is State.CLOSED


async def test_each_of_many_calls_times_out_at_its_own_deadline(panel: Panel, mock_clock: MockClock) -> None:
    breaker = new_breaker(panel, max_failures=99, call_timeout=10)
    ended = []

    async def one(number: int) -> None:
        with pytest.raises(CallTimeout):
            await breaker.execute(trio.sleep_forever)
        ended.append((number, trio.current_time()))

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(one, number)
            await advance(mock_clock, 0)
            await advance(mock_clock, 1)
        for _ in range(20):
            await advance(mock_clock, 1)
    assert ended == [(number, 10 + number) for number in range(5)]
