"""Nested calls while half-open and in a ramp, and own probes that call through their breaker."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CircuitBreaker, CircuitBreakerConfig, CircuitOpenError, State, open_panel
from actors.testing import ScriptedDependency, advance
from tests.actors.call.nesting.calls import (
    CASES,
    PAIRS,
    STYLES,
    Call,
    call,
    down,
    expect_failure,
    failures,
    fine,
    half_open,
    in_the_task_and_in_a_child,
    opened,
)


@pytest.mark.parametrize(("policy", "outer", "inner"), CASES)
@in_the_task_and_in_a_child
async def test_a_probe_that_calls_through_its_breaker_closes_it(
    mock_clock: MockClock, policy: str, outer: str, inner: str, nest: Callable[[Call], Call]
) -> None:
    async with opened(policy) as breaker:
        await half_open(breaker, mock_clock)
        await call(breaker, outer, nest(lambda: call(breaker, inner, fine)))
        snapshot = await breaker.snapshot()
        assert snapshot.state is State.CLOSED
        assert snapshot.in_flight == 0
        assert snapshot.counts["success"] == 1


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
async def test_a_nested_success_does_not_close_the_breaker(
    mock_clock: MockClock, outer: str, inner: str
) -> None:
    async with opened("plain") as breaker:
        await half_open(breaker, mock_clock)

        async def probe() -> None:
            await call(breaker, inner, fine)
            assert (await breaker.snapshot()).state is State.HALF_OPEN
            await down()

        await expect_failure(breaker, outer, probe)
        assert breaker.state is State.OPEN
        assert await failures(breaker) == 1


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
async def test_a_nested_failure_that_is_swallowed_does_not_open_the_breaker(
    mock_clock: MockClock, outer: str, inner: str
) -> None:
    async with opened("plain") as breaker:
        await half_open(breaker, mock_clock)

        async def probe() -> None:
            await expect_failure(breaker, inner, down)
            assert (await breaker.snapshot()).state is State.HALF_OPEN

        await call(breaker, outer, probe)
        assert breaker.state is State.CLOSED
        assert await failures(breaker) == 0


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
async def test_a_cancelled_nested_call_gives_the_probes_permit_back(
    mock_clock: MockClock, outer: str, inner: str
) -> None:
    async with opened("plain") as breaker:
        await half_open(breaker, mock_clock)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, breaker, outer, lambda: call(breaker, inner, trio.sleep_forever))
            await wait_all_tasks_blocked()
            with pytest.raises(CircuitOpenError):
                await call(breaker, inner, fine)
            nursery.cancel_scope.cancel()
        snapshot = await breaker.snapshot()
        assert snapshot.state is State.HALF_OPEN
        assert snapshot.in_flight == 0
        assert snapshot.counts["cancelled"] == 1
        await call(breaker, outer, fine)
        assert breaker.state is State.CLOSED


@pytest.mark.parametrize("inner", STYLES)
async def test_nested_calls_take_no_turn_in_a_ramp(mock_clock: MockClock, inner: str) -> None:
    async with opened("plain", ramp=100.0) as breaker:
        await half_open(breaker, mock_clock)
        await breaker.execute(fine)
        await advance(mock_clock, 1)

        async def nested() -> None:
            for _ in range(50):
                await call(breaker, inner, fine)

        while (await breaker.snapshot()).counts["success"] < 2:
            try:
                await breaker.execute(nested)
            except CircuitOpenError:
                await advance(mock_clock, 1)
        with pytest.raises(CircuitOpenError):
            for _ in range(50):
                await call(breaker, inner, fine)


@pytest.mark.parametrize("inner", STYLES)
@in_the_task_and_in_a_child
async def test_a_breakers_own_probe_may_call_through_it(
    mock_clock: MockClock, inner: str, nest: Callable[[Call], Call]
) -> None:
    """While open too, where it runs at each probe_interval."""
    dependency = ScriptedDependency()
    dependency.breaks()
    async with open_panel() as panel:
        breaker: CircuitBreaker

        async def probe() -> None:
            await nest(lambda: call(breaker, inner, dependency))()

        breaker = panel.breaker(
            CircuitBreakerConfig(name="it", probe=probe, probe_interval=10, reset_timeout=60)
        )
        await breaker.trip()
        await advance(mock_clock, 10)
        assert dependency.calls == 1
        assert breaker.state is State.OPEN
        dependency.mends()
        await advance(mock_clock, 10)
        snapshot = await breaker.snapshot()
        assert dependency.calls == 3
        assert snapshot.state is State.CLOSED
        assert snapshot.in_flight == 0
        assert snapshot.counts["failure"] == 0
        assert snapshot.counts["rejected"] == 0


@pytest.mark.parametrize("inner", STYLES)
async def test_an_own_probe_that_fails_through_its_breaker_opens_it_again(
    mock_clock: MockClock, inner: str
) -> None:
    async with open_panel() as panel:
        breaker: CircuitBreaker

        async def probe() -> None:
            await call(breaker, inner, down)

        breaker = panel.breaker(CircuitBreakerConfig(name="it", probe=probe, reset_timeout=60))
        await breaker.trip()
        for number in (1, 2):
            await advance(mock_clock, 60)
            assert breaker.state is State.OPEN
            assert await failures(breaker) == number
        with pytest.raises(CircuitOpenError):
            await call(breaker, inner, fine)
