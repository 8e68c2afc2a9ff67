"""log_transitions: each transition is one line of the log."""

from __future__ import annotations

import json
import pickle
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict

import structlog
import trio
from structlog.contextvars import bound_contextvars, get_contextvars
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CircuitBreakerConfig, Panel, ShadowPolicy, ShadowTransition, State, Transition, open_panel
from actors.adapters.logs import log_transitions
from actors.testing import DependencyDown, ScriptedDependency, advance
from tests.actors.adapters.outages import opened_breaker


async def test_each_transition_is_one_line_in_its_exact_form(mock_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with open_panel() as panel, trio.open_nursery() as nursery:
            await nursery.start(log_transitions, panel)
            breaker = await opened_breaker(panel)
            await advance(mock_clock, 60)
            await breaker.execute(ScriptedDependency())
            await breaker.force_open()
            await breaker.observe("trying it out")
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert [entry["event"] for entry in logs] == [
        "[CIRCUIT_BREAKER] it circuit breaker OPENED: max failures reached",
        "[CIRCUIT_BREAKER] it circuit breaker HALF_OPEN: attempting recovery",
        "[CIRCUIT_BREAKER] it circuit breaker CLOSED: recovery successful",
        "[CIRCUIT_BREAKER] it circuit breaker OPENED: forced by operator",
        "[CIRCUIT_BREAKER] it circuit breaker OBSERVING: trying it out",
    ]
    assert logs[0]["breaker"] == "it"
    assert logs[0]["log_level"] == "warning"
    assert logs[0]["retry_after"] == 60


async def test_a_transition_is_logged_with_the_context_values_of_its_cause(
    mock_clock: MockClock,
) -> None:
    """The cause is a call, a probe or an operator. A timer-driven transition has no context values."""
    dependency = ScriptedDependency()

    async def call(request: str) -> None:
        structlog.contextvars.bind_contextvars(request_id=request)
        with suppress(DependencyDown):
            await breaker.execute(dependency)

    async def each(*requests: str) -> None:
        for request in requests:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, request)

    with capture_logs() as logs:
        async with open_panel(transition_context=get_contextvars) as panel, trio.open_nursery() as nursery:
            breaker = panel.breaker(CircuitBreakerConfig(name="it", max_failures=2))
            await nursery.start(log_transitions, panel)
            dependency.breaks()
            await each("first", "second")
            dependency.mends()
            mock_clock.jump(60)
            with bound_contextvars(request_id="looks"):
                assert (await breaker.snapshot()).state is State.HALF_OPEN
            await each("probe", "later")
            with bound_contextvars(request_id="operator"):
                await breaker.trip()
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    told = [(entry["new"], entry.get("request_id")) for entry in logs]
    assert told == [("OPEN", "second"), ("HALF_OPEN", None), ("CLOSED", "probe"), ("OPEN", "operator")]


async def test_a_transition_that_cannot_be_logged_harms_no_breaker() -> None:
    """It is left out, and the breaker goes on."""

    def fails() -> dict[str, object]:
        raise LookupError

    async with open_panel(transition_context=fails) as panel, panel.events() as events:
        breaker = panel.breaker(CircuitBreakerConfig(name="it"))
        await breaker.trip()
        event = await anext(events)
        assert isinstance(event, Transition)
        assert event.new is State.OPEN
        assert event.context == {}
        assert (await breaker.snapshot()).restarts == 0


async def test_a_log_that_cannot_keep_up_reports_the_number_of_lost_lines(panel: Panel) -> None:
    """A line with the count in place of the lines that are missing."""
    event = Transition("it", State.CLOSED, State.OPEN, "flapping", 2, 0)
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(log_transitions, panel)
            for _ in range(1003):
                panel.broadcaster.emit(event)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert logs[0]["event"] == "transitions were not logged"
    assert logs[0]["count"] == 3
    assert len(logs) == 1001


async def test_a_transition_can_be_copied_and_pickled(panel: Panel) -> None:
    """It can be copied, compared and sent."""
    async with panel.events() as events:
        await panel.breaker(CircuitBreakerConfig(name="it")).trip()
        event = await anext(events)
    assert isinstance(event, Transition)
    assert event.context == {}
    assert json.loads(json.dumps(asdict(event)))["new"] == State.OPEN
    assert deepcopy(event) == pickle.loads(pickle.dumps(event)) == event


async def test_the_transitions_of_a_shadow_are_logged_in_other_words(mock_clock: MockClock) -> None:
    """An alert on the fixed form, or on its fields, doesn't match them."""
    with capture_logs() as logs:
        async with open_panel() as panel, trio.open_nursery() as nursery:
            await nursery.start(log_transitions, panel)
            config = CircuitBreakerConfig(name="it", shadow=ShadowPolicy(max_failures=2, reset_timeout=9))
            breaker, dependency = panel.breaker(config), ScriptedDependency()
            dependency.then(DependencyDown(), DependencyDown())
            for _ in range(2):
                with suppress(DependencyDown):
                    await breaker.execute(dependency)
            await advance(mock_clock, 9)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert logs == [
        {
            "event": f"the shadow policy of it would go from {old} to {new}: {reason}",
            "log_level": "info",
            "shadow_of": "it",
            "shadow_from": old,
            "shadow_to": new.replace("-", "_"),
        }
        for old, new, reason in (
            ("closed", "open", "max failures reached"),
            ("open", "half-open", "attempting recovery"),
        )
    ]
    assert not any("[CIRCUIT_BREAKER]" in entry["event"] or "OPEN" in entry["event"] for entry in logs)


async def test_a_log_that_cannot_keep_up_with_shadows_reports_the_number_of_lost_lines(panel: Panel) -> None:
    event = ShadowTransition("it", State.CLOSED, State.OPEN, "flapping", 0)
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(log_transitions, panel)
            for _ in range(1003):
                panel.shadow_broadcaster.emit(event)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert (logs[0]["event"], logs[0]["count"]) == ("transitions of shadow policies were not logged", 3)
    assert len(logs) == 1001
