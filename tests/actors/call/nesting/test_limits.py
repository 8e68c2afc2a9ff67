"""A nested call has no place, timeout or cancellation apart from the outer call."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import BulkheadFullError, CallTimeout, CircuitBreaker
from tests.actors.call.nesting.calls import (
    CASES,
    PAIRS,
    Call,
    call,
    expect_failure,
    failures,
    fine,
    in_the_task_and_in_a_child,
    opened,
)


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
@in_the_task_and_in_a_child
async def test_a_nested_call_takes_no_second_place(
    outer: str, inner: str, nest: Callable[[Call], Call]
) -> None:
    async with opened("bulkhead") as breaker:

        async def holds_the_place() -> None:
            with trio.fail_after(1):
                await nest(lambda: call(breaker, inner, fine))()
            # The nested call gave back no place either.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_full, breaker, nursery)

        outside: trio.Nursery

        async def _full(breaker: CircuitBreaker, _nursery: trio.Nursery) -> None:
            outside.start_soon(_rejected, breaker)
            await wait_all_tasks_blocked()

        async def _rejected(breaker: CircuitBreaker) -> None:
            with pytest.raises(BulkheadFullError):
                await call(breaker, inner, fine)

        async with trio.open_nursery() as outside:
            await call(breaker, outer, holds_the_place)
        assert await call(breaker, outer, fine) == "fine"
        assert (await breaker.snapshot()).counts["rejected"] == 1


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
async def test_only_the_outer_call_has_a_timeout(mock_clock: MockClock, outer: str, inner: str) -> None:
    mock_clock.autojump_threshold = 0
    async with opened("timeout") as breaker:
        start = trio.current_time()

        async def slow() -> None:
            await trio.sleep(30)
            await call(breaker, inner, trio.sleep_forever)

        await expect_failure(breaker, outer, slow, CallTimeout)
        assert trio.current_time() - start == 50
        assert await failures(breaker) == 1


@pytest.mark.parametrize(("policy", "outer", "inner"), CASES)
async def test_a_cancelled_nested_call_counts_as_cancelled(policy: str, outer: str, inner: str) -> None:
    async with opened(policy) as breaker:
        with trio.move_on_after(0):
            await call(breaker, outer, lambda: call(breaker, inner, trio.sleep_forever))
        snapshot = await breaker.snapshot()
        assert snapshot.in_flight == 0
        assert snapshot.counts["failure"] == 0
        assert snapshot.counts["success"] == 0
        assert snapshot.counts["cancelled"] in (1, 2)
        assert await call(breaker, outer, fine) == "fine"
