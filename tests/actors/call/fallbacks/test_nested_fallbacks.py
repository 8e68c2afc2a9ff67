"""Fallbacks of calls inside of other calls, through the same breaker and through another one."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import BulkheadFullError, CallTimeout, CircuitOpenError, Panel
from actors.testing import ScriptedDependency
from tests.actors.call.breakers import new_breaker, outcome_counts


@pytest.mark.parametrize("policy", [{}, {"call_timeout": 60}], ids=["a fast call", "a call that is held"])
async def test_a_nested_failure_that_gets_a_fallback_is_a_success_of_the_outer_call(
    panel: Panel, dependency: ScriptedDependency, fallback: Any, policy: dict[str, object]
) -> None:
    """Only the outer call counts."""
    breaker = new_breaker(panel, **policy)
    dependency.breaks()

    async def outer() -> object:
        return await breaker.execute_with_fallback(fallback, dependency)

    assert await breaker.execute(outer) == "stored: DependencyDown"
    assert await outcome_counts(breaker) == {"success": 1}


async def test_a_nested_failure_gets_the_outer_calls_fallback_and_counts_once(
    panel: Panel, dependency: ScriptedDependency, fallback: Any
) -> None:
    breaker = new_breaker(panel)
    dependency.breaks()

    async def outer() -> object:
        return await breaker.execute(dependency)

    assert await breaker.execute_with_fallback(fallback, outer) == "stored: DependencyDown"
    assert await outcome_counts(breaker) == {"failure": 1}


async def test_the_innermost_fallback_alone_is_called(
    panel: Panel, dependency: ScriptedDependency, fallback: Any
) -> None:
    breaker = new_breaker(panel)
    dependency.breaks()

    def other(_: Exception) -> str:
        raise AssertionError("served already")

    async def outer() -> object:
        return await breaker.execute_with_fallback(fallback, dependency)

    assert await breaker.execute_with_fallback(other, outer) == "stored: DependencyDown"


@pytest.mark.parametrize("rejects", ["opens", "is full"])
async def test_another_breakers_rejection_gets_the_fallback_and_is_ignored(
    panel: Panel, dependency: ScriptedDependency, fallback: Any, rejects: str
) -> None:
    """The dependency of the outer breaker wasn't called."""
    breaker, other = new_breaker(panel), new_breaker(panel, name="other", max_concurrent=1)
    async with trio.open_nursery() as nursery:
        if rejects == "opens":
            await other.trip()
        else:
            dependency.holds()
            nursery.start_soon(other.execute, dependency)
            await wait_all_tasks_blocked()
        served = await breaker.execute_with_fallback(fallback, other.execute, dependency)
        dependency.lets_go()
    kind = CircuitOpenError if rejects == "opens" else BulkheadFullError
    assert served == f"stored: {kind.__name__}"
    assert await outcome_counts(breaker) == {"ignored": 1}


async def test_another_breakers_timeout_is_a_failure_and_gets_the_fallback(
    panel: Panel, autojump_clock: MockClock, fallback: Any
) -> None:
    breaker, other = new_breaker(panel), new_breaker(panel, name="other", call_timeout=1)
    served = await breaker.execute_with_fallback(fallback, other.execute, trio.sleep_forever)
    assert served == f"stored: {CallTimeout.__name__}"
    assert await outcome_counts(breaker) == {"failure": 1}
