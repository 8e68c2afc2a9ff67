"""The breaker that callers hold: it calls functions through itself, and shows its state."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar, overload

import trio

from .call.gate import Gate
from .call.guard import Guard
from .call.nesting.fast_calls import call_style
from .call.protect import wrap
from .commands import Admission, FindAdmission, SetSubscribers, TakeSnapshot
from .errors import BulkheadFullError, CallRejected, CircuitOpenError
from .events import EventBroadcaster, Subscription
from .messages import Outcome, Snapshot, Source, State
from .operator_commands import OperatorCommands
from .policy.config import CircuitBreakerConfig

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F")


class CircuitBreaker(OperatorCommands):
    """Guards calls to one dependency. Made by `Panel.breaker`; for the panel's trio.run alone.

    A call runs in its caller's task, nursery, cancel scope and context. A rejected call never runs.
    Its own exception comes out unwrapped. Cancelling a caller is neutral in every state: it counts
    neither as success nor as failure, and a probe's slot becomes free.

    No checkpoint is added: a hot loop of rejections must yield by itself.
    """

    __slots__ = ("__weakref__",)

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r} {self.gate.state.name} generation {self.gate.generation}>"

    # Calling.

    @call_style
    async def execute(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Await `fn(*args, **kwargs)` and return its result.

        Raises what `fn` raises, untouched; CircuitOpenError or BulkheadFullError if the call is rejected;
        CallTimeout after `call_timeout` seconds; PanelClosedError. The caller's cancellation reaches `fn`,
        and is neutral.
        """
        gate = self.fast
        if gate is None:
            gate = self.gate
            now = self.clock()
            if now < gate.rejects_until or (now < gate.until and self._is_outside()):
                gate.rejected += 1
                raise CircuitOpenError(gate, now)
            if self._batches and gate.admits and gate.batches_successes:
                return await self._execute_counting(gate, fn, args, kwargs)
            return await self._run(Guard(self), fn, args, kwargs)
        gate.started += 1
        try:
            # The cheapest call that fits: an empty `**kwargs` costs a dict.
            if kwargs:
                result = await fn(*args, **kwargs)
            elif args:
                result = await fn(*args)  # type: ignore[call-arg]
            else:
                result = await fn()  # type: ignore[call-arg]
        except BaseException as error:
            await self._raised(gate, error)
            raise
        gate.succeeded += 1
        return result

    async def _run(self, guard: Guard, fn: Callable[..., Awaitable[T]], args: Any, kwargs: Any) -> T:
        async with guard:
            return await guard.run(fn, args, kwargs)

    @call_style
    async def _execute_counting(
        self, gate: Gate, fn: Callable[..., Awaitable[T]], args: Any, kwargs: Any
    ) -> T:
        """As the fast path, for calls of which an event or a duration may be wanted."""
        gate.started += 1
        start = self.clock() if self.is_timed else None
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            await self._raised(gate, error, start)
            raise
        duration = None if start is None else self.clock() - start
        if not gate.live or (duration is not None and self._slow is not None and duration >= self._slow):
            await self.settle(gate, None, Outcome.SUCCESS, duration)
            return result
        gate.succeeded += 1
        if duration is not None and self.histogram is not None:
            self.histogram.observe(duration)
        return result

    # Two signatures, because type checkers can't infer F from a union of F and its awaitable.
    @overload
    async def execute_or(
        self,
        fallback: Callable[[CircuitOpenError | BulkheadFullError], Awaitable[F]],
        fn: Callable[P, Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T | F: ...

    @overload
    async def execute_or(
        self,
        fallback: Callable[[CircuitOpenError | BulkheadFullError], F],
        fn: Callable[P, Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T | F: ...

    async def execute_or(
        self,
        fallback: Callable[[CircuitOpenError | BulkheadFullError], F | Awaitable[F]],
        fn: Callable[P, Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T | F:
        """As `execute`, but a rejected call returns `fallback(error)`, awaited if that is an awaitable.

        Only this breaker's rejection of this call. Raises what `fn` or `fallback` raises, CallTimeout and
        PanelClosedError. Cancelling is neutral.
        """
        guard = Guard(self)
        try:
            await guard.enter()
        except CallRejected as error:
            return await _result_of(fallback, error)
        return await self._run(guard, fn, args, kwargs)

    @overload
    async def execute_with_fallback(
        self,
        fallback: Callable[[Exception], Awaitable[F]],
        fn: Callable[P, Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T | F: ...

    @overload
    async def execute_with_fallback(
        self,
        fallback: Callable[[Exception], F],
        fn: Callable[P, Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T | F: ...

    async def execute_with_fallback(
        self,
        fallback: Callable[[Exception], F | Awaitable[F]],
        fn: Callable[P, Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T | F:
        """As `execute`, but a call that is rejected or fails returns `fallback(error)`, awaited if it can be.

        error: a CallRejected or a CallTimeout, also of another breaker inside of `fn`; or another exception
        of `fn`, if the policy counts it as a failure (an ExceptionGroup too). It is counted before `fallback`
        is called. Raises every other exception of `fn` (one that the policy ignores or calls an answer),
        PanelClosedError, and what `fallback` raises. A returned value that is a failure is returned.
        Cancelling is neutral.
        """
        guard = Guard(self)
        try:
            return await self._run(guard, fn, args, kwargs)
        except Exception as error:
            if not guard.falls_back(error):
                raise
            failure = error
        return await _result_of(fallback, failure)

    def guard(self, *, source: Source | None = None) -> Guard:
        """An async context manager over a block of code; see Guard.

        source: the client and the route that the call comes from. After a probe of a route has failed, the
        next HALF_OPEN admits only calls of other routes for up to a second; after a client has cancelled a
        probe, the next is a call of another client for up to a second. A call without a source, or without
        that part of it, counts as another's.
        """
        return Guard(self, source)

    def protect(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """A decorator: each call of `fn` goes through `execute`. Name, signature and types stay.

        fn: an async function, a partial of one, an object whose `__call__` is one, or a function annotated as
        returning an awaitable. Calls raise, and may be cancelled, as with `execute`. Raises TypeError for
        anything else, and if `fn` has no signature that can be read.
        """
        return wrap(self, fn)

    # State.

    @property
    def state(self) -> State:
        """The state last published."""
        return self.gate.state

    @property
    def config(self) -> CircuitBreakerConfig:
        """The policy in force."""
        return self.policy

    @property
    def retry_after(self) -> float | None:
        """Seconds until the next probe, 0 if it is due; None unless OPEN."""
        gate = self.gate
        return max(0.0, gate.until - self.clock()) if gate.state is State.OPEN else None

    async def snapshot(self) -> Snapshot:
        """All counters and the state at one moment, after every message sent before.

        Waits for the actor, not for any call; shielded from cancellation for that moment. Raises
        PanelClosedError.
        """
        snapshot: Snapshot = await self.mailbox.ask(TakeSnapshot())
        return snapshot

    @asynccontextmanager
    async def events(self, buffer: int = 1000) -> AsyncIterator[Subscription]:
        """Iterate over Transition and CallSettled, in order, from now on.

        A reader more than `buffer` events behind loses the oldest, and reads EventsLost in their place. While
        there is a reader, each call is settled by a message of its own, which costs microseconds. Ends when
        the panel closes; opening it then raises PanelClosedError. Cancelling the reader loses no event.
        """
        self.broadcaster = self.broadcaster or EventBroadcaster()
        with self.broadcaster.subscribe(buffer) as subscription:
            await self.mailbox.ask(SetSubscribers(1))
            try:
                yield subscription
            finally:
                await self.mailbox.deliver(SetSubscribers(-1))

    async def wait_until_admitting(self) -> None:
        """Wait until a call would be admitted.

        Returns at once while CLOSED, DISABLED or OBSERVING; in a ramp at its next admission; while OPEN or
        HALF_OPEN when probes have closed the breaker; while FORCED_OPEN after an operator's command. It also
        returns when a half-open breaker has had a free place for a second, so that a waiter may probe.
        Another caller may be quicker: a call after the wait may still be rejected; then wait again. Raises
        PanelClosedError. Cancellation ends the wait, without other effect.
        """
        self._check_run()
        await trio.lowlevel.checkpoint()
        self.waiters = self.waiters or trio.lowlevel.ParkingLot()
        while True:
            admission: Admission = await self.mailbox.ask(FindAdmission())
            if admission.time <= self.clock():
                return
            if admission.changes == self.admission_changes:
                with trio.CancelScope(deadline=admission.time):
                    await self.waiters.park()

    wait_closed = wait_until_admitting
    """The former name of `wait_until_admitting`."""


async def _result_of(fallback: Callable[[Any], F | Awaitable[F]], error: Exception) -> F:
    result = fallback(error)
    return await result if inspect.isawaitable(result) else result
