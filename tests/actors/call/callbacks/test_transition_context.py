"""The transition_context callback of a panel: its exceptions, and the caller whose context it has."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from actors import CircuitBreakerConfig, FailureRate, LastCalls, SlowCallRate, State, Transition, open_panel
from tests.actors.call.callbacks.ends import (
    ENDS,
    REQUEST,
    answers,
    end_of,
    fails,
    policy,
    raises,
    reported,
    times_out,
)
from tests.actors.styles import Style, in_every_style


@in_every_style
@pytest.mark.parametrize("fn", [fails, times_out], ids=lambda fn: fn.__name__)
async def test_a_transition_context_that_raises_loses_no_transition(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, call: Style, fn: Any
) -> None:
    async with open_panel(transition_context=raises) as panel, panel.events() as events:
        breaker = panel.breaker(policy(max_failures=1, call_timeout=5))
        for _ in range(2):
            assert await end_of(call, breaker, fn) == ENDS[fn][1]
            event = await anext(events)
            assert isinstance(event, Transition)
            assert event.new is State.OPEN
            assert event.context == {}
            await breaker.reset()
            await anext(events)
        snapshot = await breaker.snapshot()
    assert snapshot.counts["failure"] == 2
    assert snapshot.in_flight == 0
    assert snapshot.restarts == 0
    assert reported(caplog) == ["transition_context raised; the transition is reported without it"]


async def test_exemplar_and_transition_context_are_logged_separately(
    caplog: pytest.LogCaptureFixture,
) -> None:
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
async def test_a_transition_has_the_context_of_the_call_that_caused_it(
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
        transitions = [await anext(events) for _ in range(3)]
    assert [(event.new, event.context) for event in transitions if isinstance(event, Transition)] == [
        (State.OPEN, {"request": "second"}),
        (State.HALF_OPEN, {}),
        (State.CLOSED, {"request": "probe"}),
    ]


async def test_a_transition_by_a_slow_call_in_flight_has_no_context(
    autojump_clock: MockClock,
) -> None:
    """No caller caused it: the time did."""
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
    assert event.new is State.OPEN
    assert event.context == {}


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
