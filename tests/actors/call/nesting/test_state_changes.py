"""Nested calls whose breaker opens, is reset, observes or is disabled while the outer call runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors import CircuitBreaker, CircuitOpenError, State
from actors.testing import DependencyDown
from tests.actors.call.nesting.calls import (
    CASES,
    PAIRS,
    POLICIES,
    TASK_CASES,
    call,
    down,
    expect_failure,
    failures,
    fine,
    in_child,
    opened,
)

OPENINGS = [CircuitBreaker.trip, CircuitBreaker.force_open]


@pytest.mark.parametrize(("policy", "outer", "inner"), [case for case in CASES if case[0] != "cancelling"])
@pytest.mark.parametrize("opens", OPENINGS)
async def test_a_nested_call_still_runs_when_the_breaker_has_opened_meanwhile(
    policy: str, outer: str, inner: str, opens: Callable[[CircuitBreaker], Awaitable[None]]
) -> None:
    async with opened(policy) as breaker, trio.open_nursery() as nursery:

        async def rejected() -> None:
            with pytest.raises(CircuitOpenError):
                await call(breaker, inner, fine)

        async def opens_within() -> None:
            await opens(breaker)
            assert await call(breaker, inner, fine) == "fine"
            nursery.start_soon(rejected)
            await wait_all_tasks_blocked()
            await call(breaker, inner, down)

        await expect_failure(breaker, outer, opens_within, DependencyDown)
        snapshot = await breaker.snapshot()
        assert snapshot.in_flight == 0
        assert snapshot.late == 1
        assert snapshot.counts["failure"] == 1
        assert snapshot.counts["rejected"] == 1
        assert snapshot.counts["success"] == 0


async def test_rejections_do_not_consult_the_actor_after_the_last_late_call() -> None:
    async with opened("plain") as breaker:

        async def opens() -> None:
            await breaker.trip()
            await breaker.execute(fine)

        await breaker.execute(opens)
        await breaker.snapshot()
        assert breaker.gate.rejects_until == breaker.gate.until
        with pytest.raises(CircuitOpenError):
            await breaker.execute(fine)


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
async def test_a_nested_call_is_cancelled_with_its_outer_call_when_the_breaker_opens(
    outer: str, inner: str
) -> None:
    async with opened("cancelling") as breaker, trio.open_nursery() as nursery:

        async def cancelled() -> None:
            await expect_failure(
                breaker, outer, lambda: call(breaker, inner, trio.sleep_forever), CircuitOpenError
            )

        nursery.start_soon(cancelled)
        await wait_all_tasks_blocked()
        await breaker.trip()
    assert breaker.gate.rejected == 0


@pytest.mark.parametrize(("policy", "outer", "inner"), CASES)
async def test_a_nested_failure_counts_once_while_observing_and_not_while_disabled(
    policy: str, outer: str, inner: str
) -> None:
    async with opened(policy, **({} if "trip" in POLICIES[policy] else {"max_failures": 2})) as breaker:
        await breaker.observe()
        await expect_failure(breaker, outer, lambda: call(breaker, inner, down))
        snapshot = await breaker.snapshot()
        assert snapshot.counts["failure"] == 1
        assert snapshot.in_flight == 0
        assert snapshot.transitions.get((State.CLOSED, State.OPEN)) is None
        await breaker.disable()
        await expect_failure(breaker, outer, lambda: call(breaker, inner, down))
        assert await failures(breaker) == 1


@pytest.mark.parametrize(("policy", "outer", "inner"), TASK_CASES)
async def test_a_nested_failure_after_a_reset_is_late(policy: str, outer: str, inner: str) -> None:
    async with opened(policy) as breaker:

        async def resets() -> None:
            before = (await breaker.snapshot()).generation
            await breaker.reset()
            assert (await breaker.snapshot()).generation > before
            await call(breaker, inner, down)

        await expect_failure(breaker, outer, resets)
        snapshot = await breaker.snapshot()
        assert snapshot.in_flight == 0
        assert snapshot.failure_count == 0
        assert snapshot.late == 1
        assert snapshot.counts["failure"] == 1


@pytest.mark.parametrize("inner", ["execute", "protect", "guard"])
async def test_a_failure_in_a_child_task_after_a_reset_counts_once(inner: str) -> None:
    async with opened("plain") as breaker:

        async def resets() -> None:
            await breaker.reset()
            await in_child(lambda: call(breaker, inner, down))()

        await expect_failure(breaker, "execute", resets)
        snapshot = await breaker.snapshot()
        assert snapshot.in_flight == 0
        assert snapshot.counts["failure"] == 1
