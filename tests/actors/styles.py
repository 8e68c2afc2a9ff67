"""Every way to make a call, as `call(breaker, fn)`: the parameters of tests of all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest

from actors import CircuitBreaker, breaker_named

Style: TypeAlias = Callable[[CircuitBreaker, Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def execute(breaker: CircuitBreaker, fn: Callable[[], Awaitable[Any]]) -> Any:
    return await breaker.execute(fn)


async def protect(breaker: CircuitBreaker, fn: Callable[[], Awaitable[Any]]) -> Any:
    return await breaker.protect(fn)()


async def named(breaker: CircuitBreaker, fn: Callable[[], Awaitable[Any]]) -> Any:
    return await breaker_named(breaker.name).protect(fn)()


async def guard(breaker: CircuitBreaker, fn: Callable[[], Awaitable[Any]]) -> Any:
    async with breaker.guard() as call:
        result = await fn()
        call.returned(result)
        return result


async def execute_or(breaker: CircuitBreaker, fn: Callable[[], Awaitable[Any]]) -> Any:
    return await breaker.execute_or(str, fn)


async def execute_with_fallback(breaker: CircuitBreaker, fn: Callable[[], Awaitable[Any]]) -> Any:
    """Failures are raised all the same: these tests look at the counts."""

    def raise_it(error: Exception) -> None:
        raise error

    return await breaker.execute_with_fallback(raise_it, fn)


STYLES: tuple[Style, ...] = (execute, protect, named, guard, execute_or, execute_with_fallback)
in_every_style = pytest.mark.parametrize("call", STYLES, ids=lambda style: style.__name__)
