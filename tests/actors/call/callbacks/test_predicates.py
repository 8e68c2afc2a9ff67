"""Predicates of a policy that raise: the call counts as a failure, and the error is logged once."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors import CircuitBreaker, Panel, State
from actors.testing import DependencyDown, advance
from tests.actors.call.breakers import new_breaker, outcome_counts
from tests.actors.call.callbacks.ends import ENDS, answers, end_of, fails, policy, reported
from tests.actors.call.functions import fine
from tests.actors.styles import Style, in_every_style


def raising_predicate(_: object) -> Any:
    raise ZeroDivisionError


@in_every_style
@pytest.mark.parametrize("state", [State.CLOSED, State.HALF_OPEN])
@pytest.mark.parametrize(
    ("field", "fn", "then"),
    [
        ("failure", fails, "the call counts as a failure"),
        ("ignore", fails, "the call counts as a failure"),
        ("answers", fails, "the call counts as a failure"),
        ("failure_result", answers, "the call counts as a failure"),
        ("retry_after", fails, "it is ignored"),
    ],
)
async def test_a_predicate_that_raises_makes_the_call_a_failure_and_keeps_its_result(
    panel: Panel,
    mock_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    call: Style,
    state: State,
    field: str,
    fn: Any,
    then: str,
) -> None:
    breaker = panel.breaker(policy(**{field: raising_predicate}))
    for turn in range(1, 4):
        if state is State.HALF_OPEN:
            await breaker.trip()
            await advance(mock_clock, 60)
        assert await end_of(call, breaker, fn) == ENDS[fn][1]
        snapshot = await breaker.snapshot()
        assert {kind: count for kind, count in snapshot.counts.items() if count} == {"failure": turn}
        assert snapshot.in_flight == 0
        assert snapshot.restarts == 0
        assert snapshot.state is (State.OPEN if state is State.HALF_OPEN else State.CLOSED)
    assert reported(caplog) == [f"circuit breaker 'it': {field} raised ZeroDivisionError; {then}"]


async def test_predicates_that_raise_are_logged_once_per_field_and_type(
    panel: Panel, caplog: pytest.LogCaptureFixture
) -> None:
    kinds: list[type[Exception]] = [KeyError, OSError, KeyError, OSError]

    def ignore(_: object) -> bool:
        raise kinds.pop(0)

    breaker = panel.breaker(policy(ignore=ignore, retry_after=raising_predicate))
    for _ in range(4):
        await end_of(CircuitBreaker.execute, breaker, fails)
    assert [message.partition(";")[0] for message in reported(caplog)] == [
        "circuit breaker 'it': ignore raised KeyError",
        "circuit breaker 'it': retry_after raised ZeroDivisionError",
        "circuit breaker 'it': ignore raised OSError",
    ]


async def test_a_cancelled_call_calls_no_predicate(panel: Panel) -> None:
    breaker = panel.breaker(
        policy(failure=raising_predicate, ignore=raising_predicate, answers=raising_predicate)
    )
    with trio.move_on_after(0):
        await breaker.execute(trio.sleep_forever)
    assert (await breaker.snapshot()).counts["cancelled"] == 1


async def test_a_breaker_opens_and_recovers_with_a_predicate_that_raises(
    panel: Panel, mock_clock: MockClock
) -> None:
    def broken(_error: object) -> bool:
        raise KeyError("bug in the predicate")

    breaker = new_breaker(panel, failure=broken, max_failures=2, reset_timeout=10)

    async def down() -> None:
        raise DependencyDown("down")

    for _ in range(2):
        with pytest.raises(DependencyDown):
            await breaker.execute(down)
    await advance(mock_clock, 10)
    with pytest.raises(DependencyDown):
        await breaker.execute(down)
    assert breaker.state is State.OPEN
    assert await outcome_counts(breaker) == {"failure": 3}
    await advance(mock_clock, 10)
    assert await breaker.execute(fine) == "fine"
    assert breaker.state is State.CLOSED
