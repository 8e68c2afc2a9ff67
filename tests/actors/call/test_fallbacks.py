"""execute_with_fallback: for which ends of a call the fallback is served, and what is counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    BulkheadFullError,
    CallTimeout,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    Panel,
    PanelClosedError,
    State,
    open_panel,
)
from actors.testing import DependencyDown, ScriptedDependency, advance


class Expected(Exception):
    """What a policy ignores, or calls an answer."""


def make(panel: Panel, **policy: object) -> CircuitBreaker:
    return panel.breaker(CircuitBreakerConfig(**{"name": "it", **policy}))  # type: ignore[arg-type]


def stored(error: Exception) -> str:
    """A fallback which says what it was given."""
    return f"stored: {type(error).__name__}"


async def stored_elsewhere(error: Exception) -> str:
    await trio.lowlevel.checkpoint()
    return stored(error)


@pytest.fixture(params=[stored, stored_elsewhere])
def fallback(request: pytest.FixtureRequest) -> Callable[[Exception], str | Awaitable[str]]:
    """One that returns, and one that is awaited."""
    made: Callable[[Exception], str | Awaitable[str]] = request.param
    return made


async def counts(breaker: CircuitBreaker) -> dict[str, int]:
    return {what: count for what, count in (await breaker.snapshot()).counts.items() if count}


async def test_a_success_needs_no_fallback(panel: Panel, fallback: Any) -> None:
    breaker = make(panel)

    async def add(one: int, *, two: int) -> int:
        return one + two

    assert await breaker.execute_with_fallback(fallback, add, 1, two=2) == 3
    assert await counts(breaker) == {"success": 1}


async def test_a_failure_is_counted_and_then_served(
    panel: Panel, dependency: ScriptedDependency, fallback: Any
) -> None:
    breaker = make(panel, max_failures=2)
    dependency.breaks()
    served = [await breaker.execute_with_fallback(fallback, dependency) for _ in range(3)]
    assert served == ["stored: DependencyDown"] * 2 + ["stored: CircuitOpenError"]
    assert (dependency.calls, await counts(breaker)) == (2, {"failure": 2, "rejected": 1})


async def test_when_the_fallback_is_called_the_failure_has_been_counted(
    panel: Panel, dependency: ScriptedDependency
) -> None:
    breaker = make(panel, max_failures=1)
    dependency.breaks()
    assert await breaker.execute_with_fallback(lambda _: breaker.state, dependency) is State.OPEN


@pytest.mark.parametrize("stop", [CircuitBreaker.trip, CircuitBreaker.force_open])
async def test_a_rejected_call_is_served(panel: Panel, fallback: Any, stop: Any) -> None:
    breaker = make(panel)
    await stop(breaker)
    assert await breaker.execute_with_fallback(fallback, trio.sleep, 0) == "stored: CircuitOpenError"


async def test_a_call_beside_a_probe_is_served(
    panel: Panel, dependency: ScriptedDependency, mock_clock: MockClock, fallback: Any
) -> None:
    breaker = make(panel)
    await breaker.trip()
    await advance(mock_clock, 60)
    dependency.holds()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, dependency)
        await wait_all_tasks_blocked()
        assert await breaker.execute_with_fallback(fallback, dependency) == "stored: CircuitOpenError"
        dependency.lets_go()


async def test_a_call_without_a_place_is_served(
    panel: Panel, dependency: ScriptedDependency, fallback: Any
) -> None:
    breaker = make(panel, max_concurrent=1)
    dependency.holds()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, dependency)
        await wait_all_tasks_blocked()
        assert await breaker.execute_with_fallback(fallback, dependency) == "stored: BulkheadFullError"
        dependency.lets_go()


async def test_a_call_that_times_out_is_served(
    panel: Panel, autojump_clock: MockClock, fallback: Any
) -> None:
    breaker = make(panel, call_timeout=5)
    assert await breaker.execute_with_fallback(fallback, trio.sleep_forever) == "stored: CallTimeout"
    assert (trio.current_time(), await counts(breaker)) == (5, {"failure": 1})


async def test_a_call_that_the_opening_cancels_is_served(panel: Panel, fallback: Any) -> None:
    breaker = make(panel, cancel_in_flight=True)
    served = []

    async def call() -> None:
        served.append(await breaker.execute_with_fallback(fallback, trio.sleep_forever))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        await breaker.trip()
    assert served == ["stored: CircuitOpenError"]
    assert await counts(breaker) == {"cancelled": 1}


async def test_a_group_with_a_failure_is_served(panel: Panel, fallback: Any) -> None:
    breaker = make(panel, ignore=Expected)

    async def fails() -> None:
        raise ExceptionGroup("two", [Expected(), DependencyDown()])

    assert await breaker.execute_with_fallback(fallback, fails) == "stored: ExceptionGroup"


@pytest.mark.parametrize(
    ("policy", "counted"), [({"ignore": Expected}, "ignored"), ({"answers": Expected}, "success")]
)
async def test_what_is_ignored_and_what_is_an_answer_come_out(
    panel: Panel, policy: dict[str, object], counted: str, fallback: Any
) -> None:
    breaker = make(panel, **policy)

    async def fails() -> None:
        raise Expected

    with pytest.raises(Expected):
        await breaker.execute_with_fallback(fallback, fails)
    assert await counts(breaker) == {counted: 1}


async def test_a_result_that_is_a_failure_is_returned_and_counted(
    panel: Panel, dependency: ScriptedDependency, fallback: Any
) -> None:
    breaker = make(panel, failure_result=lambda value: value == "bad")
    dependency.then("bad")
    assert await breaker.execute_with_fallback(fallback, dependency) == "bad"
    assert await counts(breaker) == {"failure": 1}


async def test_a_cancelled_caller_gets_no_fallback(panel: Panel, fallback: Any) -> None:
    breaker = make(panel)
    with trio.CancelScope() as scope:
        scope.cancel()
        await breaker.execute_with_fallback(fallback, trio.sleep_forever)
    assert scope.cancelled_caught
    assert await counts(breaker) == {"cancelled": 1}


async def test_a_group_with_a_cancellation_comes_out(panel: Panel, fallback: Any) -> None:
    """It isn't an Exception, though a failure in it counts."""
    breaker = make(panel)

    async def fails() -> None:
        raise BaseExceptionGroup("two", [KeyboardInterrupt(), DependencyDown()])

    with pytest.raises(BaseExceptionGroup):
        await breaker.execute_with_fallback(fallback, fails)
    assert await counts(breaker) == {"failure": 1}


async def test_a_function_called_wrongly_is_no_failure(panel: Panel, fallback: Any) -> None:
    breaker = make(panel)
    with pytest.raises(TypeError):
        await breaker.execute_with_fallback(fallback, trio.sleep)  # type: ignore[call-overload]
    assert await counts(breaker) == {}


async def test_after_the_panels_end_there_is_no_fallback(fallback: Any) -> None:
    async with open_panel() as panel:
        breaker = make(panel)
    with pytest.raises(PanelClosedError):
        await breaker.execute_with_fallback(fallback, trio.sleep, 0)


async def test_while_disabled_a_failure_is_served_and_not_counted(
    panel: Panel, dependency: ScriptedDependency, fallback: Any
) -> None:
    breaker = make(panel)
    await breaker.disable()
    dependency.breaks()
    assert await breaker.execute_with_fallback(fallback, dependency) == "stored: DependencyDown"
    assert await counts(breaker) == {}


async def test_what_the_fallback_raises_comes_out_alone(panel: Panel, dependency: ScriptedDependency) -> None:
    """It is no failure of the dependency, and doesn't read as if it came while another was handled."""
    breaker = make(panel)
    dependency.breaks()

    def fallback(_: Exception) -> str:
        raise LookupError("nothing stored")

    with pytest.raises(LookupError) as raised:
        await breaker.execute_with_fallback(fallback, dependency)
    assert raised.value.__context__ is None
    assert await counts(breaker) == {"failure": 1}


async def test_cancelling_the_fallback_is_neutral(panel: Panel, dependency: ScriptedDependency) -> None:
    breaker = make(panel)
    dependency.breaks()

    async def fallback(_: Exception) -> str:
        await trio.sleep_forever()
        raise AssertionError("cancelled before")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute_with_fallback, fallback, dependency)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert await counts(breaker) == {"failure": 1}


async def test_the_fallback_is_no_part_of_the_call(panel: Panel, dependency: ScriptedDependency) -> None:
    """Its place is free by then, and a call of its own through the breaker counts by itself."""
    breaker = make(panel, max_concurrent=1)
    dependency.then(DependencyDown("down"))

    async def fallback(_: Exception) -> Any:
        return await breaker.execute(dependency)

    assert await breaker.execute_with_fallback(fallback, dependency) == "ok"
    assert await counts(breaker) == {"failure": 1, "success": 1}


# Calls within calls.


@pytest.mark.parametrize("policy", [{}, {"call_timeout": 60}], ids=["a fast call", "a call that is held"])
async def test_a_failure_served_inside_of_another_call_is_none_of_that_call(
    panel: Panel, dependency: ScriptedDependency, fallback: Any, policy: dict[str, object]
) -> None:
    """The outer call alone counts, and it has succeeded."""
    breaker = make(panel, **policy)
    dependency.breaks()

    async def outer() -> object:
        return await breaker.execute_with_fallback(fallback, dependency)

    assert await breaker.execute(outer) == "stored: DependencyDown"
    assert await counts(breaker) == {"success": 1}


async def test_a_failure_inside_is_served_by_the_outer_call_and_counts_once(
    panel: Panel, dependency: ScriptedDependency, fallback: Any
) -> None:
    breaker = make(panel)
    dependency.breaks()

    async def outer() -> object:
        return await breaker.execute(dependency)

    assert await breaker.execute_with_fallback(fallback, outer) == "stored: DependencyDown"
    assert await counts(breaker) == {"failure": 1}


async def test_the_innermost_fallback_is_served(
    panel: Panel, dependency: ScriptedDependency, fallback: Any
) -> None:
    breaker = make(panel)
    dependency.breaks()

    def other(_: Exception) -> str:
        raise AssertionError("served already")

    async def outer() -> object:
        return await breaker.execute_with_fallback(fallback, dependency)

    assert await breaker.execute_with_fallback(other, outer) == "stored: DependencyDown"


@pytest.mark.parametrize("rejects", ["opens", "is full"])
async def test_another_breakers_rejection_is_served_and_not_counted(
    panel: Panel, dependency: ScriptedDependency, fallback: Any, rejects: str
) -> None:
    """What the call needed wasn't to be had, though its own dependency is well."""
    breaker, other = make(panel), make(panel, name="other", max_concurrent=1)
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
    assert await counts(breaker) == {"ignored": 1}


async def test_another_breakers_timeout_is_a_failure_and_served(
    panel: Panel, autojump_clock: MockClock, fallback: Any
) -> None:
    breaker, other = make(panel), make(panel, name="other", call_timeout=1)
    served = await breaker.execute_with_fallback(fallback, other.execute, trio.sleep_forever)
    assert (served, await counts(breaker)) == (f"stored: {CallTimeout.__name__}", {"failure": 1})
