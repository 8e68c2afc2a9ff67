"""execute_with_fallback: which calls get the fallback, and how they count."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CircuitBreaker, Panel, PanelClosedError, State, open_panel
from actors.testing import DependencyDown, ScriptedDependency, advance
from tests.actors.call.breakers import new_breaker, outcome_counts


class Expected(Exception):
    """An exception that a policy ignores, or calls an answer."""


async def test_a_success_returns_its_own_result(panel: Panel, fallback: Any) -> None:
    breaker = new_breaker(panel)

    async def add(one: int, *, two: int) -> int:
        return one + two

    assert await breaker.execute_with_fallback(fallback, add, 1, two=2) == 3
    assert await outcome_counts(breaker) == {"success": 1}


async def test_a_failure_is_counted_and_gets_the_fallback(
    panel: Panel, dependency: ScriptedDependency, fallback: Any
) -> None:
    breaker = new_breaker(panel, max_failures=2)
    dependency.breaks()
    served = [await breaker.execute_with_fallback(fallback, dependency) for _ in range(3)]
    assert served == ["stored: DependencyDown"] * 2 + ["stored: CircuitOpenError"]
    assert dependency.calls == 2
    assert await outcome_counts(breaker) == {"failure": 2, "rejected": 1}


async def test_a_failure_is_counted_before_the_fallback_is_called(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = new_breaker(panel, max_failures=1)
    dependency.breaks()
    assert await breaker.execute_with_fallback(lambda _: breaker.state, dependency) is State.OPEN


@pytest.mark.parametrize("stop", [CircuitBreaker.trip, CircuitBreaker.force_open])
async def test_a_rejected_call_gets_the_fallback(panel: Panel, fallback: Any, stop: Any) -> None:
    breaker = new_breaker(panel)
    await stop(breaker)
    assert await breaker.execute_with_fallback(fallback, trio.sleep, 0) == "stored: CircuitOpenError"


async def test_a_call_beside_a_probe_gets_the_fallback(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock, fallback: Any
) -> None:
    breaker = new_breaker(panel)
    await breaker.trip()
    await advance(mock_clock, 60)
    dependency.holds()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, dependency)
        await wait_all_tasks_blocked()
        assert await breaker.execute_with_fallback(fallback, dependency) == "stored: CircuitOpenError"
        dependency.lets_go()


async def test_a_call_without_a_place_gets_the_fallback(
    panel: Panel, dependency: ScriptedDependency, fallback: Any
) -> None:
    breaker = new_breaker(panel, max_concurrent=1)
    dependency.holds()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, dependency)
        await wait_all_tasks_blocked()
        assert await breaker.execute_with_fallback(fallback, dependency) == "stored: BulkheadFullError"
        dependency.lets_go()


async def test_a_call_that_times_out_gets_the_fallback(
    panel: Panel, autojump_clock: MockClock, fallback: Any
) -> None:
    breaker = new_breaker(panel, call_timeout=5)
    assert await breaker.execute_with_fallback(fallback, trio.sleep_forever) == "stored: CallTimeout"
    assert trio.current_time() == 5
    assert await outcome_counts(breaker) == {"failure": 1}


async def test_a_call_that_opening_cancels_gets_the_fallback(panel: Panel, fallback: Any) -> None:
    breaker = new_breaker(panel, cancel_in_flight=True)
    served = []

    async def call() -> None:
        served.append(await breaker.execute_with_fallback(fallback, trio.sleep_forever))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        await breaker.trip()
    assert served == ["stored: CircuitOpenError"]
    assert await outcome_counts(breaker) == {"cancelled": 1}


async def test_a_group_with_a_failure_gets_the_fallback(panel: Panel, fallback: Any) -> None:
    breaker = new_breaker(panel, ignore=Expected)

    async def fails() -> None:
        raise ExceptionGroup("two", [Expected(), DependencyDown()])

    assert await breaker.execute_with_fallback(fallback, fails) == "stored: ExceptionGroup"


@pytest.mark.parametrize(
    ("policy", "counted"), [({"ignore": Expected}, "ignored"), ({"answers": Expected}, "success")]
)
async def test_ignored_exceptions_and_answers_get_no_fallback(
    panel: Panel, policy: dict[str, object], counted: str, fallback: Any
) -> None:
    breaker = new_breaker(panel, **policy)

    async def fails() -> None:
        raise Expected

    with pytest.raises(Expected):
        await breaker.execute_with_fallback(fallback, fails)
    assert await outcome_counts(breaker) == {counted: 1}


async def test_a_failing_result_is_counted_and_gets_no_fallback(
    panel: Panel, dependency: ScriptedDependency, fallback: Any
) -> None:
    breaker = new_breaker(panel, failure_result=lambda value: value == "bad")
    dependency.then("bad")
    assert await breaker.execute_with_fallback(fallback, dependency) == "bad"
    assert await outcome_counts(breaker) == {"failure": 1}


async def test_a_cancelled_caller_gets_no_fallback(panel: Panel, fallback: Any) -> None:
    breaker = new_breaker(panel)
    with trio.CancelScope() as scope:
        scope.cancel()
        await breaker.execute_with_fallback(fallback, trio.sleep_forever)
    assert scope.cancelled_caught
    assert await outcome_counts(breaker) == {"cancelled": 1}


async def test_a_base_exception_group_counts_as_a_failure_and_gets_no_fallback(
    panel: Panel, fallback: Any
) -> None:
    """It isn't an Exception, though a failure in it counts."""
    breaker = new_breaker(panel)

    async def fails() -> None:
        raise BaseExceptionGroup("two", [KeyboardInterrupt(), DependencyDown()])

    with pytest.raises(BaseExceptionGroup):
        await breaker.execute_with_fallback(fallback, fails)
    assert await outcome_counts(breaker) == {"failure": 1}


async def test_a_wrong_call_counts_nothing_and_gets_no_fallback(panel: Panel, fallback: Any) -> None:
    breaker = new_breaker(panel)
    with pytest.raises(TypeError):
        await breaker.execute_with_fallback(fallback, trio.sleep)  # type: ignore[call-overload]
    assert await outcome_counts(breaker) == {}


async def test_a_call_after_the_panels_end_gets_no_fallback(fallback: Any) -> None:
    async with open_panel() as panel:
        breaker = new_breaker(panel)
    with pytest.raises(PanelClosedError):
        await breaker.execute_with_fallback(fallback, trio.sleep, 0)


async def test_a_failure_while_disabled_gets_the_fallback_and_is_not_counted(
    panel: Panel, dependency: ScriptedDependency, fallback: Any
) -> None:
    breaker = new_breaker(panel)
    await breaker.disable()
    dependency.breaks()
    assert await breaker.execute_with_fallback(fallback, dependency) == "stored: DependencyDown"
    assert await outcome_counts(breaker) == {}
