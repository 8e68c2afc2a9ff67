"""A wait for admission ends when a half-open breaker has had a free place for a second."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from actors import CircuitBreaker, CircuitBreakerConfig, open_panel
from actors.testing import DependencyDown

POLICY = CircuitBreakerConfig(name="it", reset_timeout=10)


async def no_call_probes(breaker: CircuitBreaker) -> None:
    pass


async def a_probe_is_cancelled(breaker: CircuitBreaker) -> None:
    """From 10.5 to 15."""
    await trio.sleep_until(10.5)
    with trio.move_on_at(15):
        await breaker.execute(trio.sleep_forever)


async def a_probe_fails(breaker: CircuitBreaker) -> None:
    """From 10.5 to 15; the breaker then waits until 25."""
    await trio.sleep_until(10.5)
    with pytest.raises(DependencyDown):
        await breaker.execute(fail_at, 15)


async def fail_at(time: float) -> None:
    await trio.sleep_until(time)
    raise DependencyDown


@pytest.mark.parametrize("begins", [1, 10.7, 12])
@pytest.mark.parametrize(
    ("others", "ends"), [(no_call_probes, 11), (a_probe_is_cancelled, 16), (a_probe_fails, 26)]
)
async def test_a_waiter_may_probe_a_second_after_a_place_came_free(
    autojump_clock: MockClock, others: Callable[[CircuitBreaker], Awaitable[None]], ends: float, begins: float
) -> None:
    async with open_panel() as panel, trio.open_nursery() as nursery:
        breaker = panel.breaker(POLICY)
        await breaker.trip()
        nursery.start_soon(others, breaker)
        await trio.sleep_until(begins)
        with trio.fail_after(60):
            await breaker.wait_until_admitting()
        assert trio.current_time() == pytest.approx(max(begins, ends))
        nursery.cancel_scope.cancel()
