"""A guard serves one block: it can't be entered a second time."""

from __future__ import annotations

import pytest
import trio

from actors import BulkheadFullError, CircuitBreaker, CircuitOpenError, Panel
from tests.actors.call.breakers import new_breaker, outcome_counts
from tests.actors.call.functions import fine


async def test_a_guard_that_is_entered_again_after_its_block_raises(breaker: CircuitBreaker) -> None:
    call = breaker.guard()
    async with call:
        pass
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"a guard serves one block, once: get another one"):
            async with call:
                pytest.fail("the block runs")
        with pytest.raises(RuntimeError, match="a guard serves one block"):
            await call.enter()
    assert await outcome_counts(breaker) == {"success": 1}


async def test_a_guard_that_is_entered_again_inside_of_its_block_raises(breaker: CircuitBreaker) -> None:
    call = breaker.guard()
    async with call:
        with pytest.raises(RuntimeError, match="a guard serves one block"):
            async with call:
                pytest.fail("the block runs")
        assert (await breaker.snapshot()).in_flight == 1
    assert await outcome_counts(breaker) == {"success": 1}


async def test_a_guard_that_two_tasks_enter_serves_the_first(breaker: CircuitBreaker) -> None:
    call = breaker.guard()
    came_out: list[str] = []

    async def enters() -> None:
        try:
            async with call:
                await trio.lowlevel.checkpoint()
            came_out.append("fine")
        except RuntimeError as error:
            came_out.append(str(error)[:7])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(enters)
        nursery.start_soon(enters)
    assert sorted(came_out) == ["a guard", "fine"]
    assert await outcome_counts(breaker) == {"success": 1}


@pytest.mark.parametrize("early", ["succeed", "answered"])
async def test_a_guard_that_was_settled_early_is_not_entered_again(
    breaker: CircuitBreaker, early: str
) -> None:
    call = breaker.guard()
    async with call:
        getattr(call, early)()
        with pytest.raises(RuntimeError, match="a guard serves one block"):
            await call.__aenter__()
    assert await outcome_counts(breaker) == {"success": 1}


async def test_a_guard_that_was_rejected_is_not_entered_again(breaker: CircuitBreaker) -> None:
    await breaker.trip()
    call = breaker.guard()
    with pytest.raises(CircuitOpenError):
        await call.enter()
    await breaker.reset()
    with pytest.raises(RuntimeError, match="a guard serves one block"):
        await call.__aenter__()
    assert await outcome_counts(breaker) == {"rejected": 1}


async def test_a_guard_entered_again_keeps_its_place_and_takes_no_second_one(panel: Panel) -> None:
    breaker = new_breaker(panel, max_concurrent=1)
    call = breaker.guard()
    async with call:
        with pytest.raises(RuntimeError, match="a guard serves one block"):
            await call.enter()
        assert isinstance(await in_system_task(breaker), BulkheadFullError)
    assert await in_system_task(breaker) is None


async def in_system_task(breaker: CircuitBreaker) -> BaseException | None:
    """Make a call that is inside of no other. Return the rejection, or None."""
    came_out: list[BaseException | None] = []
    done = trio.Event()

    async def calls() -> None:
        try:
            await breaker.execute(fine)
            came_out.append(None)
        except BulkheadFullError as error:
            came_out.append(error)
        done.set()

    trio.lowlevel.spawn_system_task(calls)
    await done.wait()
    return came_out[0]
