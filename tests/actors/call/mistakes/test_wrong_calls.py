"""Calls that never reach the dependency, because the function or its arguments are wrong."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any
from unittest import mock

import pytest
from trio.testing import MockClock

from actors import (
    CircuitBreaker,
    CircuitBreakerConfig,
    FailureRate,
    LastCalls,
    Panel,
    SlowCallRate,
    State,
    open_panel,
)
from actors.testing import advance
from tests.actors.call.breakers import new_breaker, outcome_counts
from tests.actors.call.functions import managed, rows, sync


async def fetch(item: str, *, page: int = 1) -> str:
    return f"{item} {page}"


async def raises_type_error() -> None:
    raise TypeError("a bug behind the call")


async def fails_deeper() -> None:
    await fetch()  # type: ignore[call-arg]


MISTAKES: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
    (fetch, (), {}),
    (fetch, ("a", "b"), {}),
    (fetch, ("a",), {"pages": 2}),
    (functools.partial(fetch, "a", *"b"), (), {}),
    (sync, (1,), {}),
    (sync, (1, 2, 3), {}),
    (rows, (), {}),
    (managed, (), {}),
    (None, (), {}),
    ("fetch", (), {}),
]


async def _execute(breaker: CircuitBreaker, *args: Any, **kwargs: Any) -> object:
    return await breaker.execute(*args, **kwargs)


async def _execute_or(breaker: CircuitBreaker, *args: Any, **kwargs: Any) -> object:
    return await breaker.execute_or(lambda error: pytest.fail(f"fallback after {error!r}"), *args, **kwargs)


async def _execute_with_fallback(breaker: CircuitBreaker, *args: Any, **kwargs: Any) -> object:
    def fallback(error: Exception) -> object:
        return pytest.fail(f"fallback after {error!r}")

    return await breaker.execute_with_fallback(fallback, *args, **kwargs)


WAYS = [_execute, _execute_or, _execute_with_fallback]
POLICIES: list[dict[str, Any]] = [
    {},
    {"trip": FailureRate(0.5, LastCalls(4), 2)},
    {"trip": SlowCallRate(0.5, 1.0, LastCalls(4), 2)},
    {"max_concurrent": 1},
    {"call_timeout": 1.0},
    {"failure_result": lambda _result: True},
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fields", POLICIES, ids=lambda fields: next(iter(fields), "plain"))
@pytest.mark.parametrize(("function", "args", "kwargs"), MISTAKES)
async def test_a_wrong_call_raises_type_error_and_counts_nothing(
    panel: Panel,
    way: Callable[..., Awaitable[object]],
    fields: dict[str, Any],
    function: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    breaker = new_breaker(panel, **fields)
    for _ in range(6):
        with pytest.raises(TypeError):
            await way(breaker, function, *args, **kwargs)
    assert breaker.state is State.CLOSED
    assert await outcome_counts(breaker) == {}
    assert (await breaker.snapshot()).failure_count == 0


@pytest.mark.parametrize("way", WAYS)
async def test_a_coroutine_in_place_of_a_function_counts_nothing(
    breaker: CircuitBreaker, way: Callable[..., Awaitable[object]]
) -> None:
    coroutine = fetch("a")
    with pytest.raises(TypeError, match="'coroutine' object is not callable"):
        await way(breaker, coroutine)
    coroutine.close()
    assert await outcome_counts(breaker) == {}


async def test_wrong_arguments_of_a_protected_function_count_nothing(breaker: CircuitBreaker) -> None:
    protected = breaker.protect(fetch)
    with pytest.raises(TypeError, match="argument"):
        await protected()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="argument"):
        await breaker.execute(protected)  # type: ignore[call-arg]
    assert await outcome_counts(breaker) == {}


@pytest.mark.parametrize("function", [raises_type_error, fails_deeper, mock.AsyncMock(side_effect=TypeError)])
@pytest.mark.parametrize("fields", POLICIES, ids=lambda fields: next(iter(fields), "plain"))
async def test_a_type_error_that_the_function_raises_is_a_failure(
    panel: Panel, fields: dict[str, Any], function: Callable[[], Awaitable[Any]]
) -> None:
    breaker = new_breaker(panel, **fields)
    with pytest.raises(TypeError):
        await breaker.execute(function)
    with pytest.raises(TypeError):
        await breaker.execute_or(lambda _error: None, function)
    assert (await breaker.snapshot()).counts["failure"] == 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fields", POLICIES, ids=lambda fields: next(iter(fields), "plain"))
async def test_a_wrong_call_gives_the_probes_permit_back(
    panel: Panel, mock_clock: MockClock, way: Callable[..., Awaitable[object]], fields: dict[str, Any]
) -> None:
    breaker = new_breaker(panel, **fields)
    await breaker.trip()
    await advance(mock_clock, 60)
    for _ in range(3):
        with pytest.raises(TypeError):
            await way(breaker, fetch)
        assert breaker.state is State.HALF_OPEN
        assert await outcome_counts(breaker) == {}
    async with breaker.guard():
        pass
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize("held", [CircuitBreaker.observe, CircuitBreaker.disable])
async def test_a_wrong_call_counts_nothing_while_observed_or_disabled(
    breaker: CircuitBreaker, held: Callable[[CircuitBreaker], Awaitable[None]]
) -> None:
    await held(breaker)
    for _ in range(3):
        with pytest.raises(TypeError):
            await breaker.execute(fetch)  # type: ignore[call-arg]
    assert await outcome_counts(breaker) == {}


async def test_a_wrong_call_emits_no_event(breaker: CircuitBreaker) -> None:
    async with breaker.events() as events:
        with pytest.raises(TypeError):
            await breaker.execute(fetch)  # type: ignore[call-arg]
        await breaker.execute(fetch, "a")
        assert (await anext(events)).outcome.value == "success"  # type: ignore[union-attr]


async def test_a_wrong_nested_call_is_a_failure_of_the_outer_call(breaker: CircuitBreaker) -> None:
    """The bug is in the function of the outer call."""

    async def calls() -> None:
        await breaker.execute(fetch)  # type: ignore[call-arg]

    with pytest.raises(TypeError):
        await breaker.execute(calls)
    assert await outcome_counts(breaker) == {"failure": 1}


async def test_a_wrong_nested_call_counts_nothing_and_gets_no_fallback() -> None:
    async def needs_an_argument(argument: int) -> int:
        return argument

    wrong: Any = needs_an_argument
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it"))
        with pytest.raises(TypeError, match="argument"):
            async with breaker.guard() as outer:
                try:
                    await breaker.execute_with_fallback(lambda _: 1, wrong)
                finally:
                    outer.ignore()
        snapshot = await breaker.snapshot()
    assert snapshot.counts["ignored"] == 1
    assert snapshot.counts["failure"] == 0
    assert snapshot.in_flight == 0
