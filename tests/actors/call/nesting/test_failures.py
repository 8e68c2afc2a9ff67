"""A failure through an outer and a nested call counts once, as the outer call's failure."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from actors import CircuitBreaker, CircuitBreakerConfig, open_panel
from actors.testing import DependencyDown
from tests.actors.call.nesting.calls import (
    CASES,
    PAIRS,
    POLICIES,
    STYLES,
    Call,
    TranslatedError,
    call,
    down,
    expect_failure,
    failures,
    in_the_task_and_in_a_child,
    opened,
)


@pytest.mark.parametrize(("policy", "outer", "inner"), CASES)
async def test_a_failure_through_both_calls_counts_once(policy: str, outer: str, inner: str) -> None:
    async with opened(policy) as breaker:
        await expect_failure(breaker, outer, lambda: call(breaker, inner, down), DependencyDown)
        assert await failures(breaker) == 1
        await expect_failure(breaker, outer, down)
        assert await failures(breaker) == 2


@pytest.mark.parametrize(("policy", "outer", "inner"), CASES)
async def test_a_failure_that_the_outer_call_wraps_counts_once(policy: str, outer: str, inner: str) -> None:
    async with opened(policy) as breaker:

        async def wraps() -> None:
            try:
                await call(breaker, inner, down)
            except DependencyDown as error:
                raise TranslatedError from error

        await expect_failure(breaker, outer, wraps, TranslatedError)
        assert await failures(breaker) == 1


@pytest.mark.parametrize(("policy", "outer", "inner"), CASES)
async def test_a_failure_that_the_outer_call_swallows_does_not_count(
    policy: str, outer: str, inner: str
) -> None:
    async with opened(policy) as breaker:

        async def swallows() -> str:
            with pytest.raises(DependencyDown):
                await call(breaker, inner, down)
            return "fine"

        assert await call(breaker, outer, swallows) == "fine"
        assert await failures(breaker) == 0
        assert (await breaker.snapshot()).counts["success"] == 1


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("levels", [3, 5])
async def test_a_failure_through_many_levels_counts_once(policy: str, levels: int) -> None:
    async with opened(policy) as breaker:
        function: Call = down
        for level in range(levels):
            function = _through(breaker, STYLES[level % len(STYLES)], function)
        await expect_failure(breaker, "execute", function)
        assert await failures(breaker) == 1


def _through(breaker: CircuitBreaker, style: str, function: Call) -> Call:
    return lambda: call(breaker, style, function)


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
@in_the_task_and_in_a_child
async def test_the_same_exception_raised_by_later_calls_counts_each_time(
    outer: str, inner: str, nest: Callable[[Call], Call]
) -> None:
    async with opened("plain", max_failures=100) as breaker:
        error = DependencyDown("one for all")

        async def raises_it() -> None:
            raise error

        for number in range(1, 4):
            await expect_failure(breaker, outer, nest(lambda: call(breaker, inner, raises_it)))
            assert await failures(breaker) == number
            assert (await breaker.snapshot()).failure_count == number


@pytest.mark.parametrize("inner", STYLES)
async def test_retries_inside_of_a_call_count_as_one_and_outside_as_many(inner: str) -> None:
    async with opened("plain", max_failures=100) as breaker:

        async def retries() -> None:
            for _ in range(2):
                with pytest.raises(DependencyDown):
                    await call(breaker, inner, down)
            await call(breaker, inner, down)

        await expect_failure(breaker, "execute", retries)
        assert await failures(breaker) == 1
        with pytest.raises(DependencyDown):
            await retries()
        assert await failures(breaker) == 4


@pytest.mark.parametrize("inner", STYLES)
async def test_both_breakers_count_once_if_a_call_through_one_is_between_two_through_the_other(
    inner: str,
) -> None:
    async with open_panel() as panel:
        one, two = (panel.breaker(CircuitBreakerConfig(name=name)) for name in ("one", "two"))

        async def through_two() -> None:
            await call(two, inner, lambda: call(one, inner, down))

        for outer in STYLES:
            await expect_failure(one, outer, through_two)
        assert await failures(one) == 5
        assert await failures(two) == 5


@pytest.mark.parametrize("outer", STYLES)
async def test_a_fallback_of_a_nested_call_makes_the_outer_call_a_success(outer: str) -> None:
    async with opened("plain") as breaker:

        async def falls_back() -> object:
            return await breaker.execute_with_fallback(lambda _error: "instead", down)

        assert await call(breaker, outer, falls_back) == "instead"
        assert await failures(breaker) == 0
