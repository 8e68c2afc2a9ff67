"""Functions of the user's that raise, and the context in which they are called: in every call style."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors import (
    CallTimeout,
    CircuitBreaker,
    CircuitBreakerConfig,
    FailureRate,
    LastCalls,
    Panel,
    SlowCallRate,
    State,
    Transition,
    open_panel,
)
from actors.testing import advance
from tests.actors.styles import Style, in_every_style

REQUEST: ContextVar[str] = ContextVar("request", default="nobody")


def policy(**fields: Any) -> CircuitBreakerConfig:
    """One that opens at a failure only where it is told to."""
    never = {} if "trip" in fields else {"max_failures": 100}
    return CircuitBreakerConfig(name="it", **{**never, **fields})


async def answers() -> str:
    await trio.lowlevel.checkpoint()
    return "ok"


async def fails() -> str:
    raise OSError("the call's own")


async def is_ignored() -> str:
    raise LookupError("the call's own")


async def is_cancelled() -> str:
    with trio.CancelScope() as scope:
        scope.cancel()
        await trio.sleep_forever()
    return "ok"


async def times_out() -> str:
    await trio.sleep(10)
    return "too late"


ENDS: dict[Callable[[], Awaitable[str]], tuple[str, object]] = {
    answers: ("success", "ok"),
    fails: ("failure", OSError),
    is_ignored: ("ignored", LookupError),
    times_out: ("failure", CallTimeout),
}
"""What calls do, how that is counted where there is a `call_timeout`, and what comes out."""


async def end_of(call: Style, breaker: CircuitBreaker, fn: Callable[[], Awaitable[str]]) -> object:
    """What a call returns, or the type of what it raises."""
    try:
        return await call(breaker, fn)
    except (OSError, LookupError) as error:
        assert error.__cause__ is None
        assert error.__context__ is None or isinstance(error, CallTimeout), "nothing of a callback's is on it"
        return type(error)


def raises() -> Any:
    raise ZeroDivisionError("the callback's own")


def raises_anew(kinds: list[type[Exception]]) -> Callable[[], Any]:
    def callback() -> Any:
        raise kinds.pop(0)

    return callback


def reported(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert {(record.levelno, record.name) for record in caplog.records} <= {(logging.ERROR, "trio_breakers")}
    assert all(record.exc_info and record.exc_info[1] is not None for record in caplog.records)
    return [record.getMessage() for record in caplog.records]


# exemplar


@in_every_style
@pytest.mark.parametrize("fn", ENDS, ids=lambda fn: fn.__name__)
@pytest.mark.parametrize(
    "fields",
    [{}, {"call_timeout": 5}, {"trip": FailureRate(1, LastCalls(99), 99)}, {"max_concurrent": 9}],
    ids=["plain", "call_timeout", "rate", "bulkhead"],
)
async def test_an_exemplar_that_raises_loses_no_call(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, call: Style, fn: Any, fields: dict[str, Any]
) -> None:
    outcome, end = ENDS[fn]
    if fn is times_out and "call_timeout" not in fields:
        outcome, end = "success", "too late"
    async with open_panel(durations=(1,), exemplar=raises) as panel:
        breaker = panel.breaker(policy(ignore=LookupError, **fields))
        for _ in range(3):
            assert await end_of(call, breaker, fn) == end
        snapshot = await breaker.snapshot()
        assert {kind: count for kind, count in snapshot.counts.items() if count} == {outcome: 3}
        assert (snapshot.in_flight, snapshot.restarts, snapshot.state) == (0, 0, State.CLOSED)
        assert snapshot.durations is not None
        assert (sum(snapshot.durations.counts), snapshot.durations.exemplars) == (3, {})
    assert reported(caplog) == ["exemplar raised; the call is counted without one"]


async def test_an_exemplar_that_raises_is_logged_once_a_kind_for_all_breakers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kinds = [KeyError, OSError, KeyError, KeyError, OSError, ValueError]
    async with open_panel(durations=(1,), exemplar=raises_anew(kinds)) as panel:
        for name in ("a", "b"):
            for _ in range(3):
                await panel.breaker(CircuitBreakerConfig(name=name)).execute(answers)
    assert kinds == []
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [
        KeyError, OSError, ValueError,
    ]  # fmt: skip


async def test_an_exemplar_that_raises_harms_no_early_success_and_no_probe_of_the_breakers_own(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_panel(durations=(1,), exemplar=raises) as panel:
        breaker = panel.breaker(policy(probe=answers))
        async with breaker.guard() as call:
            call.succeed()
        await breaker.trip()
        await trio.sleep(61)
        snapshot = await breaker.snapshot()
    assert (snapshot.state, snapshot.counts["success"], snapshot.in_flight) == (State.CLOSED, 2, 0)
    assert len(reported(caplog)) == 1


@in_every_style
@pytest.mark.parametrize("fn", ENDS, ids=lambda fn: fn.__name__)
async def test_an_exemplar_is_called_in_the_callers_context(
    autojump_clock: MockClock, call: Style, fn: Any
) -> None:
    """Also where the breaker ends the call; what is bound inside of the call is seen, as it is its own."""
    async with open_panel(durations=(1,), exemplar=lambda: {"request": REQUEST.get()}) as panel:
        breaker = panel.breaker(policy(ignore=LookupError, call_timeout=5))

        async def one(request: str) -> None:
            REQUEST.set(request)
            await end_of(call, breaker, fn)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, "first")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, "second")
        durations = (await breaker.snapshot()).durations
    assert durations is not None
    assert [exemplar.labels for exemplar in durations.exemplars.values()] == [{"request": "second"}]


async def test_an_exemplar_of_a_timed_out_call_changes_no_callers_context(
    panel: Panel, autojump_clock: MockClock
) -> None:
    def sets() -> dict[str, str]:
        REQUEST.set("the callback's")
        return {"request": "it"}

    async with open_panel(durations=(1,), exemplar=sets) as panel:
        with suppress(CallTimeout):
            await panel.breaker(policy(call_timeout=5)).execute(times_out)
        assert REQUEST.get() == "nobody"


# bound


@in_every_style
@pytest.mark.parametrize("fn", [fails, times_out], ids=lambda fn: fn.__name__)
async def test_bound_that_raises_loses_no_transition(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, call: Style, fn: Any
) -> None:
    async with open_panel(transition_context=raises) as panel, panel.events() as events:
        breaker = panel.breaker(policy(max_failures=1, call_timeout=5))
        for _ in range(2):
            assert await end_of(call, breaker, fn) == ENDS[fn][1]
            event = await anext(events)
            assert isinstance(event, Transition)
            assert (event.new, event.context) == (State.OPEN, {})
            await breaker.reset()
            await anext(events)
        snapshot = await breaker.snapshot()
    assert (snapshot.counts["failure"], snapshot.in_flight, snapshot.restarts) == (2, 0, 0)
    assert reported(caplog) == ["transition_context raised; the transition is reported without it"]


async def test_exemplar_and_bound_are_logged_apart(caplog: pytest.LogCaptureFixture) -> None:
    async with open_panel(durations=(1,), exemplar=raises, transition_context=raises) as panel:
        breaker = panel.breaker(policy())
        for _ in range(2):
            await breaker.execute(answers)
            await breaker.trip()
            await breaker.reset()
    assert len(reported(caplog)) == 2


@in_every_style
@pytest.mark.parametrize(
    "fields",
    [{}, {"call_timeout": 5}, {"trip": FailureRate(0.6, LastCalls(9), 1)}],
    ids=["plain", "call_timeout", "rate"],
)
async def test_a_transition_has_the_context_of_the_call_that_brought_it_about(
    autojump_clock: MockClock, call: Style, fields: dict[str, Any]
) -> None:
    async with (
        open_panel(transition_context=lambda: {"request": REQUEST.get()}) as panel,
        panel.events() as events,
    ):
        breaker = panel.breaker(policy(**({} if "trip" in fields else {"max_failures": 2}), **fields))

        async def one(request: str, fn: Any) -> None:
            REQUEST.set(request)
            await end_of(call, breaker, fn)

        async def in_a_request(request: str, fn: Any) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one, request, fn)

        await in_a_request("bystander", answers)
        await in_a_request("first", fails)
        await in_a_request("second", times_out if "call_timeout" in fields else fails)
        await trio.sleep(60)
        await in_a_request("probe", answers)
        told = [await anext(events) for _ in range(3)]
    assert [(event.new, event.context) for event in told if isinstance(event, Transition)] == [
        (State.OPEN, {"request": "second"}),
        (State.HALF_OPEN, {}),
        (State.CLOSED, {"request": "probe"}),
    ]


async def test_a_call_that_becomes_slow_while_it_runs_opens_in_nobodys_name(
    autojump_clock: MockClock,
) -> None:
    """Time alone did it. The timeouts that come at the same time are their callers'."""
    async with (
        open_panel(transition_context=lambda: {"request": REQUEST.get()}) as panel,
        panel.events() as events,
    ):
        slow = SlowCallRate(0.5, 2, LastCalls(2), 1)
        breaker = panel.breaker(CircuitBreakerConfig(name="it", trip=slow, in_flight_slow=True))
        REQUEST.set("mine")
        await breaker.execute(trio.sleep, 3)
        event = await anext(events)
    assert isinstance(event, Transition)
    assert (event.new, event.context) == (State.OPEN, {})


# The policy's own functions


def predicate(_: object) -> Any:
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
async def test_a_predicate_that_raises_makes_a_failure_and_changes_no_end(
    panel: Panel,
    mock_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    call: Style,
    state: State,
    field: str,
    fn: Any,
    then: str,
) -> None:
    breaker = panel.breaker(policy(**{field: predicate}))
    for turn in range(1, 4):
        if state is State.HALF_OPEN:
            await breaker.trip()
            await advance(mock_clock, 60)
        assert await end_of(call, breaker, fn) == ENDS[fn][1]
        snapshot = await breaker.snapshot()
        assert {kind: count for kind, count in snapshot.counts.items() if count} == {"failure": turn}
        assert (snapshot.in_flight, snapshot.restarts) == (0, 0)
        assert snapshot.state is (State.OPEN if state is State.HALF_OPEN else State.CLOSED)
    assert reported(caplog) == [f"circuit breaker 'it': {field} raised ZeroDivisionError; {then}"]


async def test_each_field_and_each_kind_of_error_is_logged_once(
    panel: Panel, caplog: pytest.LogCaptureFixture
) -> None:
    kinds: list[type[Exception]] = [KeyError, OSError, KeyError, OSError]

    def ignore(_: object) -> bool:
        raise kinds.pop(0)

    breaker = panel.breaker(policy(ignore=ignore, retry_after=predicate))
    for _ in range(4):
        await end_of(CircuitBreaker.execute, breaker, fails)
    assert [message.partition(";")[0] for message in reported(caplog)] == [
        "circuit breaker 'it': ignore raised KeyError",
        "circuit breaker 'it': retry_after raised ZeroDivisionError",
        "circuit breaker 'it': ignore raised OSError",
    ]


async def test_a_cancelled_call_calls_no_callback_of_the_policy(panel: Panel) -> None:
    breaker = panel.breaker(policy(failure=predicate, ignore=predicate, answers=predicate))
    with trio.move_on_after(0):
        await breaker.execute(trio.sleep_forever)
    assert (await breaker.snapshot()).counts["cancelled"] == 1


@pytest.mark.parametrize("field", ["exemplar", "transition_context"])
def test_an_async_callback_is_refused(field: str) -> None:
    async def callback() -> dict[str, str]:
        return {}

    with pytest.raises(TypeError, match=f"{field} must be a function that isn't async"):
        open_panel(**{field: callback})  # type: ignore[arg-type]


async def test_bound_is_the_former_name_of_transition_context() -> None:
    async with open_panel(bound=lambda: {"request": "r1"}) as panel, panel.events() as events:
        await panel.breaker(CircuitBreakerConfig(name="it")).trip()
        event = await anext(events)
    assert isinstance(event, Transition)
    assert event.bound == event.context == {"request": "r1"}
