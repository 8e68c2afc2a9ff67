"""Results and verdicts of nested calls are reported to the outer call."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from trio.testing import MockClock

from actors import Guard
from actors.testing import advance
from tests.actors.call.nesting.calls import (
    PAIRS,
    Call,
    call,
    down,
    expect_failure,
    failures,
    fine,
    opened,
)


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
async def test_the_last_nested_result_decides_whether_the_outer_call_is_a_failure(
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
        assert durations.counts == (1, 0)
        assert durations.total == 0.5


async def test_a_failure_after_a_nested_succeed_is_the_outer_calls_failure() -> None:
    async with opened("plain") as breaker:

        async def succeeds_early() -> None:
            async with breaker.guard() as guard:
                guard.succeed()
                await down()

        await expect_failure(breaker, "execute", succeeds_early)
        snapshot = await breaker.snapshot()
        assert snapshot.counts["failure"] == 1
        assert snapshot.failure_count == 1
        assert snapshot.in_flight == 0


async def test_a_failure_reported_by_a_nested_guard_counts_despite_an_ignored_exception() -> None:
    async with opened("plain", ignore=KeyError) as breaker:
        with pytest.raises(KeyError):
            async with breaker.guard():
                async with breaker.guard() as inner:
                    inner.fail("told")
                    raise KeyError
        snapshot = await breaker.snapshot()
    assert snapshot.failure_count == 1
    assert snapshot.last_failure == "told"
