"""Exceptions that a policy calls answers: successes that are raised."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors import FailureRate, LastCalls, Panel, SlowCallRate, State
from actors.testing import ScriptedDependency, advance
from tests.actors.call.breakers import new_breaker, outcome_counts
from tests.actors.call.outcomes.classifying import NotFound, UserNotFound
from tests.actors.styles import Style, in_every_style

POLICIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "call_timeout": {"call_timeout": 5},
    "bulkhead": {"max_concurrent": 3},
    "rate": {"trip": FailureRate(1, LastCalls(99), 99)},
    "result": {"failure_result": lambda result: False},
}


@in_every_style
@pytest.mark.parametrize("fields", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize(
    "answers",
    [NotFound, (KeyError, NotFound), lambda error: isinstance(error, NotFound)],
    ids=["type", "types", "predicate"],
)
async def test_an_answer_counts_as_a_success_and_is_raised(
    panel: Panel, call: Style, fields: dict[str, Any], answers: Any
) -> None:
    breaker = new_breaker(panel, answers=answers, **fields)
    error = UserNotFound("no")
    dependency = ScriptedDependency()
    dependency.then(error, KeyboardInterrupt())
    with pytest.raises(UserNotFound) as raised:
        await call(breaker, dependency)
    assert raised.value is error
    assert error.__cause__ is None
    assert error.__context__ is None
    assert await outcome_counts(breaker) == {"success": 1}


@in_every_style
async def test_an_answer_ends_consecutive_failures(panel: Panel, call: Style) -> None:
    breaker = new_breaker(panel, max_failures=2, answers=NotFound)
    dependency = ScriptedDependency()
    dependency.then(OSError(), NotFound(), OSError(), NotFound(), OSError())
    for _ in range(5):
        with suppress(OSError, NotFound):
            await call(breaker, dependency)
    assert breaker.state is State.CLOSED
    assert await outcome_counts(breaker) == {"success": 2, "failure": 3}


@in_every_style
@pytest.mark.parametrize("fields", POLICIES.values(), ids=POLICIES)
async def test_an_answer_closes_a_half_open_breaker(
    panel: Panel, mock_clock: MockClock, call: Style, fields: dict[str, Any]
) -> None:
    breaker = new_breaker(panel, answers=NotFound, **fields)
    await breaker.trip()
    await advance(mock_clock, 60)
    dependency = ScriptedDependency()
    dependency.breaks(NotFound())
    with pytest.raises(NotFound):
        await call(breaker, dependency)
    assert breaker.state is State.CLOSED


@in_every_style
async def test_a_slow_answer_counts_as_a_slow_call(
    panel: Panel, autojump_clock: MockClock, call: Style
) -> None:
    """Its duration counts for every outcome."""
    breaker = new_breaker(panel, trip=SlowCallRate(1, 2, LastCalls(1), 1), answers=NotFound)

    async def answers_slowly() -> None:
        await trio.sleep(3)
        raise NotFound

    with pytest.raises(NotFound):
        await call(breaker, answers_slowly)
    assert breaker.state is State.OPEN
    assert await outcome_counts(breaker) == {"success": 1}


async def test_an_answer_and_an_ignored_exception_get_no_fallback(panel: Panel) -> None:
    breaker = new_breaker(panel, answers=NotFound, ignore=KeyError)
    dependency = ScriptedDependency()
    dependency.then(NotFound(), KeyError(), OSError())
    with pytest.raises(NotFound):
        await breaker.execute_with_fallback(lambda error: "instead", dependency)
    with pytest.raises(KeyError):
        await breaker.execute_with_fallback(lambda error: "instead", dependency)
    assert await breaker.execute_with_fallback(lambda error: "instead", dependency) == "instead"
    assert await outcome_counts(breaker) == {"success": 1, "ignored": 1, "failure": 1}


async def test_a_disabled_breaker_counts_no_answer(panel: Panel) -> None:
    breaker = new_breaker(panel, answers=NotFound)
    await breaker.disable()
    dependency = ScriptedDependency()
    dependency.breaks(NotFound())
    with pytest.raises(NotFound):
        await breaker.execute(dependency)
    assert await outcome_counts(breaker) == {}
