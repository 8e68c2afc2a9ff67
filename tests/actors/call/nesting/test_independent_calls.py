"""Calls that look nested and are not: each counts by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors import CircuitBreaker, CircuitOpenError, State
from actors.testing import DependencyDown
from tests.actors.call.nesting.calls import (
    STYLES,
    TASK_CASES,
    call,
    down,
    expect_failure,
    failures,
    fine,
    opened,
)


@pytest.mark.parametrize(("policy", "outer", "inner"), TASK_CASES)
async def test_a_task_started_into_an_outer_nursery_counts_by_itself(
    policy: str, outer: str, inner: str
) -> None:
    async with opened(policy) as breaker, trio.open_nursery() as nursery:

        async def on_its_own() -> None:
            await expect_failure(breaker, inner, down)

        async def starts() -> None:
            nursery.start_soon(on_its_own)
            await wait_all_tasks_blocked()
            assert (await breaker.snapshot()).counts["failure"] == 1
            await down()

        await expect_failure(breaker, outer, starts)
        assert await failures(breaker) == 2


@pytest.mark.parametrize(("policy", "outer", "inner"), TASK_CASES)
async def test_a_sibling_task_counts_by_itself(policy: str, outer: str, inner: str) -> None:
    async with opened(policy) as breaker, trio.open_nursery() as nursery:
        nursery.start_soon(call, breaker, outer, trio.sleep_forever)
        await wait_all_tasks_blocked()
        await expect_failure(breaker, inner, down)
        await expect_failure(breaker, outer, lambda: call(breaker, inner, down))
        snapshot = await breaker.snapshot()
        assert snapshot.counts["failure"] == 2
        assert snapshot.in_flight == 1
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("inner", STYLES)
async def test_a_call_by_a_fallback_counts_by_itself(inner: str) -> None:
    async with opened("plain") as breaker:

        async def fallback(_error: Exception) -> None:
            await call(breaker, inner, down)

        with pytest.raises(DependencyDown):
            await breaker.execute_with_fallback(fallback, down)
        assert await failures(breaker) == 2
        await breaker.trip()
        with pytest.raises(CircuitOpenError):
            await breaker.execute_or(fallback, fine)
        assert (await breaker.snapshot()).counts["rejected"] == 2


@pytest.mark.parametrize("inner", STYLES)
@pytest.mark.parametrize("policy", ["plain", "durations"])
async def test_workers_count_each_failure_while_their_parent_is_in_a_fast_call(
    policy: str, inner: str
) -> None:
    async with opened(policy, max_failures=100) as breaker:

        async def worker() -> None:
            await expect_failure(breaker, inner, down)

        async with trio.open_nursery() as nursery:

            async def parents_call() -> None:
                for _ in range(20):
                    nursery.start_soon(worker)
                await wait_all_tasks_blocked()

            await breaker.execute(parents_call)
        snapshot = await breaker.snapshot()
        assert snapshot.counts["failure"] == 20
        assert snapshot.in_flight == 0
        assert snapshot.failure_count == 0


@pytest.mark.parametrize("policy", ["plain", "result"])
@pytest.mark.parametrize("inner", STYLES)
async def test_calls_between_the_steps_of_a_guarded_generator_count_by_themselves(
    policy: str, inner: str
) -> None:
    async with opened(policy) as breaker:

        async def rows() -> AsyncIterator[int]:
            async with breaker.guard():
                yield 1
                with pytest.raises(DependencyDown):
                    await call(breaker, inner, down)
                yield 2

        async for number in rows():
            await expect_failure(breaker, inner, down)
            assert (await breaker.snapshot()).counts["failure"] == number
        assert (await breaker.snapshot()).counts["success"] == 1
        kept = rows()
        await anext(kept)
        for _ in range(5):
            with pytest.raises((DependencyDown, CircuitOpenError)):
                await call(breaker, inner, down)
        assert breaker.state is State.OPEN
        await kept.aclose()  # type: ignore[attr-defined]
        assert await failures(breaker) == 7


async def test_a_call_after_succeed_counts_by_itself() -> None:
    async with opened("plain") as breaker:
        with pytest.raises(DependencyDown):
            async with breaker.guard() as outer:
                outer.succeed()
                await expect_failure(breaker, "guard", down)
                assert (await breaker.snapshot()).counts["failure"] == 1
                await down()
        # Settled as a success, the outer call adds a failure.
        snapshot = await breaker.snapshot()
        assert snapshot.counts["failure"] == 2
        assert snapshot.counts["success"] == 1


async def test_a_function_named_execute_is_not_taken_for_a_call() -> None:
    async with opened("plain") as breaker, trio.open_nursery() as nursery:

        async def execute(self: CircuitBreaker) -> None:
            gate = self.gate
            assert gate.fast
            await expect_failure(self, "execute", down)

        nursery.start_soon(breaker.execute, trio.sleep_forever)
        await wait_all_tasks_blocked()
        await execute(breaker)
        assert (await breaker.snapshot()).counts["failure"] == 1
        nursery.cancel_scope.cancel()
