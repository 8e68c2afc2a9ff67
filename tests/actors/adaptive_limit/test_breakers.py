"""Breakers whose bulkhead has an adaptive limit: which calls are samples, and where the limit is shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import AdaptiveLimit, BulkheadFullError, CallTimeout, CircuitBreaker, Panel, State
from actors.policy.adaptive_limit import FEWEST
from tests.actors.call.breakers import new_breaker

LIMIT = AdaptiveLimit(minimum=1, initial=4, maximum=50)


def baseline(breaker: CircuitBreaker) -> float | None:
    """The limiter's baseline; None while it has fewer samples than it needs."""
    assert breaker.bulkhead is not None
    assert breaker.bulkhead.adaptive is not None
    return breaker.bulkhead.adaptive.baseline


async def succeeds(breaker: CircuitBreaker) -> None:
    await breaker.execute(trio.sleep, 0.2)


async def fails(breaker: CircuitBreaker) -> None:
    async def fail() -> None:
        await trio.sleep(0.2)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await breaker.execute(fail)


async def is_ignored(breaker: CircuitBreaker) -> None:
    async with breaker.guard() as call:
        await trio.sleep(0.2)
        call.ignore()


async def is_cancelled(breaker: CircuitBreaker) -> None:
    with trio.move_on_after(0.2):
        await breaker.execute(trio.sleep, 9)


async def times_out(breaker: CircuitBreaker) -> None:
    with pytest.raises(CallTimeout):
        await breaker.execute(trio.sleep_forever)


async def is_wrong(breaker: CircuitBreaker) -> None:
    with pytest.raises(TypeError):
        await breaker.execute(trio.sleep)


async def answers_and_streams(breaker: CircuitBreaker) -> None:
    async with breaker.guard() as call:
        await trio.sleep(0.2)
        call.answered()
        await trio.sleep(3)


async def settles_and_goes_on(breaker: CircuitBreaker) -> None:
    async with breaker.guard() as call:
        await trio.sleep(0.2)
        call.succeed()
        await trio.sleep(3)


async def waits_for_its_client(breaker: CircuitBreaker) -> None:
    async with breaker.guard() as call:
        await trio.sleep(3.2)
        call.exclude(3)


Style = Callable[[CircuitBreaker], Awaitable[None]]


@pytest.mark.parametrize(
    ("call", "learned"),
    [
        (succeeds, 0.2),
        (answers_and_streams, 0.2),
        (settles_and_goes_on, 0.2),
        (waits_for_its_client, 0.2),
        (fails, None),
        (is_ignored, None),
        (is_cancelled, None),
        (is_wrong, None),
        (times_out, None),
    ],
)
async def test_the_latency_is_that_of_successes(
    panel: Panel, autojump_clock: MockClock, call: Style, learned: float | None
) -> None:
    """Each success is one sample: with one sample fewer than needed, there is no baseline."""
    timeout = 5 if call is times_out else None
    breaker = new_breaker(panel, max_failures=99, max_concurrent=LIMIT, call_timeout=timeout)
    for _ in range(FEWEST - 1):
        await call(breaker)
    assert baseline(breaker) is None
    await call(breaker)
    assert baseline(breaker) == (None if learned is None else pytest.approx(learned))


async def known(panel: Panel, **fields: Any) -> CircuitBreaker:
    """A breaker with a measured baseline: 0.2 s."""
    breaker = new_breaker(panel, max_failures=9999, max_concurrent=LIMIT, **fields)
    for _ in range(FEWEST):
        await succeeds(breaker)
    assert baseline(breaker) is not None
    return breaker


async def crowd(breaker: CircuitBreaker, call: Style, rounds: int = 10) -> list[int]:
    """As many calls at once as may run, several times. The limit after each round."""
    limits = []
    for _ in range(rounds):
        limit = (await breaker.snapshot()).bulkhead_limit
        assert limit is not None
        async with trio.open_nursery() as nursery:
            for _ in range(limit):
                nursery.start_soon(call, breaker)
        limits.append((await breaker.snapshot()).bulkhead_limit or 0)
    return limits


@pytest.mark.parametrize(
    ("call", "fields", "grows"),
    [
        (succeeds, {}, 1),
        (fails, {}, 0),
        (is_ignored, {}, 0),
        (is_cancelled, {}, 0),
        (times_out, {"call_timeout": 0.3}, 0),
        (times_out, {"call_timeout": 5}, -1),
    ],
)
async def test_only_successes_raise_the_limit(
    panel: Panel, autojump_clock: MockClock, call: Style, fields: dict[str, float], grows: int
) -> None:
    """Time-outs well above the baseline lower it."""
    breaker = await known(panel, **fields)
    limits = await crowd(breaker, call, rounds=30)
    assert limits == sorted(limits, reverse=grows < 0)
    last = limits[-1]
    assert (last > 4, last < 4) == (grows > 0, grows < 0)


async def test_a_rejected_call_is_no_sample(panel: Panel, autojump_clock: MockClock) -> None:
    breaker = new_breaker(panel, max_concurrent=replace(LIMIT, initial=1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(is_ignored, breaker)
        await wait_all_tasks_blocked()
        for _ in range(2 * FEWEST):
            with pytest.raises(BulkheadFullError, match="1 call"):
                await succeeds(breaker)
    assert baseline(breaker) is None


async def test_a_disabled_breaker_measures_nothing(panel: Panel, autojump_clock: MockClock) -> None:
    breaker = new_breaker(panel, max_concurrent=LIMIT)
    await breaker.disable()
    for _ in range(2 * FEWEST):
        await succeeds(breaker)
    assert baseline(breaker) is None


async def test_a_call_that_began_before_the_limit_adapted_is_no_sample(
    panel: Panel, autojump_clock: MockClock
) -> None:
    """Its duration isn't measured."""
    breaker = new_breaker(panel, max_concurrent=4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(succeeds, breaker)
        await wait_all_tasks_blocked()
        await breaker.configure(replace(breaker.config, max_concurrent=LIMIT))
    for _ in range(FEWEST - 1):
        await succeeds(breaker)
    assert baseline(breaker) is None


async def test_a_limit_that_grows_admits_waiting_calls_in_order(
    panel: Panel, autojump_clock: MockClock
) -> None:
    """First in, first out; none passes those that wait."""
    breaker = await known(panel, max_queue=200)
    started = {}

    async def one(number: int) -> None:
        started[number] = trio.current_time()
        await trio.sleep(0.2)

    async with trio.open_nursery() as nursery:
        for number in range(150):
            nursery.start_soon(breaker.execute, one, number)
            await wait_all_tasks_blocked()
    times = [started[number] for number in range(150)]
    assert times == sorted(times)
    assert ((await breaker.snapshot()).bulkhead_limit or 0) > 4


async def test_a_limit_that_shrinks_ends_no_call(panel: Panel, autojump_clock: MockClock) -> None:
    """Running calls keep their places; later ones wait until there are fewer."""
    breaker = await known(panel)
    await crowd(breaker, succeeds, rounds=20)
    before = (await breaker.snapshot()).bulkhead_limit or 0
    async with trio.open_nursery() as nursery:
        for _ in range(before):
            nursery.start_soon(breaker.execute, trio.sleep, 50)
        await wait_all_tasks_blocked()
        await breaker.configure(replace(breaker.config, max_concurrent=replace(LIMIT, initial=1, maximum=1)))
        snapshot = await breaker.snapshot()
        assert (snapshot.bulkhead_limit, snapshot.in_flight) == (1, before)
        with pytest.raises(BulkheadFullError):
            await succeeds(breaker)
    assert (await breaker.snapshot()).counts["success"] >= before


async def test_a_new_policy_keeps_what_was_measured(panel: Panel, autojump_clock: MockClock) -> None:
    """As long as the limit adapts; a fixed one forgets it."""
    breaker = await known(panel)
    learned = baseline(breaker)
    await breaker.configure(replace(breaker.config, max_concurrent=replace(LIMIT, minimum=2, initial=9)))
    assert baseline(breaker) == learned
    assert (await breaker.snapshot()).bulkhead_limit == 4
    await breaker.configure(replace(breaker.config, max_concurrent=7))
    assert (await breaker.snapshot()).bulkhead_limit == 7
    await breaker.configure(replace(breaker.config, max_concurrent=LIMIT))
    assert baseline(breaker) is None
    await breaker.configure(replace(breaker.config, max_concurrent=None))
    assert (await breaker.snapshot()).bulkhead_limit is None


async def test_it_outlives_an_outage(panel: Panel, autojump_clock: MockClock) -> None:
    breaker = await known(panel)
    learned = baseline(breaker)
    await breaker.trip()
    await breaker.reset()
    assert breaker.state is State.CLOSED
    assert baseline(breaker) == learned
