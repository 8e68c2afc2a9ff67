"""Calls in every style, the policies under which they are nested, and how they are counted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import product
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors import (
    CircuitBreaker,
    CircuitBreakerConfig,
    FailureRate,
    LastCalls,
    SlowCallRate,
    State,
    open_panel,
)
from actors.testing import DependencyDown, advance

Call = Callable[[], Awaitable[Any]]
STYLES = ("execute", "protect", "guard", "execute_or", "execute_with_fallback")
PAIRS = list(product(STYLES, STYLES))
FEW = list(product(("execute", "guard"), repeat=2))
POLICIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "durations": {},
    "watched": {},
    "rate": {"trip": FailureRate(1.0, LastCalls(10), 10), "max_failures": 5},
    "slow": {"trip": SlowCallRate(1.0, 5.0, LastCalls(10), 10), "max_failures": 5},
    "result": {"failure_result": lambda value: value == "bad"},
    "bulkhead": {"max_concurrent": 1},
    "timeout": {"call_timeout": 50.0},
    "cancelling": {"cancel_in_flight": True},
}
CASES = [
    (policy, outer, inner) for policy in POLICIES for outer, inner in (PAIRS if policy == "plain" else FEW)
]
"""Every pair of call styles with the plain policy, and FEW pairs with each other policy."""
TASK_CASES = [case for case in CASES if case[0] in ("plain", "durations", "result")]
"""CASES under three of the policies, for the tests of tasks."""


class TranslatedError(Exception):
    """Raised by a layer of the caller's own in place of the dependency's error."""


def raises(error: Exception) -> Any:
    raise error


async def call(breaker: CircuitBreaker, style: str, function: Call) -> Any:
    """Call `function` through the breaker in a style; each style raises rejections and failures."""
    if style == "execute":
        return await breaker.execute(function)
    if style == "protect":

        @breaker.protect
        async def protected() -> Any:
            return await function()

        return await protected()
    if style == "execute_or":
        return await breaker.execute_or(raises, function)
    if style == "execute_with_fallback":
        return await breaker.execute_with_fallback(raises, function)
    async with breaker.guard() as guard:
        result = await function()
        guard.returned(result)
        return result


@asynccontextmanager
async def opened(policy: str, **fields: Any) -> AsyncIterator[CircuitBreaker]:
    """A breaker with one of POLICIES. Each of them takes another path through the code of a call."""
    durations = (1.0,) if policy == "durations" else None
    async with open_panel(durations=durations) as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it", **POLICIES[policy] | fields))
        if policy == "watched":
            async with breaker.events():
                yield breaker
        else:
            yield breaker


async def down() -> None:
    await trio.lowlevel.cancel_shielded_checkpoint()
    raise DependencyDown("down")


async def fine() -> str:
    await trio.lowlevel.checkpoint()
    return "fine"


async def expect_failure(
    breaker: CircuitBreaker, style: str, function: Call, *kinds: type[Exception]
) -> None:
    with pytest.raises(kinds or (DependencyDown, ExceptionGroup)):
        await call(breaker, style, function)


async def failures(breaker: CircuitBreaker) -> int:
    """The number of counted failures. No call may be in flight."""
    snapshot = await breaker.snapshot()
    assert snapshot.in_flight == 0
    return snapshot.counts["failure"]


def directly(function: Call) -> Call:
    return function


def in_child(function: Call) -> Call:
    """Call it in a child task, in a nursery that the caller opens."""

    async def calls() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(function)

    return calls


in_the_task_and_in_a_child = pytest.mark.parametrize("nest", [directly, in_child])
"""Once with the nested call in the task of the outer call, and once in a child task."""


async def half_open(breaker: CircuitBreaker, clock: MockClock) -> None:
    await breaker.trip()
    await advance(clock, breaker.config.reset_timeout)
    assert breaker.state is State.HALF_OPEN
