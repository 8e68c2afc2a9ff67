"""How long calls took, if the panel is configured to measure it."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock

from actors import (
    CallTimeout,
    CircuitBreaker,
    CircuitBreakerConfig,
    FailureRate,
    LastCalls,
    Outcome,
    State,
    TripStrategy,
    open_panel,
)


@pytest.mark.parametrize("trip", [None, FailureRate(1.0, LastCalls(9), minimum_calls=9)])
@pytest.mark.parametrize("through", ["execute", "guard"])
async def test_durations_are_measured_if_the_panel_or_the_policy_needs_them(
    autojump_clock: MockClock, trip: TripStrategy | None, through: str
) -> None:
    """Successes, failures and ignored calls have durations; a cancelled call has none."""
    config = CircuitBreakerConfig(name="it", trip=trip, ignore=LookupError)

    async def call(breaker: CircuitBreaker, seconds: float, error: type[Exception] | None) -> None:
        async def work() -> None:
            await trio.sleep(seconds)
            if error is not None:
                raise error

        with suppress(Exception):
            if through == "execute":
                await breaker.execute(work)
            else:
                async with breaker.guard():
                    await work()

    async with open_panel(durations=(1, 2)) as panel:
        breaker = panel.breaker(config)
        for seconds, error in ((0.5, None), (1, OSError), (1.5, KeyError), (3, None)):
            await call(breaker, seconds, error)
        with trio.move_on_after(0.5):
            await call(breaker, 1, None)
        snapshot = await breaker.snapshot()
    counts = [snapshot.counts[one] for one in Outcome]
    assert counts == [2, 1, 1, 1]
    assert snapshot.durations is not None
    seen = snapshot.durations
    assert seen.bounds == (1, 2)
    assert seen.counts == (2, 1, 1)
    assert seen.total == 6


async def test_a_disabled_breaker_measures_nothing() -> None:
    """A disabled breaker records no duration; an observing breaker records all."""
    async with open_panel(durations=(1,)) as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it"))
        await breaker.disable()
        await breaker.execute(trio.lowlevel.checkpoint)
        async with breaker.guard() as call:
            call.fail()
        await breaker.observe()
        await breaker.execute(trio.lowlevel.checkpoint)
        durations = (await breaker.snapshot()).durations
    assert durations is not None
    assert sum(durations.counts) == 1


@pytest.mark.parametrize("half_open", [False, True])
async def test_an_early_success_is_measured_once_and_until_then(
    autojump_clock: MockClock, half_open: bool
) -> None:
    """With a message or without one. A later failure adds a failure, but no second duration."""
    async with open_panel(durations=(1, 2)) as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it"))
        if half_open:
            await breaker.trip()
            await trio.sleep(60)
        for late in (False, True):
            async with breaker.guard() as call:
                await trio.sleep(1.5)
                call.succeed()
                await trio.sleep(10)
                if late:
                    call.fail()
        snapshot = await breaker.snapshot()
    assert snapshot.durations is not None
    assert snapshot.durations.counts == (0, 2, 0)
    assert snapshot.durations.total == 3
    assert snapshot.counts["success"] == 2
    assert snapshot.counts["failure"] == 1


async def test_calls_that_the_breaker_ends_are_measured_too(autojump_clock: MockClock) -> None:
    """A call ended by `call_timeout` has the time of that end; the breaker's own probe is measured too."""

    async def probe() -> None:
        await trio.sleep(0.5)

    async with open_panel(durations=(1, 2)) as panel:
        config = CircuitBreakerConfig(name="it", call_timeout=1.5, max_failures=1, probe=probe)
        breaker = panel.breaker(config)
        with pytest.raises(CallTimeout):
            await breaker.execute(trio.sleep, 10)
        assert await measured(breaker) == (0, 1, 0)
        await trio.sleep(61)
        assert breaker.state is State.CLOSED
        assert await measured(breaker) == (1, 1, 0)


@pytest.mark.parametrize("early", [False, True])
async def test_calls_admitted_while_the_breaker_is_being_disabled_are_not_measured(
    early: bool,
) -> None:
    """Such a call gets its permit by a message; like a call admitted without one, it isn't recorded."""
    async with open_panel(durations=(1,)) as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it"))

        async def call() -> None:
            async with breaker.guard() as guard:
                if early:
                    guard.succeed()
                await trio.lowlevel.checkpoint()

        for _ in range(20):
            await breaker.observe()  # while observing, each call gets its permit by a message
            async with trio.open_nursery() as nursery:
                for one in (breaker.disable, call, call):
                    nursery.start_soon(one)
        snapshot = await breaker.snapshot()
        assert 0 < snapshot.counts["success"] < 40, "some came before it, some after"
        assert sum(await measured(breaker)) == snapshot.counts["success"]


async def measured(breaker: CircuitBreaker) -> tuple[int, ...]:
    durations = (await breaker.snapshot()).durations
    assert durations is not None
    return durations.counts
