"""Spans of calls with a fallback."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from opentelemetry import trace
from opentelemetry.trace import StatusCode
from trio.testing import wait_all_tasks_blocked

from actors import BulkheadFullError, CircuitBreaker, CircuitBreakerConfig, CircuitOpenError, Panel
from actors.adapters.tracing import traced
from tests.actors.adapters.tracing.spans import (
    UNSET,
    Spans,
    attributes_of,
    event_names,
    failing,
    number,
    status_of,
)


@pytest.mark.parametrize("is_async", [False, True])
async def test_the_span_of_a_rejected_call_with_a_fallback_is_no_error(
    rejecting: CircuitBreaker, spans: Spans, is_async: bool
) -> None:
    within: list[trace.Span] = []

    def stored(error: CircuitOpenError | BulkheadFullError) -> str:
        within.append(trace.get_current_span())
        return f"stored: {error.name}"

    async def fetched(error: CircuitOpenError | BulkheadFullError) -> str:
        await trio.lowlevel.checkpoint()
        return stored(error)

    fallback: Any = fetched if is_async else stored
    assert await rejecting.execute_or(fallback, number, 1) == "stored: it"
    span = spans.one()
    assert (event_names(span), status_of(span)) == (["rejected", "fallback"], UNSET)
    assert attributes_of(span)["circuit_breaker.fallback"] == {"error.type": "CircuitOpenError"}
    assert within[0].get_span_context() == span.context


async def test_a_full_bulkhead_has_a_fallback_too(panel: Panel, spans: Spans) -> None:
    breaker = traced(panel.breaker(CircuitBreakerConfig(name="it", max_concurrent=1)), spans.tracer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, trio.sleep_forever)
        await wait_all_tasks_blocked()
        assert await breaker.execute_or(lambda _: "stored", number, 1) == "stored"
        nursery.cancel_scope.cancel()
    served = spans.ended[0]
    assert (event_names(served), status_of(served)) == (["rejected", "fallback"], UNSET)


@pytest.mark.parametrize("own", [False, True])
async def test_a_fallback_that_raises_is_an_error(rejecting: CircuitBreaker, spans: Spans, own: bool) -> None:
    def raising(error: Exception) -> None:
        raise ValueError("hush") if own else error

    with pytest.raises(ValueError if own else CircuitOpenError):
        await rejecting.execute_or(raising, number, 1)
    span = spans.one()
    assert event_names(span) == ["rejected", "fallback"]
    assert status_of(span) == (StatusCode.ERROR, "ValueError" if own else "CircuitOpenError")
    assert "hush" not in span.to_json()


async def test_a_fallback_that_is_cancelled_ends_its_span(rejecting: CircuitBreaker, spans: Spans) -> None:
    async def slow(_: Exception) -> None:
        await trio.sleep_forever()

    with trio.move_on_after(0):
        await rejecting.execute_or(slow, number, 1)
    span = spans.one()
    assert (event_names(span), status_of(span)) == (["rejected", "fallback", "cancelled"], UNSET)


async def test_a_fallback_brings_no_transition_about(rejecting: CircuitBreaker, spans: Spans) -> None:
    async def resetting(_: Exception) -> None:
        await rejecting.reset()

    await rejecting.execute_or(resetting, number, 1)
    assert event_names(spans.one()) == ["rejected", "fallback"]


async def test_a_call_with_a_fallback_shows_how_it_ended(panel: Panel, spans: Spans) -> None:
    policy = CircuitBreakerConfig(name="it", ignore=KeyError)
    breaker = traced(panel.breaker(policy), spans.tracer)
    assert await breaker.execute_with_fallback(lambda _: "stored", number, 1) == 1
    assert await breaker.execute_with_fallback(lambda _: "stored", failing, 3) == "stored"
    with pytest.raises(KeyError):
        await breaker.execute_with_fallback(lambda _: "stored", not_there)
    succeeded, served, ignored = spans.ended
    assert (event_names(succeeded), status_of(succeeded)) == (["admitted"], UNSET)
    assert (event_names(served), status_of(served)) == (["admitted", "fallback"], UNSET)
    assert (event_names(ignored), status_of(ignored)) == (["admitted"], (StatusCode.ERROR, "KeyError"))


async def not_there() -> None:
    raise KeyError
