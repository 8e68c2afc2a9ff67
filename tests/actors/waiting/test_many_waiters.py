"""Many waiters at once, their cost, cancellation, and the breaker's end."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    Panel,
    PanelClosedError,
    State,
    open_panel,
)
from actors.testing import advance
from tests.actors.waiting.waiters import quick_policy, waiting


async def test_many_waiters_with_one_probe_all_get_through(
    panel: Panel, mock_clock: MockClock, asked_times: list[float]
) -> None:
    """Each calls when its wait is over, and waits again when it was not quick enough."""
    mock_clock.autojump_threshold = 0
    breaker = panel.breaker(quick_policy())
    await breaker.trip()
    calls = 0

    async def worker() -> None:
        nonlocal calls
        while True:
            await breaker.wait_until_admitting()
            try:
                await breaker.execute(trio.sleep, 1)
                return
            except CircuitOpenError:
                calls += 1

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(worker)
    assert trio.current_time() == 10 + 1 + 1 + 1
    assert calls == 49
    assert len(asked_times) <= 50 * 5


async def test_waiters_do_not_poll_the_actor(
    panel: Panel, mock_clock: MockClock, asked_times: list[float]
) -> None:
    """A waiter asks when it comes, and at each change that matters to it."""
    breaker = panel.breaker(quick_policy(reset_timeout=1000))
    await breaker.trip()
    async with waiting(breaker, 10):
        for _ in range(100):
            await advance(mock_clock, 1)
            with pytest.raises(CircuitOpenError):
                await breaker.execute(trio.sleep, 0)
            await breaker.snapshot()
        assert len(asked_times) == 10


async def test_cancelling_a_waiter_leaves_nothing_behind(panel: Panel, mock_clock: MockClock) -> None:
    breaker = panel.breaker(quick_policy())
    await breaker.trip()
    async with waiting(breaker, 5):
        pass
    assert not breaker.is_watched
    async with waiting(breaker) as waiters:
        await breaker.reset()
        await wait_all_tasks_blocked()
        assert waiters.ended == [0]


async def test_a_wait_that_ends_at_once_is_a_checkpoint(panel: Panel) -> None:
    """Even a wait that needs no waiting is a checkpoint."""
    breaker = panel.breaker(quick_policy())
    with trio.CancelScope() as scope:
        scope.cancel()
        await breaker.wait_until_admitting()
    assert scope.cancelled_caught


@pytest.mark.parametrize("state", [State.OPEN, State.HALF_OPEN, State.FORCED_OPEN])
@pytest.mark.parametrize("end", ["panel closes", "breaker is removed"])
async def test_the_breakers_end_ends_every_wait(mock_clock: MockClock, state: State, end: str) -> None:
    told = []

    async def wait(breaker: CircuitBreaker) -> None:
        with pytest.raises(PanelClosedError):
            await breaker.wait_until_admitting()
        told.append(1)

    async with trio.open_nursery() as nursery:
        async with open_panel() as panel:
            breaker = panel.breaker(quick_policy())
            await (breaker.force_open() if state is State.FORCED_OPEN else breaker.trip())
            if state is State.HALF_OPEN:
                await advance(mock_clock, 10)
            assert breaker.state is state
            nursery.start_soon(wait, breaker)
            nursery.start_soon(wait, breaker)
            await wait_all_tasks_blocked()
            if end == "breaker is removed":
                await panel.remove("it")
                await wait_all_tasks_blocked()
                assert told == [1, 1]
    assert told == [1, 1]


async def test_the_documented_loop_of_two_workers_ends(panel: Panel, mock_clock: MockClock) -> None:
    """Sleep for the rejection's retry_after, and call again: every rejection has a number."""
    mock_clock.autojump_threshold = 0
    breaker = panel.breaker(quick_policy())
    await breaker.trip()
    done = []

    async def worker(number: int) -> None:
        while True:
            try:
                await breaker.execute(trio.sleep, 1)
                done.append(number)
                return
            except CircuitOpenError as error:
                await trio.sleep(error.retry_after)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(worker, number)
    assert sorted(done) == [0, 1, 2]


def test_the_former_name_is_the_same_method() -> None:
    assert CircuitBreaker.wait_closed is CircuitBreaker.wait_until_admitting


async def test_a_change_between_the_answer_and_the_wait_is_not_missed() -> None:
    """Both messages are handled in one turn of the actor, in either order."""
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it"))
        for _ in range(60):
            await breaker.trip()
            with trio.fail_after(5):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(breaker.wait_until_admitting)
                    await trio.lowlevel.checkpoint()
                    nursery.start_soon(breaker.reset)
