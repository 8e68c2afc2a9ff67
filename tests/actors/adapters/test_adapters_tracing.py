"""Spans of calls through a breaker; `tests/world/test_traces.py` has those of the whole stack."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
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
    Source,
    State,
    open_panel,
)
from actors.adapters.tracing import TracedBreaker, traced

Style = Callable[..., Awaitable[Any]]


class Spans:
    """The spans that have ended, and the tracer that begins them."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("test")

    @property
    def ended(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def one(self) -> ReadableSpan:
        (span,) = self.ended
        return span


@pytest.fixture
def spans() -> Spans:
    return Spans()


def events(span: ReadableSpan) -> list[str]:
    return [event.name.removeprefix("circuit_breaker.") for event in span.events]


def ending(span: ReadableSpan) -> tuple[StatusCode, object]:
    return span.status.status_code, (span.attributes or {}).get("error.type")


UNSET = (StatusCode.UNSET, None)


async def by_execute(breaker: CircuitBreaker, fn: Any, *args: Any) -> Any:
    return await breaker.execute(fn, *args)


async def by_execute_or(breaker: CircuitBreaker, fn: Any, *args: Any) -> Any:
    def no_fallback(error: Exception) -> None:
        raise error

    return await breaker.execute_or(no_fallback, fn, *args)


async def by_guard(breaker: CircuitBreaker, fn: Any, *args: Any) -> Any:
    async with breaker.guard(source=Source("client", "route")) as call:
        result = await fn(*args)
        call.returned(result)
    return result


async def by_protect(breaker: CircuitBreaker, fn: Any, *args: Any) -> Any:
    return await breaker.protect(fn)(*args)


STYLES = (by_execute, by_execute_or, by_guard, by_protect)
each_style = pytest.mark.parametrize("call", STYLES)


async def number(n: int) -> int:
    await trio.lowlevel.checkpoint()
    return n


async def failing(n: int = 0) -> int:
    await trio.lowlevel.checkpoint()
    raise ValueError(f"hush {n}")


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
    assert (span.name, span.kind, events(span), ending(span)) == (
        "it",
        trace.SpanKind.CLIENT,
        ["admitted"],
        UNSET,
    )
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
    assert [events(first), events(second)] == [["admitted"], ["admitted", "opened"]]
    assert events(rejected)[0] == "rejected"
    assert "admitted" not in events(rejected)
    assert [ending(first), ending(second)] == [(StatusCode.ERROR, "ValueError")] * 2
    assert ending(rejected) == (StatusCode.ERROR, "CircuitOpenError")
    assert "hush" not in "".join(span.to_json() for span in spans.ended)


@each_style
async def test_a_result_that_is_a_failure_shows(panel: Panel, spans: Spans, call: Style) -> None:
    judged: list[int] = []

    def fails(n: int) -> bool:
        judged.append(n)
        return n == 3

    policy = CircuitBreakerConfig(name="it", max_failures=1, failure_result=fails)
    breaker = traced(panel.breaker(policy), spans.tracer)
    assert await call(breaker, number, 2) == 2
    assert await call(breaker, number, 3) == 3
    well, failed = spans.ended
    assert (events(well), ending(well)) == (["admitted"], UNSET)
    assert (events(failed), ending(failed)) == (["admitted", "opened"], (StatusCode.ERROR, "_OTHER"))
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
    assert events(span) == ["admitted", "timed_out", "opened"]
    assert ending(span) == (StatusCode.ERROR, "CallTimeout")


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
    assert events(span) == ["admitted", "timed_out", "opened"]
    assert ending(span) == (StatusCode.ERROR, "CallTimeout")


@each_style
async def test_a_span_ends_where_its_call_is_cancelled(panel: Panel, spans: Spans, call: Style) -> None:
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
    assert (events(waiting), ending(waiting)) == (["cancelled"], UNSET)
    assert (events(running), ending(running)) == (["admitted", "cancelled"], UNSET)
    assert trace.get_current_span() is trace.INVALID_SPAN


@each_style
async def test_a_span_ends_where_nothing_can_be_called(spans: Spans, call: Style) -> None:
    async with open_panel() as panel:
        breaker = traced(panel.breaker(CircuitBreakerConfig(name="it")), spans.tracer)
    with pytest.raises(PanelClosedError):
        await call(breaker, number, 1)
    span = spans.one()
    assert (events(span), ending(span)) == ([], (StatusCode.ERROR, "PanelClosedError"))


@each_style
async def test_a_coroutine_that_is_closed_ends_its_span(panel: Panel, spans: Spans, call: Style) -> None:
    breaker = traced(panel.breaker(CircuitBreakerConfig(name="it")), spans.tracer)
    coroutine: Any = call(breaker, number, 1)
    coroutine.send(None)
    coroutine.close()
    assert events(spans.one()) == ["admitted", "cancelled"]


@each_style
async def test_a_call_that_is_cut_off_is_rejected_after_all(panel: Panel, spans: Spans, call: Style) -> None:
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
    assert (events(span), ending(span)) == (["admitted", "rejected"], (StatusCode.ERROR, "CircuitOpenError"))


@each_style
async def test_the_rejection_of_a_call_within_a_call_is_not_the_outer_calls(
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
    assert (events(inner)[0], events(outer)) == ("rejected", ["admitted"])
    assert ending(inner) == ending(outer) == (StatusCode.ERROR, "BulkheadFullError")


async def everything(breaker: CircuitBreaker, call: Style) -> list[object]:
    """The ends of one call after another, and what the breaker has counted of them."""
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
    assert (CircuitOpenError in plain, ValueError in plain) == (True, True)


# Guards.


async def test_a_block_may_say_that_it_failed(panel: Panel, spans: Spans) -> None:
    breaker = traced(panel.breaker(CircuitBreakerConfig(name="it", max_failures=1)), spans.tracer)
    async with breaker.guard() as call:
        call.fail("hush")
    span = spans.one()
    assert (events(span), ending(span)) == (["admitted", "opened"], (StatusCode.ERROR, "_OTHER"))
    assert "hush" not in span.to_json()


async def test_a_kind_of_failure_that_the_span_has_stays(panel: Panel, spans: Spans) -> None:
    breaker = traced(panel.breaker(CircuitBreakerConfig(name="it")), spans.tracer)
    async with breaker.guard() as call:
        trace.get_current_span().set_attribute("error.type", "503")
        call.fail()
    assert ending(spans.one()) == (StatusCode.ERROR, "503")


async def test_a_span_that_is_not_recorded_gets_no_event(panel: Panel) -> None:
    breaker = traced(panel.breaker(CircuitBreakerConfig(name="it", max_failures=1)), trace.NoOpTracer())
    async with breaker.guard() as call:
        call.fail()
    assert breaker.state is State.OPEN


# Fallbacks.


@pytest.fixture
async def rejecting(panel: Panel, spans: Spans) -> CircuitBreaker:
    breaker = panel.breaker(CircuitBreakerConfig(name="it"))
    await breaker.force_open()
    return traced(breaker, spans.tracer)


def told(span: ReadableSpan) -> dict[str, dict[str, object]]:
    return {event.name: dict(event.attributes or {}) for event in span.events}


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_rejected_call_that_its_fallback_serves_is_no_error(
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
    assert (events(span), ending(span)) == (["rejected", "fallback"], UNSET)
    assert told(span)["circuit_breaker.fallback"] == {"error.type": "CircuitOpenError"}
    assert within[0].get_span_context() == span.context


async def test_a_full_bulkhead_has_a_fallback_too(panel: Panel, spans: Spans) -> None:
    breaker = traced(panel.breaker(CircuitBreakerConfig(name="it", max_concurrent=1)), spans.tracer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker.execute, trio.sleep_forever)
        await wait_all_tasks_blocked()
        assert await breaker.execute_or(lambda _: "stored", number, 1) == "stored"
        nursery.cancel_scope.cancel()
    served = spans.ended[0]
    assert (events(served), ending(served)) == (["rejected", "fallback"], UNSET)


@pytest.mark.parametrize("own", [False, True])
async def test_a_fallback_that_raises_is_an_error(rejecting: CircuitBreaker, spans: Spans, own: bool) -> None:
    def raising(error: Exception) -> None:
        raise ValueError("hush") if own else error

    with pytest.raises(ValueError if own else CircuitOpenError):
        await rejecting.execute_or(raising, number, 1)
    span = spans.one()
    assert events(span) == ["rejected", "fallback"]
    assert ending(span) == (StatusCode.ERROR, "ValueError" if own else "CircuitOpenError")
    assert "hush" not in span.to_json()


async def test_a_fallback_that_is_cancelled_ends_its_span(rejecting: CircuitBreaker, spans: Spans) -> None:
    async def slow(_: Exception) -> None:
        await trio.sleep_forever()

    with trio.move_on_after(0):
        await rejecting.execute_or(slow, number, 1)
    span = spans.one()
    assert (events(span), ending(span)) == (["rejected", "fallback", "cancelled"], UNSET)


async def test_a_fallback_brings_no_transition_about(rejecting: CircuitBreaker, spans: Spans) -> None:
    async def resetting(_: Exception) -> None:
        await rejecting.reset()

    await rejecting.execute_or(resetting, number, 1)
    assert events(spans.one()) == ["rejected", "fallback"]


# Protected functions.


async def test_a_protected_function_keeps_name_document_and_signature(panel: Panel, spans: Spans) -> None:
    breaker = traced(panel.breaker(CircuitBreakerConfig(name="it")), spans.tracer)

    @breaker.protect
    async def find(school: str, /, limit: int = 3, *, deep: bool = False) -> tuple[str, int, bool]:
        """Find it."""
        return school, limit, deep

    assert (find.__name__, find.__doc__) == ("find", "Find it.")
    assert str(inspect.signature(find)) == (
        "(school: 'str', /, limit: 'int' = 3, *, deep: 'bool' = False) -> 'tuple[str, int, bool]'"
    )
    assert inspect.iscoroutinefunction(find)
    assert await find("a") == ("a", 3, False)
    assert await find("a", limit=4, deep=True) == ("a", 4, True)
    assert len(spans.ended) == 2


async def test_arguments_that_do_not_fit_are_no_call(panel: Panel, spans: Spans) -> None:
    breaker = traced(panel.breaker(CircuitBreakerConfig(name="it")), spans.tracer)
    protected: Any = breaker.protect(number)
    for args, kwargs in [((), {}), ((1, 2), {}), ((1,), {"m": 2})]:
        with pytest.raises(TypeError):
            await protected(*args, **kwargs)
    assert spans.ended == []
    assert not any((await breaker.snapshot()).counts.values())


async def test_what_is_not_async_is_not_protected(panel: Panel, spans: Spans) -> None:
    breaker = traced(panel.breaker(CircuitBreakerConfig(name="it")), spans.tracer)
    unreadable: Any = dict
    with pytest.raises(TypeError, match="async"):
        breaker.protect(unreadable)


async def test_a_trace_has_the_time_after_which_to_try_again(rejecting: CircuitBreaker, spans: Spans) -> None:
    """A breaker that is forced open stays so until somebody says otherwise."""
    with pytest.raises(CircuitOpenError):
        await rejecting.execute(trio.sleep, 0)
    assert told(spans.one()) == {
        "circuit_breaker.rejected": {
            "circuit_breaker.state": "forced_open",
            "circuit_breaker.reason": "forced",
            "circuit_breaker.retry_after": 30.0,
        }
    }


async def test_a_call_with_a_fallback_shows_how_it_ended(panel: Panel, spans: Spans) -> None:
    policy = CircuitBreakerConfig(name="it", ignore=KeyError)
    breaker = traced(panel.breaker(policy), spans.tracer)
    assert await breaker.execute_with_fallback(lambda _: "stored", number, 1) == 1
    assert await breaker.execute_with_fallback(lambda _: "stored", failing, 3) == "stored"
    with pytest.raises(KeyError):
        await breaker.execute_with_fallback(lambda _: "stored", not_there)
    succeeded, served, ignored = spans.ended
    assert (events(succeeded), ending(succeeded)) == (["admitted"], UNSET)
    assert (events(served), ending(served)) == (["admitted", "fallback"], UNSET)
    assert (events(ignored), ending(ignored)) == (["admitted"], (StatusCode.ERROR, "KeyError"))


async def not_there() -> None:
    raise KeyError
