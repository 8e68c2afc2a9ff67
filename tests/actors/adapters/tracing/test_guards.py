"""A traced breaker counts like another, and its guards write into their spans."""

from __future__ import annotations

import trio
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from actors import CircuitBreaker, CircuitBreakerConfig, CircuitOpenError, Panel, State
from actors.adapters.tracing import traced
from tests.actors.adapters.tracing.spans import (
    Spans,
    Style,
    each_style,
    event_names,
    failing,
    number,
    status_of,
)


async def everything(breaker: CircuitBreaker, call: Style) -> list[object]:
    """The ends of consecutive calls, and the breaker's counts of them."""
    with trio.move_on_after(0) as scope:
        await call(breaker, trio.sleep, 1)
    ends: list[object] = [scope.cancelled_caught, await call(breaker, number, 1)]
    for fn in (failing, number, failing, failing):
        try:
            ends.append(await call(breaker, fn, 3))
        except (ValueError, CircuitOpenError) as error:
            ends.append(type(error))
    snapshot = await breaker.snapshot()
    return [*ends, snapshot.state, snapshot.counts, snapshot.failure_count]


@each_style
async def test_a_call_counts_as_without_tracing(panel: Panel, spans: Spans, call: Style) -> None:
    def policy(name: str) -> CircuitBreakerConfig:
        return CircuitBreakerConfig(name=name, max_failures=2, failure_result=lambda n: n == 3)

    plain = await everything(panel.breaker(policy("plain")), call)
    assert await everything(traced(panel.breaker(policy("traced")), spans.tracer), call) == plain
    assert len(spans.ended) == 6
    assert CircuitOpenError in plain
    assert ValueError in plain


# Guards.


async def test_a_failed_guard_has_an_error_span(panel: Panel, spans: Spans) -> None:
    breaker = traced(panel.breaker(CircuitBreakerConfig(name="it", max_failures=1)), spans.tracer)
    async with breaker.guard() as call:
        call.fail("hush")
    span = spans.one()
    assert (event_names(span), status_of(span)) == (["admitted", "opened"], (StatusCode.ERROR, "_OTHER"))
    assert "hush" not in span.to_json()


async def test_an_error_type_that_the_span_has_stays(panel: Panel, spans: Spans) -> None:
    breaker = traced(panel.breaker(CircuitBreakerConfig(name="it")), spans.tracer)
    async with breaker.guard() as call:
        trace.get_current_span().set_attribute("error.type", "503")
        call.fail()
    assert status_of(spans.one()) == (StatusCode.ERROR, "503")


async def test_a_span_that_is_not_recorded_gets_no_event(panel: Panel) -> None:
    breaker = traced(panel.breaker(CircuitBreakerConfig(name="it", max_failures=1)), trace.NoOpTracer())
    async with breaker.guard() as call:
        call.fail()
    assert breaker.state is State.OPEN
