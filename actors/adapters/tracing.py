"""Calls as spans, with the breaker's decisions as events: OpenTelemetry's API, whatever SDK is behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar, cast

import trio
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, use_span

from actors.classify import kind_of
from actors.errors import BulkheadFullError, CallTimeout, CircuitOpenError
from actors.guard import Guard
from actors.handle import CircuitBreaker
from protocols.breaker import RejectReason, Source, State

P = ParamSpec("P")
T = TypeVar("T")

NAME, STATE, REASON = "circuit_breaker.name", "circuit_breaker.state", "circuit_breaker.reason"
WORDS = {State.OPEN: "opened", State.FORCED_OPEN: "opened"}


def traced(breaker: CircuitBreaker, tracer: Tracer) -> CircuitBreaker:
    """The breaker, with each `execute` and each `guard()` as a client span of its name.

    The span is current while the call runs. Its events, each beginning with `circuit_breaker.`: admitted,
    rejected, timed_out, cancelled; and opened, half_open or closed where this very call brought that about.
    Everything else is the breaker's own.
    """
    return cast(CircuitBreaker, TracedBreaker(breaker, tracer))


class TracedBreaker:
    """See `traced`."""

    def __init__(self, breaker: CircuitBreaker, tracer: Tracer) -> None:
        self._breaker = breaker
        self._tracer = tracer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._breaker, name)

    async def execute(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As CircuitBreaker.execute."""
        async with self.guard() as call:
            result = await fn(*args, **kwargs)
            call.returned(result)
        return result

    @asynccontextmanager
    async def guard(self, *, source: Source | None = None) -> AsyncIterator[Guard]:
        """As CircuitBreaker.guard."""
        breaker = self._breaker
        span = self._tracer.start_span(breaker.name, kind=SpanKind.CLIENT, attributes={NAME: breaker.name})
        moves = _Moves(breaker, span)
        try:
            with use_span(span, record_exception=False, set_status_on_exception=False):
                async with breaker.guard(source=source) as call:
                    moves.tell()
                    span.add_event("circuit_breaker.admitted", {STATE: _word(breaker.state)})
                    try:
                        yield call
                    finally:
                        moves.look()
        except BaseException as error:
            _tell_end(span, breaker.name, error)
            if isinstance(error, CallTimeout):
                moves.look_back()
            raise
        finally:
            moves.tell()
            span.end()


class _Moves:
    """Which transitions a call brought about: the states just before and after the breaker counted it."""

    def __init__(self, breaker: CircuitBreaker, span: Span) -> None:
        self._breaker = breaker
        self._span = span
        self._seen = self._at_admission = breaker.state

    def look(self) -> None:
        """What others did meanwhile is not this call's doing."""
        self._at_admission, self._seen = self._seen, self._breaker.state

    def look_back(self) -> None:
        """The breaker counted the call while it still ran: `look` came too late."""
        self._seen = self._at_admission

    def tell(self) -> None:
        """An event, where the state is another than the one last seen."""
        old, new = self._seen, self._breaker.state
        if new is not old:
            verb = WORDS.get(new, _word(new))
            self._span.add_event(f"circuit_breaker.{verb}", {"from": _word(old), "to": _word(new)})
            self._seen = new


def _tell_end(span: Span, name: str, error: BaseException) -> None:
    """Why the call ended as it did. Only kinds of errors: a message may quote what must stay inside."""
    if isinstance(error, trio.Cancelled | GeneratorExit):
        span.add_event("circuit_breaker.cancelled")
        return
    if isinstance(error, CircuitOpenError | BulkheadFullError) and error.name == name:
        span.add_event("circuit_breaker.rejected", _rejection(error))
    elif isinstance(error, CallTimeout) and error.name == name:
        span.add_event("circuit_breaker.timed_out")
    span.set_attribute("error.type", kind_of(error))
    span.set_status(StatusCode.ERROR, kind_of(error))


def _rejection(error: CircuitOpenError | BulkheadFullError) -> dict[str, str | float]:
    if isinstance(error, BulkheadFullError):
        return {REASON: RejectReason.BULKHEAD.value}
    told: dict[str, str | float] = {STATE: _word(error.state), REASON: error.reason.value}
    if error.retry_after is not None:
        told["circuit_breaker.retry_after"] = error.retry_after
    return told


def _word(state: State) -> str:
    return state.name.lower()
