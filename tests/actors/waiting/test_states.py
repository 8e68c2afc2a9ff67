"""When a wait for admission ends in each state."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CircuitBreaker, Panel, State
from actors.testing import DependencyDown, ScriptedDependency, advance
from tests.actors.waiting.waiters import call_anyway, quick_policy, waiting


@pytest.mark.parametrize("state", [State.CLOSED, State.DISABLED, State.OBSERVING])
async def test_a_wait_ends_at_once_in_a_state_that_admits_calls(
    panel: Panel, mock_clock: MockClock, state: State
) -> None:
    breaker = panel.breaker(quick_policy())
    if state is State.DISABLED:
        await breaker.disable()
    elif state is State.OBSERVING:
        await breaker.observe()
    async with waiting(breaker) as waiters:
        assert waiters.ended == [0]


@pytest.mark.parametrize("stop", [CircuitBreaker.trip, CircuitBreaker.force_open])
async def test_a_wait_goes_on_in_a_state_that_rejects_calls(
    panel: Panel, mock_clock: MockClock, stop: Callable[[CircuitBreaker], object]
) -> None:
    breaker = panel.breaker(quick_policy(reset_timeout=1000))
    await stop(breaker)  # type: ignore[misc]
    async with waiting(breaker) as waiters:
        await advance(mock_clock, 999)
        assert waiters.ended == []


@pytest.mark.parametrize(
    "start",
    [CircuitBreaker.reset, CircuitBreaker.disable, CircuitBreaker.observe],
    ids=lambda one: one.__name__,
)
@pytest.mark.parametrize(
    "stop", [CircuitBreaker.trip, CircuitBreaker.force_open], ids=lambda one: one.__name__
)
async def test_a_command_that_admits_calls_ends_every_wait(
    panel: Panel,
    mock_clock: MockClock,
    stop: Callable[[CircuitBreaker], object],
    start: Callable[[CircuitBreaker], object],
) -> None:
    breaker = panel.breaker(quick_policy())
    await stop(breaker)  # type: ignore[misc]
    async with waiting(breaker, 20) as waiters:
        await start(breaker)  # type: ignore[misc]
        await wait_all_tasks_blocked()
        assert waiters.ended == [0] * 20


async def test_a_waiter_is_not_lost_when_an_operator_forces_the_breaker_open(
    panel: Panel, mock_clock: MockClock
) -> None:
    """FORCED_OPEN → OPEN → HALF_OPEN, and no call probes."""
    breaker = panel.breaker(quick_policy())
    await breaker.force_open()
    async with waiting(breaker) as waiters:
        await breaker.trip()
        await advance(mock_clock, 10)
        assert breaker.state is State.HALF_OPEN
        assert waiters.ended == []
        await advance(mock_clock, 1)
        assert waiters.ended == [11]


async def test_a_wait_ends_when_no_call_probes_for_a_second(panel: Panel, mock_clock: MockClock) -> None:
    """Otherwise a breaker whose only callers wait would stay half-open for ever."""
    breaker = panel.breaker(quick_policy())
    await breaker.trip()
    async with waiting(breaker, 3) as waiters:
        await advance(mock_clock, 10)
        await advance(mock_clock, 0.99)
        assert waiters.ended == []
        await advance(mock_clock, 0.01)
        assert waiters.ended == [11] * 3


@pytest.mark.parametrize("passes", [True, False])
async def test_a_wait_lasts_as_long_as_the_running_probe(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock, passes: bool
) -> None:
    breaker = panel.breaker(quick_policy(half_open_timeout=None))
    await breaker.trip()
    await advance(mock_clock, 10)
    dependency.holds()
    if not passes:
        dependency.breaks()
    async with waiting(breaker) as waiters, trio.open_nursery() as nursery:
        nursery.start_soon(call_anyway, breaker, dependency)
        await wait_all_tasks_blocked()
        await advance(mock_clock, 500)
        assert waiters.ended == []
        dependency.lets_go()
        await wait_all_tasks_blocked()
        assert waiters.ended == ([510] if passes else [])


@pytest.mark.parametrize("ends", ["cancelled", "ignored"])
async def test_a_wait_ends_a_second_after_a_probe_that_decided_nothing(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock, ends: str
) -> None:
    breaker = panel.breaker(quick_policy(ignore=DependencyDown))
    await breaker.trip()
    await advance(mock_clock, 10)
    dependency.holds()
    dependency.breaks()
    async with waiting(breaker) as waiters, trio.open_nursery() as nursery:
        nursery.start_soon(call_anyway, breaker, dependency)
        await wait_all_tasks_blocked()
        await advance(mock_clock, 5)
        if ends == "cancelled":
            nursery.cancel_scope.cancel()
        else:
            dependency.lets_go()
        await wait_all_tasks_blocked()
        await advance(mock_clock, 0.9)
        assert breaker.state is State.HALF_OPEN
        assert waiters.ended == []
        with trio.CancelScope(shield=True):
            await advance(mock_clock, 0.125)
        assert len(waiters.ended) == 1


async def test_a_wait_ends_when_a_place_beside_a_running_probe_is_free(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = panel.breaker(quick_policy(half_open_max_calls=2, successes_to_close=2))
    await breaker.trip()
    await advance(mock_clock, 10)
    dependency.holds()
    async with waiting(breaker) as waiters, trio.open_nursery() as nursery:
        nursery.start_soon(call_anyway, breaker, dependency)
        await wait_all_tasks_blocked()
        await advance(mock_clock, 1)
        assert waiters.ended == [11]
        nursery.cancel_scope.cancel()


async def test_a_wait_goes_on_after_a_probe_that_times_out(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    breaker = panel.breaker(quick_policy(half_open_timeout=5))
    await breaker.trip()
    await advance(mock_clock, 10)
    dependency.holds()
    async with waiting(breaker) as waiters, trio.open_nursery() as nursery:
        nursery.start_soon(call_anyway, breaker, dependency)
        await wait_all_tasks_blocked()
        await advance(mock_clock, 5)
        assert breaker.state is State.OPEN
        assert waiters.ended == []
        await advance(mock_clock, 10)
        await advance(mock_clock, 1)
        assert waiters.ended == [26]
        nursery.cancel_scope.cancel()


async def test_the_breakers_own_probe_decides_and_no_waiter_probes(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock
) -> None:
    dependency.holds()
    breaker = panel.breaker(quick_policy(probe=dependency, half_open_timeout=None))
    await breaker.trip()
    async with waiting(breaker) as waiters:
        await advance(mock_clock, 10)
        await advance(mock_clock, 100)
        assert dependency.running == 1
        assert waiters.ended == []
        dependency.lets_go()
        await wait_all_tasks_blocked()
        assert waiters.ended == [110]


async def test_waiters_may_probe_once_the_policy_has_no_probe(panel: Panel, mock_clock: MockClock) -> None:
    async def hangs() -> None:
        await trio.sleep_forever()

    breaker = panel.breaker(quick_policy(probe=hangs, half_open_timeout=5))
    await breaker.trip()
    await advance(mock_clock, 10)
    async with waiting(breaker) as waiters:
        await breaker.configure(quick_policy(half_open_max_calls=2))
        await advance(mock_clock, 1)
        assert waiters.ended == [11]
