"""Breakers that reject for each reason, and the facts that their rejections have."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors import CallRejected, CircuitBreaker, CircuitBreakerConfig, Panel, RejectReason, State
from actors.testing import DependencyDown, ScriptedDependency
from tests.actors.styles import Style


def breaker_of(panel: Panel, **fields: Any) -> CircuitBreaker:
    """A breaker that opens at one failure."""
    return panel.breaker(CircuitBreakerConfig(name="it", max_failures=1, **fields))


async def opened(panel: Panel, **fields: Any) -> CircuitBreaker:
    """The breaker after one failure."""
    breaker = breaker_of(panel, **fields)
    broken = ScriptedDependency()
    broken.breaks()
    with pytest.raises(DependencyDown):
        await breaker.execute(broken)
    return breaker


async def is_open(panel: Panel, running: trio.Nursery) -> CircuitBreaker:
    breaker = await opened(panel)
    await trio.sleep(20.5)
    return breaker


async def is_open_while_a_call_runs(panel: Panel, running: trio.Nursery) -> CircuitBreaker:
    breaker = breaker_of(panel)
    running.start_soon(breaker.execute, trio.sleep_forever)
    await wait_all_tasks_blocked()
    await opened(panel)
    await trio.sleep(20.5)
    return breaker


async def is_probing(panel: Panel, running: trio.Nursery) -> CircuitBreaker:
    breaker = await opened(panel)
    await trio.sleep(60)
    running.start_soon(breaker.execute, trio.sleep_forever)
    await trio.sleep(2)
    return breaker


async def is_probing_nearly_too_long(panel: Panel, running: trio.Nursery) -> CircuitBreaker:
    breaker = await is_probing(panel, running)
    await trio.sleep(57.75)
    return breaker


async def is_ramping(panel: Panel, running: trio.Nursery) -> CircuitBreaker:
    breaker = await opened(panel, ramp=100)
    await trio.sleep(60)
    await breaker.execute(trio.sleep, 0)
    await trio.sleep(0.25)
    return breaker


async def is_forced(panel: Panel, running: trio.Nursery) -> CircuitBreaker:
    breaker = breaker_of(panel)
    await breaker.force_open()
    await trio.sleep(7)
    return breaker


async def is_forced_in_an_outage(panel: Panel, running: trio.Nursery) -> CircuitBreaker:
    breaker = await is_open(panel, running)
    await breaker.force_open()
    return breaker


async def is_full(panel: Panel, running: trio.Nursery) -> CircuitBreaker:
    breaker = breaker_of(panel, max_concurrent=1)
    running.start_soon(breaker.execute, trio.sleep_forever)
    await wait_all_tasks_blocked()
    return breaker


DOWN = "DependencyDown"
OPEN_TEXT = (
    "circuit breaker 'it' is OPEN for 20.500 s (last failure: DependencyDown), "
    "waiting for the end of its wait; retry after 39.500 s"
)
PROBING_TEXT = (
    "circuit breaker 'it' is HALF_OPEN for {} s (last failure: DependencyDown), "
    "waiting for the result of a probe; retry after {} s"
)
RAMP_TEXT = (
    "circuit breaker 'it' is CLOSED (last failure: DependencyDown), "
    "waiting for the end of its ramp; retry after 99.750 s"
)
FORCED_TEXT = "circuit breaker 'it' is FORCED_OPEN for {}, waiting for an operator; retry after 30.000 s"
FORCED_LATER = FORCED_TEXT.format("20.500 s (last failure: DependencyDown)")
Rejecting = Callable[[Panel, trio.Nursery], Awaitable[CircuitBreaker]]
OPEN: dict[Rejecting, tuple[State, float, RejectReason, str | None, float | None, str]] = {
    is_open: (State.OPEN, 39.5, RejectReason.OPEN, DOWN, 20.5, OPEN_TEXT),
    is_open_while_a_call_runs: (State.OPEN, 39.5, RejectReason.OPEN, DOWN, 20.5, OPEN_TEXT),
    is_probing: (
        State.HALF_OPEN, 1.0, RejectReason.PROBING, DOWN, 62.0, PROBING_TEXT.format("62.000", "1.000"),
    ),
    is_probing_nearly_too_long: (
        State.HALF_OPEN, 0.25, RejectReason.PROBING, DOWN, 119.75, PROBING_TEXT.format("119.750", "0.250"),
    ),
    is_ramping: (State.CLOSED, 99.75, RejectReason.RAMP, DOWN, None, RAMP_TEXT),
    is_forced: (State.FORCED_OPEN, 30.0, RejectReason.FORCED, None, 7.0, FORCED_TEXT.format("7.000 s")),
    is_forced_in_an_outage: (State.FORCED_OPEN, 30.0, RejectReason.FORCED, DOWN, 20.5, FORCED_LATER),
}  # fmt: skip
"""State, retry_after, reason, last_failure, open_for and text of the rejection by a breaker in that state."""
of_each_reason = pytest.mark.parametrize("rejecting", [*OPEN, is_full], ids=lambda one: one.__name__)


async def rejection(call: Style, breaker: CircuitBreaker) -> CallRejected:
    """Make a call, which must be rejected without calling the function."""
    fn = ScriptedDependency()
    try:
        await call(breaker, fn)
    except CallRejected as error:
        assert fn.calls == 0
        return error
    raise AssertionError("it was admitted")


async def by_execute(breaker: CircuitBreaker, fn: Any) -> Any:
    return await breaker.execute(fn)
