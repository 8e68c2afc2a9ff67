"""A call through a breaker inside another call through it is part of that one: the outer one alone counts."""

from __future__ import annotations

import copy
import pickle
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    BulkheadFullError,
    CallTimeout,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    FailureCount,
    FailureRate,
    Guard,
    LastCalls,
    LastSeconds,
    SlowCallRate,
    Snapshot,
    State,
    open_panel,
)
from actors.call.nesting.held_call import HELD
from actors.testing import DependencyDown, ScriptedDependency, advance
from tests.actors.model.schedules import examples

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
"""Every pair of call styles under the plain policy, and under each other one those that differ there."""


class Wrapped(Exception):
    """What a layer of the caller's own raises in place of the dependency's error."""


def raises(error: Exception) -> Any:
    raise error


async def call(breaker: CircuitBreaker, style: str, function: Call) -> Any:
    """Call `function` through the breaker in one of the styles; rejections and failures come out of each."""
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
    """A breaker with one of POLICIES. Each of them has its own way through the code of a call."""
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
    """How many were counted; no call may be left over."""
    snapshot = await breaker.snapshot()
    assert snapshot.in_flight == 0
    return snapshot.counts["failure"]


def in_child(function: Call) -> Call:
    """Calls it in a child task, whose nursery is opened by the caller."""

    async def calls() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(function)

    return calls


# Failures.


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
                raise Wrapped from error

        await expect_failure(breaker, outer, wraps, Wrapped)
        assert await failures(breaker) == 1


@pytest.mark.parametrize(("policy", "outer", "inner"), CASES)
async def test_a_failure_that_the_outer_call_swallows_counts_nothing(
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


@pytest.mark.parametrize(("policy", "outer", "inner"), CASES)
async def test_a_failure_in_a_child_task_counts_once(policy: str, outer: str, inner: str) -> None:
    async with opened(policy) as breaker:
        await expect_failure(breaker, outer, in_child(lambda: call(breaker, inner, down)))
        assert await failures(breaker) == 1


@pytest.mark.parametrize("outer", STYLES)
async def test_a_failure_in_a_child_task_counts_once_while_other_calls_run(outer: str) -> None:
    async with opened("plain") as breaker, trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, trio.sleep_forever)
        await wait_all_tasks_blocked()
        await expect_failure(breaker, outer, in_child(lambda: call(breaker, "execute", down)))
        assert (await breaker.snapshot()).counts["failure"] == 1
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
async def test_a_failure_in_a_childs_child_counts_once(outer: str, inner: str) -> None:
    async with opened("plain") as breaker:
        innermost = in_child(lambda: call(breaker, inner, down))
        await expect_failure(breaker, outer, in_child(lambda: call(breaker, inner, innermost)))
        assert await failures(breaker) == 1


def _from_group(group: BaseException) -> None:
    raise Wrapped from group


def _from_leaf(group: BaseException) -> None:
    assert isinstance(group, ExceptionGroup)
    raise Wrapped from group.exceptions[0]


def _leaf(group: BaseException) -> None:
    assert isinstance(group, ExceptionGroup)
    raise group.exceptions[0]


def _from_none(_group: BaseException) -> None:
    raise Wrapped from None


def _from_another(_group: BaseException) -> None:
    raise Wrapped from ValueError("another")


def _group_of_wrapped(group: BaseException) -> None:
    raise ExceptionGroup("all attempts", [Wrapped(), Wrapped()]) from group


REWORKINGS = [_from_group, _from_leaf, _leaf, _from_none, _from_another]


@pytest.mark.parametrize("reworks", REWORKINGS)
@pytest.mark.parametrize("outer", STYLES)
@pytest.mark.parametrize("inner", ["execute", "guard"])
async def test_a_childs_failure_counts_once_however_it_is_raised_again(
    outer: str, inner: str, reworks: Callable[[BaseException], None]
) -> None:
    async with opened("plain") as breaker:

        async def reworked() -> None:
            try:
                await in_child(lambda: call(breaker, inner, down))()
            except ExceptionGroup as group:
                reworks(group)

        await expect_failure(breaker, outer, reworked, Wrapped, DependencyDown)
        assert await failures(breaker) == 1


@pytest.mark.parametrize("outer", ["execute", "protect"])
async def test_a_group_counts_again_only_for_a_failure_that_no_child_has_counted(outer: str) -> None:
    async def ignored() -> None:
        raise KeyError

    async with opened("plain", ignore=KeyError) as breaker:

        async def with_ignored(second: Call) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(breaker.execute, down)
                nursery.start_soon(second)

        await expect_failure(breaker, outer, lambda: with_ignored(ignored))
        assert await failures(breaker) == 1
        await expect_failure(breaker, outer, lambda: with_ignored(down))
        assert await failures(breaker) == 3


async def test_a_group_of_a_counted_failure_and_what_was_raised_from_it_is_counted() -> None:
    async with opened("plain") as breaker:

        async def reworked() -> None:
            try:
                await in_child(lambda: breaker.execute(down))()
            except ExceptionGroup as group:
                first = group.exceptions[0]
                second = Wrapped()
                second.__cause__ = first
                errors = [first, second]
            raise ExceptionGroup("attempts", errors)

        await expect_failure(breaker, "execute", reworked, ExceptionGroup)
        assert await failures(breaker) == 1


async def test_a_function_that_has_the_name_of_a_call_style_is_none() -> None:
    async with opened("plain") as breaker, trio.open_nursery() as nursery:

        async def execute(self: CircuitBreaker) -> None:
            gate = self.gate
            assert gate.fast
            await expect_failure(self, "execute", down)

        nursery.start_soon(breaker.execute, trio.sleep_forever)
        await wait_all_tasks_blocked()
        await execute(breaker)
        assert (await breaker.snapshot()).counts["failure"] == 1
        nursery.cancel_scope.cancel()


class Awaits:
    """What is awaited isn't always a coroutine: here it is a generator."""

    def __init__(self, function: Call) -> None:
        self._function = function

    def __await__(self) -> Any:
        return (yield from self._function().__await__())


class Wraps(Awaits):
    """Here it is what stands for a coroutine."""

    def __await__(self) -> Any:
        return self._function().__await__()


async def by_generator(function: Call) -> None:
    async def steps() -> AsyncIterator[None]:
        await function()
        yield

    async for _ in steps():
        pass


@pytest.mark.parametrize("awaits", [Awaits, Wraps, by_generator])
@pytest.mark.parametrize("outer", ["execute", "protect"])
async def test_a_parents_call_is_found_behind_whatever_is_awaited(
    outer: str, awaits: Callable[[Call], Awaitable[Any]]
) -> None:
    async with opened("plain") as breaker:

        async def inside() -> None:
            await awaits(in_child(lambda: breaker.execute(down)))

        async def around() -> None:
            await awaits(lambda: call(breaker, outer, inside))

        with pytest.raises(ExceptionGroup):
            await around()
        assert await failures(breaker) == 1


async def test_new_failures_raised_while_a_counted_one_is_handled_count_as_a_group() -> None:
    async with opened("plain") as breaker:

        async def reworked() -> None:
            try:
                await in_child(lambda: breaker.execute(down))()
            except ExceptionGroup as group:
                _group_of_wrapped(group)

        await expect_failure(breaker, "execute", reworked, ExceptionGroup)
        # The leaves were raised in no handler: nothing says that the counted failure is behind them.
        assert await failures(breaker) == 2


async def test_a_failure_that_is_part_of_its_own_group_is_followed_once() -> None:
    """Raising a leaf while its group is handled makes a circle of the two."""
    async with opened("plain") as breaker:

        async def raises_a_circle() -> None:
            fresh = DependencyDown("another")
            group = ExceptionGroup("loop", [fresh])
            fresh.__cause__ = group
            raise fresh

        async def children() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(breaker.execute, down)
                nursery.start_soon(raises_a_circle)

        await expect_failure(breaker, "execute", children)
        assert await failures(breaker) == 2


async def test_a_very_long_chain_of_causes_is_followed() -> None:
    async with opened("plain") as breaker:

        async def long_chain() -> None:
            try:
                await in_child(lambda: breaker.execute(down))()
            except ExceptionGroup as group:
                error: BaseException = group
                for _ in range(5000):
                    error, cause = Wrapped(), error
                    error.__cause__ = cause
                raise error from error.__cause__

        await expect_failure(breaker, "execute", long_chain, Wrapped)
        assert await failures(breaker) == 1


# What isn't inside of a call.


@pytest.mark.parametrize(
    ("policy", "outer", "inner"), [case for case in CASES if case[0] in ("plain", "durations", "result")]
)
async def test_a_task_started_into_an_outer_nursery_is_on_its_own(
    policy: str, outer: str, inner: str
) -> None:
    async with opened(policy) as breaker, trio.open_nursery() as nursery:

        async def on_its_own() -> None:
            await expect_failure(breaker, inner, down)

        async def starts() -> None:
            nursery.start_soon(on_its_own)
            await wait_all_tasks_blocked()
            assert (await breaker.snapshot()).counts["failure"] == 1
            await down()

        await expect_failure(breaker, outer, starts)
        assert await failures(breaker) == 2


@pytest.mark.parametrize(
    ("policy", "outer", "inner"), [case for case in CASES if case[0] in ("plain", "durations", "result")]
)
async def test_a_sibling_task_is_on_its_own(policy: str, outer: str, inner: str) -> None:
    async with opened(policy) as breaker, trio.open_nursery() as nursery:
        nursery.start_soon(call, breaker, outer, trio.sleep_forever)
        await wait_all_tasks_blocked()
        await expect_failure(breaker, inner, down)
        await expect_failure(breaker, outer, lambda: call(breaker, inner, down))
        snapshot = await breaker.snapshot()
        assert (snapshot.counts["failure"], snapshot.in_flight) == (2, 1)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
async def test_a_task_is_inside_of_the_call_that_starts_it_until_it_has_started(
    outer: str, inner: str
) -> None:
    async with opened("result") as breaker, trio.open_nursery() as nursery:

        async def service(task_status: trio.TaskStatus[None]) -> None:
            await expect_failure(breaker, inner, down)
            assert (await breaker.snapshot()).counts["failure"] == 0
            task_status.started()
            await expect_failure(breaker, inner, down)

        await call(breaker, outer, partial(nursery.start, service))
        await wait_all_tasks_blocked()
        snapshot = await breaker.snapshot()
        assert (snapshot.counts["failure"], snapshot.counts["success"], snapshot.in_flight) == (1, 1, 0)


@pytest.mark.parametrize("inner", STYLES)
async def test_a_call_by_a_fallback_is_on_its_own(inner: str) -> None:
    async with opened("plain") as breaker:

        async def fallback(_error: Exception) -> None:
            await call(breaker, inner, down)

        with pytest.raises(DependencyDown):
            await breaker.execute_with_fallback(fallback, down)
        assert await failures(breaker) == 2
        await breaker.trip()
        with pytest.raises(CircuitOpenError):
            await breaker.execute_or(fallback, fine)
        assert (await breaker.snapshot()).counts["rejected"] == 2


@pytest.mark.parametrize("outer", STYLES)
async def test_a_fallback_of_a_nested_call_makes_the_outer_call_a_success(outer: str) -> None:
    async with opened("plain") as breaker:

        async def falls_back() -> object:
            return await breaker.execute_with_fallback(lambda _error: "instead", down)

        assert await call(breaker, outer, falls_back) == "instead"
        assert await failures(breaker) == 0


@pytest.mark.parametrize("inner", STYLES)
@pytest.mark.parametrize("policy", ["plain", "durations"])
async def test_workers_count_each_failure_while_their_parent_is_in_a_fast_call(
    policy: str, inner: str
) -> None:
    async with opened(policy, max_failures=100) as breaker:

        async def worker() -> None:
            await expect_failure(breaker, inner, down)

        async with trio.open_nursery() as nursery:

            async def parents_call() -> None:
                for _ in range(20):
                    nursery.start_soon(worker)
                await wait_all_tasks_blocked()

            await breaker.execute(parents_call)
        snapshot = await breaker.snapshot()
        assert (snapshot.counts["failure"], snapshot.in_flight, snapshot.failure_count) == (20, 0, 0)


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
@pytest.mark.parametrize("nest", [lambda function: function, in_child])
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
async def test_a_call_through_another_breaker_between_the_two_changes_nothing(inner: str) -> None:
    async with open_panel() as panel:
        one, two = (panel.breaker(CircuitBreakerConfig(name=name)) for name in ("one", "two"))

        async def through_two() -> None:
            await call(two, inner, lambda: call(one, inner, down))

        for outer in STYLES:
            await expect_failure(one, outer, through_two)
        assert (await failures(one), await failures(two)) == (5, 5)


# States.


async def half_open(breaker: CircuitBreaker, clock: MockClock) -> None:
    await breaker.trip()
    await advance(clock, breaker.config.reset_timeout)
    assert breaker.state is State.HALF_OPEN


@pytest.mark.parametrize(("policy", "outer", "inner"), CASES)
@pytest.mark.parametrize("nest", [lambda function: function, in_child])
async def test_a_probe_that_calls_through_its_breaker_closes_it(
    mock_clock: MockClock, policy: str, outer: str, inner: str, nest: Callable[[Call], Call]
) -> None:
    async with opened(policy) as breaker:
        await half_open(breaker, mock_clock)
        await call(breaker, outer, nest(lambda: call(breaker, inner, fine)))
        snapshot = await breaker.snapshot()
        assert (snapshot.state, snapshot.in_flight, snapshot.counts["success"]) == (State.CLOSED, 0, 1)


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
async def test_a_nested_success_does_not_recover(mock_clock: MockClock, outer: str, inner: str) -> None:
    async with opened("plain") as breaker:
        await half_open(breaker, mock_clock)

        async def probe() -> None:
            await call(breaker, inner, fine)
            assert (await breaker.snapshot()).state is State.HALF_OPEN
            await down()

        await expect_failure(breaker, outer, probe)
        assert (breaker.state, await failures(breaker)) == (State.OPEN, 1)


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
async def test_a_nested_failure_that_is_swallowed_does_not_open(
    mock_clock: MockClock, outer: str, inner: str
) -> None:
    async with opened("plain") as breaker:
        await half_open(breaker, mock_clock)

        async def probe() -> None:
            await expect_failure(breaker, inner, down)
            assert (await breaker.snapshot()).state is State.HALF_OPEN

        await call(breaker, outer, probe)
        assert (breaker.state, await failures(breaker)) == (State.CLOSED, 0)


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
async def test_a_cancelled_nested_call_gives_the_probes_place_back(
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
        assert (snapshot.state, snapshot.in_flight, snapshot.counts["cancelled"]) == (State.HALF_OPEN, 0, 1)
        await call(breaker, outer, fine)
        assert breaker.state is State.CLOSED


OPENINGS = [CircuitBreaker.trip, CircuitBreaker.force_open]


@pytest.mark.parametrize(("policy", "outer", "inner"), [case for case in CASES if case[0] != "cancelling"])
@pytest.mark.parametrize("opens", OPENINGS)
async def test_a_nested_call_still_runs_when_the_breaker_has_opened_meanwhile(
    policy: str, outer: str, inner: str, opens: Callable[[CircuitBreaker], Awaitable[None]]
) -> None:
    async with opened(policy) as breaker, trio.open_nursery() as nursery:

        async def rejected() -> None:
            with pytest.raises(CircuitOpenError):
                await call(breaker, inner, fine)

        async def opens_within() -> None:
            await opens(breaker)
            assert await call(breaker, inner, fine) == "fine"
            nursery.start_soon(rejected)
            await wait_all_tasks_blocked()
            await call(breaker, inner, down)

        await expect_failure(breaker, outer, opens_within, DependencyDown)
        snapshot = await breaker.snapshot()
        assert (snapshot.in_flight, snapshot.late, snapshot.counts["failure"]) == (0, 1, 1)
        assert (snapshot.counts["rejected"], snapshot.counts["success"]) == (1, 0)


async def test_after_the_last_call_of_a_time_before_rejections_need_no_look_again() -> None:
    async with opened("plain") as breaker:

        async def opens() -> None:
            await breaker.trip()
            await breaker.execute(fine)

        await breaker.execute(opens)
        await breaker.snapshot()
        assert breaker.gate.rejects_until == breaker.gate.until
        with pytest.raises(CircuitOpenError):
            await breaker.execute(fine)


@pytest.mark.parametrize("inner", STYLES)
async def test_in_a_ramp_nested_calls_take_no_turn(mock_clock: MockClock, inner: str) -> None:
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


@pytest.mark.parametrize(("policy", "outer", "inner"), CASES)
async def test_while_observing_a_nested_failure_counts_once_and_while_disabled_not(
    policy: str, outer: str, inner: str
) -> None:
    async with opened(policy, **({} if "trip" in POLICIES[policy] else {"max_failures": 2})) as breaker:
        await breaker.observe()
        await expect_failure(breaker, outer, lambda: call(breaker, inner, down))
        snapshot = await breaker.snapshot()
        assert (snapshot.counts["failure"], snapshot.in_flight, snapshot.transitions.get(
            (State.CLOSED, State.OPEN))) == (1, 0, None)  # fmt: skip
        await breaker.disable()
        await expect_failure(breaker, outer, lambda: call(breaker, inner, down))
        assert await failures(breaker) == 1


@pytest.mark.parametrize("inner", STYLES)
@pytest.mark.parametrize("nest", [lambda function: function, in_child])
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
        assert (dependency.calls, breaker.state) == (1, State.OPEN)
        dependency.mends()
        await advance(mock_clock, 10)
        snapshot = await breaker.snapshot()
        assert (dependency.calls, snapshot.state, snapshot.in_flight) == (3, State.CLOSED, 0)
        assert (snapshot.counts["failure"], snapshot.counts["rejected"]) == (0, 0)


@pytest.mark.parametrize("inner", STYLES)
async def test_while_half_open_an_own_probe_that_fails_through_its_breaker_opens_it(
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


@pytest.mark.parametrize(
    ("policy", "outer", "inner"), [case for case in CASES if case[0] in ("plain", "durations", "result")]
)
async def test_after_a_reset_a_nested_failure_belongs_to_the_time_before(
    policy: str, outer: str, inner: str
) -> None:
    async with opened(policy) as breaker:

        async def resets() -> None:
            before = (await breaker.snapshot()).generation
            await breaker.reset()
            assert (await breaker.snapshot()).generation > before
            await call(breaker, inner, down)

        await expect_failure(breaker, outer, resets)
        snapshot = await breaker.snapshot()
        assert (snapshot.in_flight, snapshot.failure_count, snapshot.late) == (0, 0, 1)
        assert snapshot.counts["failure"] == 1


@pytest.mark.parametrize("inner", ["execute", "protect", "guard"])
async def test_after_a_reset_a_failure_in_a_child_task_counts_once(inner: str) -> None:
    async with opened("plain") as breaker:

        async def resets() -> None:
            await breaker.reset()
            await in_child(lambda: call(breaker, inner, down))()

        await expect_failure(breaker, "execute", resets)
        snapshot = await breaker.snapshot()
        assert (snapshot.in_flight, snapshot.counts["failure"]) == (0, 1)


# Places, timeouts, results, verdicts.


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
@pytest.mark.parametrize("nest", [lambda function: function, in_child])
async def test_a_nested_call_takes_no_second_place(
    outer: str, inner: str, nest: Callable[[Call], Call]
) -> None:
    async with opened("bulkhead") as breaker:

        async def holds_the_place() -> None:
            with trio.fail_after(1):
                await nest(lambda: call(breaker, inner, fine))()
            # The nested call gave back no place either.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_full, breaker, nursery)

        outside: trio.Nursery

        async def _full(breaker: CircuitBreaker, _nursery: trio.Nursery) -> None:
            outside.start_soon(_rejected, breaker)
            await wait_all_tasks_blocked()

        async def _rejected(breaker: CircuitBreaker) -> None:
            with pytest.raises(BulkheadFullError):
                await call(breaker, inner, fine)

        async with trio.open_nursery() as outside:
            await call(breaker, outer, holds_the_place)
        assert await call(breaker, outer, fine) == "fine"
        assert (await breaker.snapshot()).counts["rejected"] == 1


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
async def test_only_the_outer_call_has_a_timeout(mock_clock: MockClock, outer: str, inner: str) -> None:
    mock_clock.autojump_threshold = 0
    async with opened("timeout") as breaker:
        start = trio.current_time()

        async def slow() -> None:
            await trio.sleep(30)
            await call(breaker, inner, trio.sleep_forever)

        await expect_failure(breaker, outer, slow, CallTimeout)
        assert trio.current_time() - start == 50
        assert await failures(breaker) == 1


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
async def test_a_nested_calls_failing_result_is_the_outer_calls_failure_unless_a_later_one_is_fine(
    outer: str, inner: str
) -> None:
    async def bad() -> str:
        return "bad"

    async with opened("result") as breaker:

        async def one(*functions: Call) -> str:
            for function in functions:
                await call(breaker, inner, function)
            return "whatever"

        await call(breaker, outer, lambda: one(fine, bad))
        assert await failures(breaker) == 1
        await call(breaker, outer, lambda: one(bad, fine))
        assert await failures(breaker) == 1


async def test_a_nested_guards_verdict_is_reported_to_the_outer_one() -> None:
    async with opened("plain") as breaker:

        async def nested(*verdicts: Callable[[Guard], None]) -> None:
            async with breaker.guard():
                for verdict in verdicts:
                    async with breaker.guard(), breaker.guard() as inner:
                        verdict(inner)

        await nested(Guard.fail)
        assert await failures(breaker) == 1
        assert (await breaker.snapshot()).last_failure == "failed"
        await nested(Guard.fail, Guard.accept)
        await nested(Guard.fail, Guard.ignore)
        await nested(Guard.succeed, Guard.answered)
        assert await failures(breaker) == 1
        async with breaker.guard() as outer:
            async with breaker.guard() as inner:
                inner.fail()
            outer.ignore()
        assert (await breaker.snapshot()).counts["ignored"] == 1


async def test_time_that_a_nested_guard_excludes_is_excluded_from_the_outer_call(
    mock_clock: MockClock,
) -> None:
    async with opened("durations") as breaker:
        async with breaker.guard(), breaker.guard() as inner:
            await advance(mock_clock, 30)
            inner.exclude(29.5)
        durations = (await breaker.snapshot()).durations
        assert durations is not None
        assert (durations.counts, durations.total) == ((1, 0), 0.5)


async def test_after_succeed_a_call_is_on_its_own() -> None:
    async with opened("plain") as breaker:
        with pytest.raises(DependencyDown):
            async with breaker.guard() as outer:
                outer.succeed()
                await expect_failure(breaker, "guard", down)
                assert (await breaker.snapshot()).counts["failure"] == 1
                await down()
        # One failure more, for what was settled as a success.
        snapshot = await breaker.snapshot()
        assert (snapshot.counts["failure"], snapshot.counts["success"]) == (2, 1)


async def test_a_failure_after_succeed_is_the_outer_calls_where_there_is_one() -> None:
    async with opened("plain") as breaker:

        async def succeeds_early() -> None:
            async with breaker.guard() as guard:
                guard.succeed()
                await down()

        await expect_failure(breaker, "execute", succeeds_early)
        snapshot = await breaker.snapshot()
        assert (snapshot.counts["failure"], snapshot.failure_count, snapshot.in_flight) == (1, 1, 0)


@pytest.mark.parametrize(("policy", "outer", "inner"), CASES)
async def test_a_cancelled_nested_call_counts_as_cancelled(policy: str, outer: str, inner: str) -> None:
    async with opened(policy) as breaker:
        with trio.move_on_after(0):
            await call(breaker, outer, lambda: call(breaker, inner, trio.sleep_forever))
        snapshot = await breaker.snapshot()
        assert (snapshot.in_flight, snapshot.counts["failure"], snapshot.counts["success"]) == (0, 0, 0)
        assert snapshot.counts["cancelled"] in (1, 2)
        assert await call(breaker, outer, fine) == "fine"


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
async def test_a_nested_call_inside_of_a_call_that_opening_cancels_is_cancelled_with_it(
    outer: str, inner: str
) -> None:
    async with opened("cancelling") as breaker, trio.open_nursery() as nursery:

        async def cancelled() -> None:
            await expect_failure(
                breaker, outer, lambda: call(breaker, inner, trio.sleep_forever), CircuitOpenError
            )

        nursery.start_soon(cancelled)
        await wait_all_tasks_blocked()
        await breaker.trip()
    assert breaker.gate.rejected == 0


# Threads, generators, guards that travel.


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
async def test_a_call_from_a_thread_that_a_call_waits_for_is_inside_of_it(outer: str, inner: str) -> None:
    async with opened("plain") as breaker:

        def in_thread() -> None:
            trio.from_thread.run(call, breaker, inner, down)

        await expect_failure(breaker, outer, lambda: trio.to_thread.run_sync(in_thread), DependencyDown)
        assert await failures(breaker) == 1


async def test_a_call_inside_of_an_async_generator_is_found() -> None:
    async with opened("plain") as breaker:

        async def rows() -> AsyncIterator[int]:
            yield 1
            await breaker.execute(down)

        async def reads() -> None:
            async for _ in rows():
                pass

        await expect_failure(breaker, "execute", reads)
        assert await failures(breaker) == 1


@pytest.mark.parametrize("policy", ["plain", "result"])
@pytest.mark.parametrize("inner", STYLES)
async def test_what_runs_between_the_steps_of_a_guarded_generator_is_on_its_own(
    policy: str, inner: str
) -> None:
    async with opened(policy) as breaker:

        async def rows() -> AsyncIterator[int]:
            async with breaker.guard():
                yield 1
                with pytest.raises(DependencyDown):
                    await call(breaker, inner, down)
                yield 2

        async for number in rows():
            await expect_failure(breaker, inner, down)
            assert (await breaker.snapshot()).counts["failure"] == number
        assert (await breaker.snapshot()).counts["success"] == 1
        kept = rows()
        await anext(kept)
        for _ in range(5):
            with pytest.raises((DependencyDown, CircuitOpenError)):
                await call(breaker, inner, down)
        assert breaker.state is State.OPEN
        await kept.aclose()  # type: ignore[attr-defined]
        assert await failures(breaker) == 7


@pytest.mark.parametrize("policy", ["plain", "result"])
@pytest.mark.parametrize("inner", STYLES)
async def test_the_block_of_a_context_manager_with_a_guard_is_inside_of_it(policy: str, inner: str) -> None:
    async with opened(policy) as breaker:

        @asynccontextmanager
        async def session() -> AsyncIterator[None]:
            async with breaker.guard():
                yield

        with pytest.raises(DependencyDown):
            async with session():
                await call(breaker, inner, down)
        assert await failures(breaker) == 1


async def test_guards_that_end_elsewhere_or_out_of_order_do_not_pile_up() -> None:
    async with opened("plain") as breaker:
        handed: list[Guard] = []
        for _ in range(100):
            first, second = breaker.guard(), breaker.guard()
            await first.__aenter__()
            await second.__aenter__()
            await first.__aexit__(None, None, None)
            await second.__aexit__(None, None, None)
            async with AsyncExitStack() as stack:
                handed.append(await stack.enter_async_context(breaker.guard()))
                ending = stack.pop_all()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ending.aclose)
        depth, held = 0, HELD.get()
        while held is not None:
            depth, held = depth + 1, held.outer
        assert depth <= 1
        assert (await breaker.snapshot()).in_flight == 0


async def test_a_marked_failure_can_be_pickled_and_copied() -> None:
    async with opened("plain") as breaker:
        seen: list[BaseException] = []

        async def keeps() -> None:
            try:
                await in_child(lambda: breaker.execute(down))()
            except ExceptionGroup as group:
                seen.append(group.exceptions[0])
                raise

        await expect_failure(breaker, "execute", keeps)
        (error,) = seen
        for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            assert repr(other) == repr(error)

            async def raises_it(other: BaseException = other) -> None:
                raise other

            await expect_failure(breaker, "execute", raises_it)
        assert await failures(breaker) == 4


# Through httpx.


@pytest.mark.parametrize("outer", STYLES)
async def test_a_request_inside_of_a_call_through_its_hosts_breaker_counts_once(outer: str) -> None:
    httpx = pytest.importorskip("httpx")
    from actors.adapters.httpx import BreakerTransport

    async with open_panel() as panel:
        transport = BreakerTransport(httpx.MockTransport(lambda _request: httpx.Response(500)), panel)
        async with httpx.AsyncClient(transport=transport) as client:
            breaker = transport.breaker(httpx.URL("http://h.example/"))

            async def get() -> None:
                (await client.get("http://h.example/")).raise_for_status()

            await expect_failure(breaker, outer, get, httpx.HTTPStatusError)
            assert await failures(breaker) == 1


@pytest.mark.parametrize("inner", STYLES)
async def test_calls_of_a_transport_are_inside_of_the_request_and_those_of_the_bodys_reader_are_not(
    inner: str,
) -> None:
    httpx = pytest.importorskip("httpx")
    from actors.adapters.httpx import BreakerTransport

    async with open_panel() as panel:
        breaker: CircuitBreaker

        async def breaks() -> None:
            raise httpx.ReadError("down")

        async def answer(_request: object) -> Any:
            await expect_failure(breaker, inner, breaks, httpx.ReadError)
            return httpx.Response(200, stream=Body())

        class Body(httpx.AsyncByteStream):  # type: ignore[misc, name-defined]
            async def __aiter__(self) -> AsyncIterator[bytes]:
                yield b"one"
                yield b"two"

        transport = BreakerTransport(httpx.MockTransport(answer), panel)
        async with httpx.AsyncClient(transport=transport) as client:
            breaker = transport.breaker(httpx.URL("http://h.example/"))
            async with client.stream("GET", "http://h.example/") as response:
                assert (await breaker.snapshot()).counts["failure"] == 0
                async for _ in response.aiter_bytes():
                    await expect_failure(breaker, inner, breaks, httpx.ReadError)
            assert await failures(breaker) == 2
            assert (await breaker.snapshot()).counts["success"] == 1


# Any program.


@dataclass(frozen=True)
class Nested:
    """A call, and what its function does: it fails, sleeps, commands the breaker, or calls in turn."""

    style: str
    steps: tuple[str | Nested, ...]
    in_child: bool = False
    swallowed: bool = False
    wrapped: bool = False


def programs(
    *, commands: bool = False, children: bool = False, swallows: bool = False
) -> st.SearchStrategy[list[Nested]]:
    """What a few calls, one after the other, do."""
    acts = st.sampled_from(["fail", "sleep", "sleep", *(("trip", "reset", "force_open") if commands else ())])
    step: st.SearchStrategy[str | Nested] = acts
    for _ in range(3):
        step = acts | st.builds(
            Nested,
            st.sampled_from(STYLES),
            st.lists(step, max_size=3).map(tuple),
            in_child=st.booleans() if children else st.just(False),
            swallowed=st.booleans() if swallows else st.just(False),
            wrapped=st.booleans(),
        )
    outermost = st.builds(Nested, st.sampled_from(STYLES), st.lists(step, max_size=3).map(tuple))
    return st.lists(outermost, min_size=1, max_size=6)


Reading = tuple[list[str], list[Snapshot]]


def run(program: list[Nested], policy: dict[str, Any], *, beside: bool, directly: bool) -> Reading:
    """What callers see, and a snapshot after each call. directly: inner calls leave the breaker out.

    beside: whether another task's call runs all the time.
    """
    return trio.run(_run, program, policy, beside, directly, clock=MockClock(autojump_threshold=0))


async def _run(program: list[Nested], policy: dict[str, Any], beside: bool, directly: bool) -> Reading:
    seen: list[str] = []
    snapshots = []
    async with open_panel() as panel, trio.open_nursery() as nursery:
        breaker = panel.breaker(CircuitBreakerConfig(name="it", reset_timeout=2.0, **policy))
        if beside:
            nursery.start_soon(breaker.execute, trio.sleep_forever)
            await trio.sleep(0.001)
        for nested in program:
            await trio.sleep(1)
            try:
                await call(breaker, nested.style, partial(_body, breaker, nested, directly))
                seen.append("fine")
            except Exception as error:  # noqa: BLE001 - whatever it is, it is compared
                seen.append(type(error).__name__)
            snapshots.append(await breaker.snapshot())
            if snapshots[-1].state is State.FORCED_OPEN:
                await breaker.reset()
        nursery.cancel_scope.cancel()
    return seen, snapshots


async def _body(breaker: CircuitBreaker, nested: Nested, directly: bool) -> None:
    for step in nested.steps:
        match step:
            case "fail":
                raise DependencyDown("down")
            case "sleep":
                await trio.sleep(0.25)
            case str():
                await getattr(breaker, step)()
            case Nested():
                await _step(breaker, step, directly)


async def _step(breaker: CircuitBreaker, nested: Nested, directly: bool) -> None:
    function: Call = partial(_body, breaker, nested, directly)
    if not directly:
        function = partial(call, breaker, nested.style, function)
    if nested.in_child:
        function = in_child(function)
    try:
        await function()
    except Exception as error:
        if not nested.swallowed:
            if nested.wrapped:
                raise Wrapped from error
            raise


HOLDING: dict[str, Any] = {"failure_result": lambda value: value == "bad", "max_failures": 2}
COUNTING: dict[str, Any] = {"trip": FailureCount(2, LastSeconds(10.0))}


@examples(0.2)
@given(programs(commands=True, children=True, swallows=True), st.booleans())
def test_calls_within_calls_that_hold_something_change_nothing(program: list[Nested], beside: bool) -> None:
    """Where each call style has its guard, whoever looks sees what he would see without the inner calls."""
    nested, direct = (run(program, HOLDING, beside=beside, directly=way) for way in (False, True))
    assert _comparable(nested) == _comparable(direct)


@examples(0.2)
@given(programs(commands=True, swallows=True) | programs(children=True), st.booleans())
def test_calls_within_the_fastest_calls_change_no_state_and_count_no_failure(
    program: list[Nested], beside: bool
) -> None:
    """Their successes are counted one by one, and so are failures in child tasks that are swallowed."""
    nested, direct = (run(program, COUNTING, beside=beside, directly=way) for way in (False, True))
    assert nested[0] == direct[0]
    for mine, other in zip(nested[1], direct[1], strict=True):
        assert (mine.state, mine.failure_count, mine.counts["failure"], mine.in_flight) == (
            other.state, other.failure_count, other.counts["failure"], other.in_flight,
        )  # fmt: skip


def _comparable(reading: Reading) -> tuple[list[str], list[tuple[Any, ...]]]:
    seen, snapshots = reading
    return seen, [
        (one.state, one.failure_count, one.counts, one.in_flight, one.late, one.generation, one.transitions)
        for one in snapshots
    ]


# Guards that overlap rather than nest.


async def test_a_joined_guard_that_outlives_its_outer_call_loses_no_failure() -> None:
    async with opened("plain") as breaker:
        outer, joined = breaker.guard(), breaker.guard()
        await outer.__aenter__()
        await joined.__aenter__()
        await outer.__aexit__(None, None, None)
        await joined.__aexit__(OSError, OSError("later"), None)
        snapshot = await breaker.snapshot()
    assert (snapshot.counts["success"], snapshot.counts["failure"]) == (1, 1)
    assert (snapshot.failure_count, snapshot.in_flight) == (1, 0)


async def test_a_guard_does_not_join_one_after_its_outer_call_has_ended() -> None:
    async with opened("plain") as breaker:
        outer, joined, later = breaker.guard(), breaker.guard(), breaker.guard()
        await outer.__aenter__()
        await joined.__aenter__()
        await outer.__aexit__(None, None, None)
        await later.__aenter__()
        assert (await breaker.snapshot()).in_flight == 1
        await later.__aexit__(OSError, OSError("its own"), None)
        await joined.__aexit__(None, None, None)
        snapshot = await breaker.snapshot()
    assert (snapshot.counts["success"], snapshot.counts["failure"], snapshot.in_flight) == (1, 1, 0)


async def test_a_failure_reported_by_a_nested_guard_outlives_an_ignored_exception() -> None:
    async with opened("plain", ignore=KeyError) as breaker:
        with pytest.raises(KeyError):
            async with breaker.guard():
                async with breaker.guard() as inner:
                    inner.fail("told")
                    raise KeyError
        snapshot = await breaker.snapshot()
    assert (snapshot.failure_count, snapshot.last_failure) == (1, "told")
