"""Spans of calls through a breaker; `tests/world/test_traces.py` has those of the whole stack."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import trio
from opentelemetry import trace
from opentelemetry.trace import StatusCode
from trio.testing import MockClock, wait_all_tasks_blocked

from actors import (
    BulkheadFullError,
    CallTimeout,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    Panel,
    PanelClosedError,
    open_panel,
)
from actors.adapters.tracing import TracedBreaker, traced
from tests.actors.adapters.tracing.spans import (
    UNSET,
    Spans,
    Style,
    attributes_of,
    each_style,
    event_names,
    failing,
    number,
    status_of,
)


def test_every_call_style_is_traced() -> None:
    """A method that takes a function, or gives a guard, must not pass by the spans."""
    styles = {
        name
        for name, method in vars(CircuitBreaker).items()
        if not name.startswith("_") and callable(method) and "fn" in inspect.signature(method).parameters
    }
    assert {"execute", "execute_or", "protect"} <= styles
    assert styles | {"guard"} <= set(vars(TracedBreaker))


@each_style
async def test_a_call_is_a_span_that_is_current_within(panel: Panel, spans: Spans, call: Style) -> None:
    breaker = traced(panel.breaker(CircuitBreakerConfig(name="it")), spans.tracer)

    async def current() -> Any:
        return trace.get_current_span()

    inside = await call(breaker, current)
    span = spans.one()
    assert inside.get_span_context() == span.context
    assert span.name == "it"
    assert span.kind == trace.SpanKind.CLIENT
    assert event_names(span) == ["admitted"]
    assert status_of(span) == UNSET
    assert (await breaker.snapshot()).counts["success"] == 1


@each_style
async def test_failing_opening_and_rejecting_are_in_the_spans(
    panel: Panel, spans: Spans, call: Style
) -> None:
    breaker = traced(panel.breaker(CircuitBreakerConfig(name="it", max_failures=2)), spans.tracer)
    for _ in range(2):
        with pytest.raises(ValueError, match="hush"):
            await call(breaker, failing)
    with pytest.raises(CircuitOpenError):
        await call(breaker, number, 1)
    first, second, rejected = spans.ended
    assert [event_names(first), event_names(second)] == [["admitted"], ["admitted", "opened"]]
    assert event_names(rejected)[0] == "rejected"
    assert "admitted" not in event_names(rejected)
    assert [status_of(first), status_of(second)] == [(StatusCode.ERROR, "ValueError")] * 2
    assert status_of(rejected) == (StatusCode.ERROR, "CircuitOpenError")
    assert "hush" not in "".join(span.to_json() for span in spans.ended)


@each_style
async def test_the_span_of_a_failed_result_is_an_error(panel: Panel, spans: Spans, call: Style) -> None:
    judged: list[int] = []

    def fails(n: int) -> bool:
        judged.append(n)
        return n == 3

    policy = CircuitBreakerConfig(name="it", max_failures=1, failure_result=fails)
    breaker = traced(panel.breaker(policy), spans.tracer)
    assert await call(breaker, number, 2) == 2
    assert await call(breaker, number, 3) == 3
    well, failed = spans.ended
    assert (event_names(well), status_of(well)) == (["admitted"], UNSET)
    assert (event_names(failed), status_of(failed)) == (["admitted", "opened"], (StatusCode.ERROR, "_OTHER"))
    assert judged == [2, 3]


@each_style
async def test_a_time_out_is_in_the_span(
    panel: Panel, spans: Spans, call: Style, mock_clock: MockClock
) -> None:
    mock_clock.autojump_threshold = 0
    policy = CircuitBreakerConfig(name="it", max_failures=1, call_timeout=1.0)
    breaker = traced(panel.breaker(policy), spans.tracer)
    with pytest.raises(CallTimeout):
        await call(breaker, trio.sleep, 9)
    span = spans.one()
    assert event_names(span) == ["admitted", "timed_out", "opened"]
    assert status_of(span) == (StatusCode.ERROR, "CallTimeout")


@each_style
async def test_a_call_that_outlives_its_time_out_has_failed(
    panel: Panel, spans: Spans, call: Style, mock_clock: MockClock
) -> None:
    """The breaker has counted a failure, though the call can't be ended and returns its result."""
    mock_clock.autojump_threshold = 0

    async def stubborn() -> int:
        with trio.CancelScope(shield=True):
            await trio.sleep(9)
        return 3

    policy = CircuitBreakerConfig(name="it", max_failures=1, call_timeout=1.0)
    breaker = traced(panel.breaker(policy), spans.tracer)
    assert await call(breaker, stubborn) == 3
    span = spans.one()
    assert event_names(span) == ["admitted", "timed_out", "opened"]
    assert status_of(span) == (StatusCode.ERROR, "CallTimeout")


@each_style
async def test_the_span_of_a_cancelled_call_ends(panel: Panel, spans: Spans, call: Style) -> None:
    """Within the call, and in the queue for a place, which is before the call is admitted."""
    policy = CircuitBreakerConfig(name="it", max_concurrent=1, max_queue=1)
    breaker = traced(panel.breaker(policy), spans.tracer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, breaker, trio.sleep_forever)
        await wait_all_tasks_blocked()
        with trio.move_on_after(0):
            await call(breaker, number, 1)
        (waiting,) = spans.ended
        nursery.cancel_scope.cancel()
    running = spans.ended[1]
    assert (event_names(waiting), status_of(waiting)) == (["cancelled"], UNSET)
    assert (event_names(running), status_of(running)) == (["admitted", "cancelled"], UNSET)
    assert trace.get_current_span() is trace.INVALID_SPAN


@each_style
async def test_the_span_of_a_call_on_a_closed_panel_ends(spans: Spans, call: Style) -> None:
    async with open_panel() as panel:
        breaker = traced(panel.breaker(CircuitBreakerConfig(name="it")), spans.tracer)
    with pytest.raises(PanelClosedError):
        await call(breaker, number, 1)
    span = spans.one()
    assert (event_names(span), status_of(span)) == ([], (StatusCode.ERROR, "PanelClosedError"))


@each_style
async def test_a_coroutine_that_is_closed_ends_its_span(panel: Panel, spans: Spans, call: Style) -> None:
    breaker = traced(panel.breaker(CircuitBreakerConfig(name="it")), spans.tracer)
    coroutine: Any = call(breaker, number, 1)
    coroutine.send(None)
    coroutine.close()
    assert event_names(spans.one()) == ["admitted", "cancelled"]


@each_style
async def test_the_span_of_a_call_cancelled_by_the_opening_is_a_rejection(
    panel: Panel, spans: Spans, call: Style
) -> None:
    policy = CircuitBreakerConfig(name="it", cancel_in_flight=True)
    breaker = traced(panel.breaker(policy), spans.tracer)
    async with trio.open_nursery() as nursery:

        async def cut_off() -> None:
            with pytest.raises(CircuitOpenError):
                await call(breaker, trio.sleep_forever)

        nursery.start_soon(cut_off)
        await wait_all_tasks_blocked()
        await breaker.trip()
    span = spans.one()
    assert (event_names(span), status_of(span)) == (
        ["admitted", "rejected"],
        (StatusCode.ERROR, "CircuitOpenError"),
    )


@each_style
async def test_a_rejection_of_an_inner_call_is_not_in_the_outer_span(
    panel: Panel, spans: Spans, call: Style
) -> None:
    """Two breakers: within a call of the same one, a call joins it and isn't rejected."""
    full = traced(panel.breaker(CircuitBreakerConfig(name="full", max_concurrent=1)), spans.tracer)
    breaker = traced(panel.breaker(CircuitBreakerConfig(name="it")), spans.tracer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(full.execute, trio.sleep_forever)
        await wait_all_tasks_blocked()
        with pytest.raises(BulkheadFullError):
            await call(breaker, call, full, number, 1)
        nursery.cancel_scope.cancel()
    inner, outer, _ = spans.ended
    assert (event_names(inner)[0], event_names(outer)) == ("rejected", ["admitted"])
    assert status_of(inner) == status_of(outer) == (StatusCode.ERROR, "BulkheadFullError")


async def test_the_span_of_a_rejection_has_its_retry_after(rejecting: CircuitBreaker, spans: Spans) -> None:
    """A breaker that is forced open has no deadline: its retry_after is always 30 s."""
    with pytest.raises(CircuitOpenError):
        await rejecting.execute(trio.sleep, 0)
    assert attributes_of(spans.one()) == {
        "circuit_breaker.rejected": {
            "circuit_breaker.state": "forced_open",
            "circuit_breaker.reason": "forced",
            "circuit_breaker.retry_after": 30.0,
        }
    }
