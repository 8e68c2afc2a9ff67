"""While a fallback runs, its call has ended: exceptions, cancellation and calls of its own."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors import Panel
from actors.testing import DependencyDown, ScriptedDependency
from tests.actors.call.breakers import new_breaker, outcome_counts


async def test_an_exception_of_the_fallback_has_no_context(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    """Its traceback doesn't mention the failure of the call."""
    breaker = new_breaker(panel)
    dependency.breaks()

    def fallback(_: Exception) -> str:
        raise LookupError("nothing stored")

    with pytest.raises(LookupError) as raised:
        await breaker.execute_with_fallback(fallback, dependency)
    assert raised.value.__context__ is None
    assert await outcome_counts(breaker) == {"failure": 1}


async def test_a_cancelled_fallback_counts_no_cancellation(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = new_breaker(panel)
    dependency.breaks()

    async def fallback(_: Exception) -> str:
        await trio.sleep_forever()
        raise AssertionError("cancelled before")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute_with_fallback, fallback, dependency)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert await outcome_counts(breaker) == {"failure": 1}


async def test_a_fallback_runs_after_its_call_has_ended(panel: Panel, dependency: ScriptedDependency) -> None:
    """The call's place is free, and a call by the fallback counts by itself."""
    breaker = new_breaker(panel, max_concurrent=1)
    dependency.then(DependencyDown("down"))

    async def fallback(_: Exception) -> Any:
        return await breaker.execute(dependency)

    assert await breaker.execute_with_fallback(fallback, dependency) == "ok"
    assert await outcome_counts(breaker) == {"failure": 1, "success": 1}
