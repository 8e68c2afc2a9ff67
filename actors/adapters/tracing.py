"""Calls as spans, with the breaker's decisions as events: OpenTelemetry's API alone, with any SDK."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

import trio
from opentelemetry.context import attach, detach
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context

from ..call.classifier import kind_of
from ..call.guard import Guard
from ..circuit_breaker import CircuitBreaker
from ..errors import CallRejected, CircuitOpenError
from ..messages import Outcome, Source, State

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F")

NAME, STATE, REASON = "circuit_breaker.name", "circuit_breaker.state", "circuit_breaker.reason"
RETRY_AFTER = "circuit_breaker.retry_after"
WORDS = {State.OPEN: "opened", State.FORCED_OPEN: "opened"}


def traced(breaker: CircuitBreaker, tracer: Tracer) -> CircuitBreaker:
    """The breaker, with each call as a client span of its name, in every call style.

    The span is current while the call runs, and while its fallback runs. Its events, each beginning with
    `circuit_breaker.`: admitted, rejected, timed_out, cancelled; opened, half_open or closed if this call
    caused the transition; and fallback if the call is served by its fallback, with the kind of the error as
    `error.type`.

    The status is ERROR, with `error.type`, if the call raises or its result is judged a failure. It stays
    unset if a fallback returns, and if the call is cancelled. Calls raise, count and may be cancelled as
    those of the breaker. All other attributes are the breaker's own.
    """
    return cast(CircuitBreaker, TracedBreaker(breaker, tracer))


class TracedBreaker:
    """Made by `traced`."""

    def __init__(self, breaker: CircuitBreaker, tracer: Tracer) -> None:
        self._breaker = breaker
        self._tracer = tracer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._breaker, name)

    async def execute(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As CircuitBreaker.execute."""
        with self._call_span() as span:
            return await span.run(self._breaker.guard(), fn, args, kwargs)

    async def execute_or(
        self,
        fallback: Callable[[CallRejected], F | Awaitable[F]],
        fn: Callable[P, Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T | F:
        """As CircuitBreaker.execute_or."""
        with self._call_span() as span:
            guard = self._breaker.guard()
            try:
                await guard.enter()
            except CallRejected as error:
                return await span.fall_back(fallback, error)
            return await span.run(guard, fn, args, kwargs)

    async def execute_with_fallback(
        self,
        fallback: Callable[[Exception], F | Awaitable[F]],
        fn: Callable[P, Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T | F:
        """As CircuitBreaker.execute_with_fallback."""
        with self._call_span() as span:
            guard = self._breaker.guard()
            try:
                return await span.run(guard, fn, args, kwargs)
            except Exception as error:
                if not guard.falls_back(error):
                    raise
                failure = error
            return await span.fall_back(fallback, failure)

    @asynccontextmanager
    async def guard(self, *, source: Source | None = None) -> AsyncIterator[Guard]:
        """As CircuitBreaker.guard."""
        with self._call_span() as span:
            async with self._breaker.guard(source=source) as guard:
                span.admitted(guard)
                try:
                    yield guard
                finally:
                    span.block_ended()

    def protect(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """As CircuitBreaker.protect."""
        signature = inspect.signature(self._breaker.protect(fn), follow_wrapped=False)

        @functools.wraps(fn)
        async def protected(*args: P.args, **kwargs: P.kwargs) -> T:
            # Arguments that don't fit raise TypeError before the call, as they do without tracing.
            signature.bind(*args, **kwargs)
            return await self.execute(fn, *args, **kwargs)

        return protected

    def _call_span(self) -> _CallSpan:
        return _CallSpan(self._breaker, self._tracer)


class _CallSpan:
    """The span of one call, from its beginning to its end: the same for every call style."""

    def __init__(self, breaker: CircuitBreaker, tracer: Tracer) -> None:
        self._breaker = breaker
        self._span = tracer.start_span(breaker.name, kind=SpanKind.CLIENT, attributes={NAME: breaker.name})
        self._transitions = _Transitions(breaker, self._span)
        self._guard: Guard | None = None
        self._fell_back = False

    def __enter__(self) -> _CallSpan:
        self._token = attach(set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        detach(self._token)
        try:
            if error is None:
                self._returned()
            else:
                self._raised(error)
        finally:
            self._span.end()

    async def run(self, guard: Guard, fn: Callable[..., Awaitable[T]], args: Any, kwargs: Any) -> T:
        """Await `fn(*args, **kwargs)` within the guard, which may have been entered."""
        async with guard:
            self.admitted(guard)
            try:
                return await guard.run(fn, args, kwargs)
            finally:
                self.block_ended()

    def admitted(self, guard: Guard) -> None:
        """The breaker has admitted the call."""
        self._guard = guard
        self._transitions.add_event()
        self._span.add_event("circuit_breaker.admitted", {STATE: _word(self._breaker.state)})

    def block_ended(self) -> None:
        """The call has ended, and the breaker hasn't counted it yet."""
        self._transitions.note_state()

    async def fall_back(self, fallback: Callable[[Any], F | Awaitable[F]], error: Exception) -> F:
        """Return `fallback(error)`, awaited if that can be. The call itself has ended with `error`."""
        self._add_decision(error)
        self._fell_back = True
        self._span.add_event("circuit_breaker.fallback", {"error.type": kind_of(error)})
        result = fallback(error)
        return await result if inspect.isawaitable(result) else result

    def _returned(self) -> None:
        """The call, or its fallback, has returned."""
        if self._fell_back:
            return
        self._add_decision(None)
        assert self._guard is not None
        if self._is_timed_out():
            self._fail("CallTimeout")
        elif self._guard.verdict is Outcome.FAILURE:
            # The code that has read the result may have set it, such as the status of a response.
            attributes = getattr(self._span, "attributes", None) or {}
            self._fail(attributes.get("error.type", "_OTHER"))

    def _raised(self, error: BaseException) -> None:
        """The call, or its fallback, has raised."""
        is_cancelled = isinstance(error, trio.Cancelled | GeneratorExit)
        if is_cancelled:
            self._span.add_event("circuit_breaker.cancelled")
        if not self._fell_back:
            self._add_decision(error)
        if not is_cancelled:
            self._fail(kind_of(error))

    def _add_decision(self, error: BaseException | None) -> None:
        """Add events of the breaker's decision, and of the transition that the call's end caused."""
        if self._is_timed_out():
            self._span.add_event("circuit_breaker.timed_out")
            self._transitions.note_counted_early()
        elif isinstance(error, CallRejected) and self._is_own(error):
            self._span.add_event("circuit_breaker.rejected", _rejection(error))
        self._transitions.add_event()

    def _is_timed_out(self) -> bool:
        return self._guard is not None and self._guard.is_timed_out

    def _is_own(self, error: BaseException) -> bool:
        """Whether the breaker rejected or ended this call, and not another one inside of it."""
        return self._guard is None or error is self._guard.cancelled_with

    def _fail(self, kind: str) -> None:
        # Only kinds of errors: a message may quote confidential values.
        self._span.set_attribute("error.type", kind)
        self._span.set_status(StatusCode.ERROR, kind)


class _Transitions:
    """The transitions that a call causes: the states just before and after the breaker counted it."""

    def __init__(self, breaker: CircuitBreaker, span: Span) -> None:
        self._breaker = breaker
        self._span = span
        self._noted = self._at_admission = breaker.state

    def note_state(self) -> None:
        """Note the state: earlier transitions were caused by other calls."""
        self._at_admission, self._noted = self._noted, self._breaker.state

    def note_counted_early(self) -> None:
        """Undo `note_state`, which came too late: the breaker counted the call while it still ran."""
        self._noted = self._at_admission

    def add_event(self) -> None:
        """Add an event, if the state isn't the one last noted."""
        old, new = self._noted, self._breaker.state
        if new is not old:
            verb = WORDS.get(new, _word(new))
            self._span.add_event(f"circuit_breaker.{verb}", {"from": _word(old), "to": _word(new)})
            self._noted = new


def _rejection(error: CallRejected) -> dict[str, str | float]:
    attributes: dict[str, str | float] = {REASON: error.reason.value, RETRY_AFTER: error.retry_after}
    if isinstance(error, CircuitOpenError):
        attributes[STATE] = _word(error.state)
    return attributes


def _word(state: State) -> str:
    return state.name.lower()
