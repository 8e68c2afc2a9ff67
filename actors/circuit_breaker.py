"""The handle that callers hold. It reads the gate, asks the actor and tallies; it writes no state."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

import trio

from .call.accounting import CallAccounting
from .call.gate import Gate
from .call.guard import Guard
from .call.nesting import CALLS
from .call.protect import wrap
from .errors import BulkheadFullError, CallRejected, CircuitOpenError
from .events import EventBroadcaster, Subscription
from .machine.statistics import Histogram
from .messages import (
    Admission,
    Configure,
    FindAdmission,
    ForceState,
    Outcome,
    Reset,
    SetSubscribers,
    Snapshot,
    Source,
    State,
    TakeSnapshot,
    Trip,
)
from .policy.config import CircuitBreakerConfig

if TYPE_CHECKING:
    from .breaker_actor import BreakerActor

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F")

ADMITTING = (State.CLOSED, State.DISABLED, State.OBSERVING)


class CircuitBreaker(CallAccounting):
    """Guards calls to one dependency. Made by `Panel.breaker`; for the panel's trio.run alone.

    A call runs in its caller's task, nursery, cancel scope and context. A rejected call never runs.
    Its own exception comes out bare. Cancelling a caller is neutral in every state: it counts
    neither as success nor as failure, and a probe's slot comes back.

    No checkpoint is added: a hot loop of rejections must yield by itself.
    """

    __slots__ = ("__weakref__", "_broadcaster", "_fast", "_waiters")

    def __init__(
        self, config: CircuitBreakerConfig, actor: BreakerActor, histogram: Histogram | None
    ) -> None:
        super().__init__(config, actor, histogram)
        self._fast: Gate | None = None
        self._broadcaster: EventBroadcaster | None = None
        self._waiters: trio.lowlevel.ParkingLot | None = None

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r} {self._gate.state.name} generation {self._gate.generation}>"

    # Calling.

    async def execute(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Await `fn(*args, **kwargs)` and return its result.

        Raises what `fn` raises, untouched; CircuitOpenError or BulkheadFullError where the call is
        rejected; CallTimeout after `call_timeout` seconds; PanelClosedError. The caller's
        cancellation reaches `fn` as ever, and is neutral.
        """
        gate = self._fast
        if gate is None:
            gate = self._gate
            now = self._clock()
            if now < gate.rejects_until or (now < gate.until and self._is_outside()):
                gate.rejected += 1
                raise CircuitOpenError(gate, now)
            if self._tallying and gate.admits and gate.batches_successes:
                return await self._execute_tallying(gate, fn, args, kwargs)
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

    async def _execute_tallying(
        self, gate: Gate, fn: Callable[..., Awaitable[T]], args: Any, kwargs: Any
    ) -> T:
        """As the fast path, where somebody may want to hear of this very success, or of its duration."""
        gate.started += 1
        start = self._clock() if self._timed else None
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            await self._raised(gate, error, start)
            raise
        duration = None if start is None else self._clock() - start
        if not gate.live or (duration is not None and self._slow is not None and duration >= self._slow):
            await self._settle(gate, None, Outcome.SUCCESS, duration)
            return result
        gate.succeeded += 1
        if duration is not None and self._histogram is not None:
            self._histogram.observe(duration)
        return result

    # Two signatures, for no type checker infers F from a union of F and its awaitable.
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
        """As `execute`, but a rejected call returns `fallback(error)`, awaited where it can be.

        Only this breaker's rejection of this call: whatever `fn` or `fallback` raises comes out, and so do
        CallTimeout and PanelClosedError. Cancelling is neutral.
        """
        guard = Guard(self)
        try:
            await guard.enter()
        except CallRejected as error:
            return await _served(fallback, error)
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

        error: a CallRejected or a CallTimeout, also of another breaker inside of `fn`; or what else `fn`
        raised, if the policy counts it as a failure (an ExceptionGroup too). It is counted before `fallback`
        is called. Anything else comes out: what the policy ignores or calls an answer, PanelClosedError, and
        whatever `fallback` raises. A returned value that is a failure is returned. Cancelling is neutral.
        """
        guard = Guard(self)
        try:
            return await self._run(guard, fn, args, kwargs)
        except Exception as error:
            if not guard.falls_back(error):
                raise
            failure = error
        return await _served(fallback, failure)

    def guard(self, *, source: Source | None = None) -> Guard:
        """An async context manager over a block of code; see Guard.

        source: where the call comes from. When a probe of a route has failed, the next HALF_OPEN is kept for
        calls of other routes, for up to a second; when a client has cancelled a probe, the next is kept for
        other clients, for up to a second. A call without a source, or without that part of it, is another's.
        """
        return Guard(self, source)

    def protect(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """A decorator: each call of `fn` goes through `execute`. Name, signature and types stay.

        fn: an async function, a partial of one, an object whose `__call__` is one, or a function annotated as
        returning an awaitable. Calls raise, and may be cancelled, as with `execute`. Raises TypeError for
        anything else, and where `fn` has no signature that can be read.
        """
        return wrap(self, fn)

    # Seeing.

    @property
    def is_watched(self) -> bool:
        """Whether a task reads the breaker's events, or waits until it admits calls."""
        waiting = self._waiters is not None and bool(self._waiters.statistics().tasks_waiting)
        return waiting or (self._broadcaster is not None and self._broadcaster.is_heard)

    @property
    def state(self) -> State:
        """The state last published."""
        return self._gate.state

    @property
    def config(self) -> CircuitBreakerConfig:
        """The policy in force."""
        return self._config

    @property
    def retry_after(self) -> float | None:
        """Seconds until the next probe, 0 where it is due; None unless OPEN."""
        gate = self._gate
        return max(0.0, gate.until - self._clock()) if gate.state is State.OPEN else None

    async def snapshot(self) -> Snapshot:
        """One sample of everything, after every message sent before it.

        Waits for the actor, not for any call; shielded from cancellation for that moment. Raises
        PanelClosedError.
        """
        snapshot: Snapshot = await self._actor.mailbox.ask(TakeSnapshot())
        return snapshot

    @asynccontextmanager
    async def events(self, buffer: int = 1000) -> AsyncIterator[Subscription]:
        """Iterate over Transition and CallSettled, in order, from now on.

        A reader more than `buffer` events behind loses the oldest, and reads EventsLost there. While
        anybody listens, each call is settled by a message of its own. Ends when the panel closes; opening
        it then raises PanelClosedError. Cancelling the reader loses no event.
        """
        self._broadcaster = self._broadcaster or EventBroadcaster()
        with self._broadcaster.subscribe(buffer) as subscription:
            await self._actor.mailbox.ask(SetSubscribers(1))
            try:
                yield subscription
            finally:
                await self._tell(SetSubscribers(-1))

    async def wait_until_admitting(self) -> None:
        """Wait until a call would be admitted.

        Returns at once while CLOSED, DISABLED or OBSERVING; in a ramp at its next admission; while OPEN or
        HALF_OPEN when probes have closed the breaker; while FORCED_OPEN after an operator's command. It also
        returns when a half-open breaker has had a free place for a second, so that a waiter may probe.
        Another caller may be quicker: a call after the wait may still be rejected; then wait again. Raises
        PanelClosedError. Cancellation leaves nothing behind.
        """
        self._check_run()
        await trio.lowlevel.checkpoint()
        self._waiters = self._waiters or trio.lowlevel.ParkingLot()
        while True:
            admission: Admission = await self._actor.mailbox.ask(FindAdmission())
            if admission.time <= self._clock():
                return
            if admission.changes == self._actor.admission_changes:
                with trio.CancelScope(deadline=admission.time):
                    await self._waiters.park()

    wait_closed = wait_until_admitting
    """The former name of `wait_until_admitting`."""

    # Steering.

    async def trip(self, reason: str = "tripped by operator") -> None:
        """Open now; while open, the wait starts again.

        In force when it returns: not cancelled for that moment. Raises PanelClosedError.
        """
        await self._actor.mailbox.ask(Trip(reason))

    async def reset(self, reason: str = "reset by operator") -> None:
        """Close now, from any state, with counters and backoff cleared.

        In force when it returns: not cancelled for that moment. Raises PanelClosedError.
        """
        await self._actor.mailbox.ask(Reset(reason))

    async def force_open(self, reason: str = "forced by operator") -> None:
        """Reject every call until `reset`, `trip`, `disable` or `observe`.

        In force when it returns: not cancelled for that moment. Raises PanelClosedError.
        """
        await self._actor.mailbox.ask(ForceState(State.FORCED_OPEN, reason))

    async def disable(self, reason: str = "disabled by operator") -> None:
        """Admit every call and record none. The bulkhead and `call_timeout` still hold.

        In force when it returns: not cancelled for that moment. Raises PanelClosedError.
        """
        await self._actor.mailbox.ask(ForceState(State.DISABLED, reason))

    async def observe(self, reason: str = "observed by operator") -> None:
        """Admit every call, record, and report in events and counters what it would have done.

        In force when it returns: not cancelled for that moment. Raises PanelClosedError.
        """
        await self._actor.mailbox.ask(ForceState(State.OBSERVING, reason))

    async def configure(self, config: CircuitBreakerConfig) -> None:
        """Take a new policy in place, as one message: state, window and generation stay.

        Calls that run keep their timeout and place. In force when it returns: not cancelled for that moment.
        Raises ValueError where the name differs, and PanelClosedError.
        """
        if config.name != self.name:
            raise ValueError(f"name must stay {self.name!r}, got {config.name!r}")
        config.strategy.counter()  # a strategy that can't make one must fail here, not in the actor
        await self._actor.mailbox.ask(Configure(config))


async def _served(fallback: Callable[[Any], F | Awaitable[F]], error: Exception) -> F:
    result = fallback(error)
    return await result if inspect.isawaitable(result) else result


for _style, _breaker in ((CircuitBreaker.execute, "self"), (CircuitBreaker._execute_tallying, "self")):
    CALLS[id(_style.__code__)] = _style.__code__, _breaker, "gate"
