"""The handle: what callers hold. It touches no state; it reads the gate, asks, and tallies."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

import trio

from actors.bulkhead import Bulkhead
from actors.classify import Classifier
from actors.config import CircuitBreakerConfig
from actors.errors import BulkheadFullError, CircuitOpenError, PanelClosedError
from actors.events import Hub, Subscription
from actors.flights import Flights
from actors.gate import Gate
from actors.guard import Guard
from actors.ledger import Meter
from actors.wrapper import wrap
from protocols.breaker import (
    Configure,
    Execute,
    Hold,
    Outcome,
    Permit,
    Rejection,
    Reset,
    Settle,
    Snapshot,
    State,
    TakeSnapshot,
    Trip,
    Watch,
)

if TYPE_CHECKING:
    from actors.breaker import BreakerActor

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F")

ADMITTING = (State.CLOSED, State.DISABLED, State.OBSERVING)


class CircuitBreaker:
    """Guards calls to one dependency. Made by `Panel.breaker`; for the panel's trio.run alone.

    A call runs in its caller's task, nursery, cancel scope and context. A rejected call never runs.
    Its own exception comes out bare. Cancelling a caller is neutral in every state: it counts
    neither as success nor as failure, and a probe's slot comes back.

    No checkpoint is added: a hot loop of rejections must yield by itself.
    """

    __slots__ = (
        "__weakref__",
        "_actor",
        "_bulkhead",
        "_classifier_made",
        "_clock",
        "_closing",
        "_config",
        "_fast",
        "_flights",
        "_gate",
        "_hub",
        "_meter",
        "_plain",
        "_scoped",
        "_slow",
        "_tallying",
        "_timed",
        "name",
    )

    def __init__(self, config: CircuitBreakerConfig, actor: BreakerActor, meter: Meter | None) -> None:
        self.name = config.name
        self._actor = actor
        self._clock = actor.clock
        self._gate = Gate()
        self._fast: Gate | None = None
        self._meter = meter
        # What few breakers need is made when it is first needed: ten thousand of them may be idle.
        self._flights: Flights | None = None
        self._hub: Hub | None = None
        self._closing: trio.lowlevel.ParkingLot | None = None
        self._bulkhead: Bulkhead | None = None
        self._take(config)

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
            if (now := self._clock()) < gate.until:
                gate.rejected += 1
                raise CircuitOpenError(self.name, gate.state, gate.until - now, gate.reason)
            if self._tallying and gate.admits and gate.tallies:
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
        except (CircuitOpenError, BulkheadFullError) as error:
            result = fallback(error)
            return await result if inspect.isawaitable(result) else result
        return await self._run(guard, fn, args, kwargs)

    def guard(self) -> Guard:
        """An async context manager over a block of code; see Guard."""
        return Guard(self)

    def protect(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """A decorator: each call of `fn` goes through `execute`. Name, signature and types stay.

        Calls raise, and may be cancelled, as with `execute`. Raises TypeError where `fn` has no signature
        that can be read.
        """
        return wrap(self, fn)

    # Seeing.

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
        self._hub = self._hub or Hub()
        with self._hub.subscribe(buffer) as subscription:
            await self._actor.mailbox.ask(Watch(1))
            try:
                yield subscription
            finally:
                await self._tell(Watch(-1))

    async def wait_closed(self) -> None:
        """Wait until calls are admitted again: CLOSED, DISABLED or OBSERVING.

        At once where they are. Raises PanelClosedError. Cancellation leaves nothing behind.
        """
        await trio.lowlevel.checkpoint()
        while self._gate.state not in ADMITTING and not self._actor.closed:
            self._closing = self._closing or trio.lowlevel.ParkingLot()
            await self._closing.park()
        if self._actor.closed:
            raise PanelClosedError("the panel has closed")

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
        await self._actor.mailbox.ask(Hold(State.FORCED_OPEN, reason))

    async def disable(self, reason: str = "disabled by operator") -> None:
        """Admit every call and record none. The bulkhead and `call_timeout` still hold.

        In force when it returns: not cancelled for that moment. Raises PanelClosedError.
        """
        await self._actor.mailbox.ask(Hold(State.DISABLED, reason))

    async def observe(self, reason: str = "observed by operator") -> None:
        """Admit every call, record, and tell in events and counters what would have been done.

        In force when it returns: not cancelled for that moment. Raises PanelClosedError.
        """
        await self._actor.mailbox.ask(Hold(State.OBSERVING, reason))

    async def configure(self, config: CircuitBreakerConfig) -> None:
        """Take a new policy in place, as one message: state, window and generation stay.

        Calls that run keep their timeout and place. In force when it returns: not cancelled for that moment.
        Raises ValueError where the name differs, and PanelClosedError.
        """
        if config.name != self.name:
            raise ValueError(f"name must stay {self.name!r}, got {config.name!r}")
        await self._actor.mailbox.ask(Configure(config))

    # For the guard and the actor. What runs in callers' frames, but isn't theirs, finishes before Ctrl-C.

    def _take(self, config: CircuitBreakerConfig) -> None:
        self._config = config
        self._classifier_made: Classifier | None = None
        self._slow = config.strategy.slow_threshold
        self._timed = self._meter is not None or self._slow is not None
        self._scoped = config.call_timeout is not None or config.cancel_in_flight
        if self._scoped and self._flights is None:
            self._flights = Flights()
        if config.max_concurrent is None:
            self._bulkhead = None
        elif self._bulkhead is None:
            self._bulkhead = Bulkhead(config.max_concurrent, config.max_queue, config.queue_timeout)
        else:
            self._bulkhead.configure(config.max_concurrent, config.max_queue, config.queue_timeout)
        plain = not (
            self._timed or self._scoped or self._bulkhead is not None or config.failure_result is not None
        )
        # A success that may trip must not be tallied behind the actor's back.
        self._plain = plain and config.strategy.ignores_successes
        self._tallying = plain and not self._plain

    @property
    def _classifier(self) -> Classifier:
        if self._classifier_made is None:
            self._classifier_made = Classifier(self._config)
        return self._classifier_made

    async def _run(self, guard: Guard, fn: Callable[..., Awaitable[T]], args: Any, kwargs: Any) -> T:
        async with guard:
            result = await fn(*args, **kwargs)
            guard.returned(result)
            return result

    async def _execute_tallying(
        self, gate: Gate, fn: Callable[..., Awaitable[T]], args: Any, kwargs: Any
    ) -> T:
        """As the fast path, for a strategy that may want to hear of this very success."""
        gate.started += 1
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            await self._raised(gate, error)
            raise
        if gate.live:
            gate.succeeded += 1
        else:
            await self._settle(gate, None, Outcome.SUCCESS)
        return result

    @trio.lowlevel.enable_ki_protection
    async def _admit(self) -> tuple[Gate, Permit | None]:
        gate = self._gate
        if gate.admits:
            return gate, None
        now = self._clock()
        if now < gate.until:
            gate.rejected += 1
            raise CircuitOpenError(self.name, gate.state, gate.until - now, gate.reason)
        answer: Permit | Rejection = await self._actor.mailbox.ask(Execute())
        if isinstance(answer, Rejection):
            raise CircuitOpenError(self.name, answer.state, answer.retry_after, answer.reason)
        return self._gate, answer

    @trio.lowlevel.enable_ki_protection
    async def _raised(self, gate: Gate, error: BaseException) -> None:
        if isinstance(error, trio.Cancelled | GeneratorExit):
            gate.cancelled += 1
            return
        outcome = self._classifier.exception(error)
        if outcome is Outcome.FAILURE:
            wait = self._classifier.retry_after(error)
            await self._settle(gate, None, outcome, None, wait, type(error).__name__)
        elif outcome is Outcome.IGNORED:
            gate.ignored += 1
        else:
            gate.cancelled += 1

    @trio.lowlevel.enable_ki_protection
    async def _settle(
        self,
        gate: Gate,
        permit: Permit | None,
        outcome: Outcome,
        duration: float | None = None,
        retry_after: float | None = None,
        error: str | None = None,
    ) -> None:
        if duration is not None and self._meter is not None and outcome is not Outcome.CANCELLED:
            self._meter.observe(duration)
        if permit is None:
            if gate.state is State.DISABLED or self._tallied(gate, outcome, duration):
                return
            permit = gate.permit()
        await self._tell(Settle(permit, outcome, duration, retry_after, error))

    def _settle_nowait(self, guard: Guard) -> bool:
        """Settle a success before its call has ended; False where it can't be done at once."""
        gate, permit, start = guard._gate, guard._permit, guard._start
        duration = None if start is None else self._clock() - start
        if permit is None:
            if gate.state is State.DISABLED or self._tallied(gate, Outcome.SUCCESS, duration):
                return True
            if not self._actor.mailbox.tell(Settle(Permit(gate.generation, 0), Outcome.SUCCESS, duration)):
                return False
            gate.asked += 1
            return True
        return self._actor.mailbox.tell(Settle(permit, Outcome.SUCCESS, duration))

    def _tallied(self, gate: Gate, outcome: Outcome, duration: float | None) -> bool:
        """Whether no message is needed: only the actor's watchers want to hear of neutral outcomes."""
        if not (gate.live and gate.tallies):
            return False
        match outcome:
            case Outcome.SUCCESS if self._slow is None or (duration is not None and duration < self._slow):
                gate.succeeded += 1
            case Outcome.IGNORED:
                gate.ignored += 1
            case Outcome.CANCELLED:
                gate.cancelled += 1
            case _:
                return False
        return True

    @trio.lowlevel.enable_ki_protection
    async def _tell(self, message: Any) -> None:
        """Ask, and don't mind that the panel has closed: the call's own end matters more."""
        try:
            await self._actor.mailbox.ask(message)
        except PanelClosedError:
            pass
