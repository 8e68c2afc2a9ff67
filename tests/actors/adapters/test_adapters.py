"""What others see of a breaker: the log, health, metrics; and results that are failures."""

from __future__ import annotations

import json
import pickle
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict

import pytest
import structlog
import trio
from prometheus_client.parser import text_string_to_metric_families
from structlog.contextvars import bound_contextvars, get_contextvars
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import CircuitBreaker, CircuitBreakerConfig, Panel, State, Transition, open_panel
from actors.adapters.health import breaker_health
from actors.adapters.logs import log_transitions
from actors.adapters.metrics import exposition
from actors.testing import DependencyDown, ScriptedDependency, advance


async def break_it(panel: Panel) -> CircuitBreaker:
    breaker = panel.breaker(CircuitBreakerConfig(name="it", max_failures=2))
    dependency = ScriptedDependency()
    dependency.breaks()
    for _ in range(2):
        with pytest.raises(DependencyDown):
            await breaker.execute(dependency)
    return breaker


async def test_each_transition_is_one_line_in_its_exact_form(mock_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with open_panel() as panel, trio.open_nursery() as nursery:
            await nursery.start(log_transitions, panel)
            breaker = await break_it(panel)
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
    assert (logs[0]["breaker"], logs[0]["log_level"], logs[0]["retry_after"]) == ("it", "warning", 60)


async def test_a_transition_is_logged_with_the_context_values_of_its_cause(
    mock_clock: MockClock,
) -> None:
    """By the call that opened it, the probe that closed it, an operator; by nobody, where time alone did."""
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


async def test_a_transition_that_cannot_be_logged_does_no_harm() -> None:
    """It is left out, and the breaker goes on."""

    def fails() -> dict[str, object]:
        raise LookupError

    async with open_panel(transition_context=fails) as panel, panel.events() as events:
        breaker = panel.breaker(CircuitBreakerConfig(name="it"))
        await breaker.trip()
        event = await anext(events)
        assert isinstance(event, Transition)
        assert (event.new, event.context) == (State.OPEN, {})
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
    assert (logs[0]["event"], logs[0]["count"]) == ("transitions were not logged", 3)
    assert len(logs) == 1001


async def test_a_transition_is_data_all_the_same(panel: Panel) -> None:
    """It can be copied, compared and sent."""
    async with panel.events() as events:
        await panel.breaker(CircuitBreakerConfig(name="it")).trip()
        event = await anext(events)
    assert isinstance(event, Transition)
    assert event.context == {}
    assert json.loads(json.dumps(asdict(event)))["new"] == State.OPEN
    assert deepcopy(event) == pickle.loads(pickle.dumps(event)) == event


@pytest.mark.parametrize(
    ("state", "plain", "status"),
    [
        (State.CLOSED, "CLOSED", "healthy"),
        (State.OPEN, "OPEN", "unhealthy"),
        (State.FORCED_OPEN, "OPEN", "unhealthy"),
        (State.DISABLED, "CLOSED", "healthy"),
        (State.OBSERVING, "CLOSED", "healthy"),
    ],
)
async def test_health_speaks_of_three_states(state: State, plain: str, status: str) -> None:
    async with open_panel() as panel:
        breaker = panel.breaker(CircuitBreakerConfig(name="it"))
        match state:
            case State.OPEN:
                await breaker.trip()
            case State.FORCED_OPEN:
                await breaker.force_open()
            case State.DISABLED:
                await breaker.disable()
            case State.OBSERVING:
                await breaker.observe()
        health = breaker_health(await breaker.snapshot())
    assert (health["status"], health["circuit_breaker"]["state"]) == (status, plain)
    assert health["circuit_breaker"]["mode"] == state.name


async def test_a_result_may_be_a_failure_where_exceptions_may_be_answers() -> None:
    async with open_panel() as panel:
        breaker = panel.breaker(
            CircuitBreakerConfig(name="it", failure_result=lambda value: value is None, answers=KeyError)
        )
        dependency = ScriptedDependency()
        dependency.then(None, KeyError("not there"), ValueError("broken"))
        assert await breaker.execute(dependency) is None
        with pytest.raises(KeyError):
            await breaker.execute(dependency)
        with pytest.raises(ValueError, match="broken"):
            await breaker.execute(dependency)
        counts = (await breaker.snapshot()).counts
    assert (counts["failure"], counts["success"]) == (2, 1)


async def samples(panel: Panel) -> dict[tuple[str, ...], float]:
    text = exposition((await panel.snapshots()).values()).decode()
    return {
        (
            sample.name,
            *(value for key, value in sorted(sample.labels.items()) if key != "service"),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("service") == "it"
    }


async def test_all_children_exist_from_the_start() -> None:
    async with open_panel(durations=(1,)) as panel:
        panel.breaker(CircuitBreakerConfig(name="it"))
        found = await samples(panel)
    for name in ("state", "failures_total", "outage_start_time_seconds", "recovery_seconds_count"):
        assert found[f"circuit_breaker_{name}",] == 0
    assert found["circuit_breaker_call_duration_seconds_bucket", "+Inf"] == 0
    assert found["circuit_breaker_last_state_change",] > 1.7e9
    outcomes = ("success", "failure", "ignored", "cancelled", "rejected")
    assert [found["circuit_breaker_calls_total", outcome] for outcome in outcomes] == [0] * 5
    reasons = ("open", "probing", "ramp", "bulkhead", "forced")
    assert [found["circuit_breaker_rejections_total", reason] for reason in reasons] == [0] * 5
    assert found["circuit_breaker_transitions_total", "closed", "open"] == 0


async def test_metrics_tell_the_outage(mock_clock: MockClock) -> None:
    async with open_panel(durations=(1,)) as panel:
        breaker = await break_it(panel)
        found = await samples(panel)
        assert (found["circuit_breaker_state",], found["circuit_breaker_failures_total",]) == (2, 2)
        began = found["circuit_breaker_outage_start_time_seconds",]
        assert began == found["circuit_breaker_last_state_change",] > 0
        await advance(mock_clock, 60)
        found = await samples(panel)
        assert (
            found["circuit_breaker_state",],
            found["circuit_breaker_transitions_total", "open", "half_open"],
        ) == (1, 1)
        assert found["circuit_breaker_outage_start_time_seconds",] == began
        await breaker.execute(ScriptedDependency())
        found = await samples(panel)
        assert (found["circuit_breaker_state",], found["circuit_breaker_outage_start_time_seconds",]) == (
            0,
            0,
        )
        assert found["circuit_breaker_recovery_seconds_sum",] == 60
        assert found["circuit_breaker_recovery_seconds_bucket", "60.0"] == 1
        assert found["circuit_breaker_recovery_seconds_bucket", "30.0"] == 0
