"""The exceptions that a breaker itself raises. Exceptions of guarded calls are raised unchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from .messages import NEVER, RETRY_FORCED, RETRY_SOON, RejectReason, State

OTHER_RUN = (
    "a circuit breaker belongs to the trio.run of its panel: call it from there, from a thread by "
    "trio.from_thread.run, or have a panel in each run (breaker_named finds the one of the running run)"
)
"""The message of the RuntimeError that a use outside of the panel's trio.run raises."""
RETRY_AFTER = {RejectReason.FORCED: RETRY_FORCED}
REASONS = {
    **dict.fromkeys(State, RejectReason.OPEN),
    State.CLOSED: RejectReason.RAMP,
    State.HALF_OPEN: RejectReason.PROBING,
    State.FORCED_OPEN: RejectReason.FORCED,
}
"""The reason of an error that is made by hand without one."""
WAITS_FOR = {
    RejectReason.OPEN: "the end of its wait",
    RejectReason.PROBING: "the result of a probe",
    RejectReason.RAMP: "the end of its ramp",
    RejectReason.BULKHEAD: "a free place",
    RejectReason.FORCED: "an operator",
}


class CircuitBreakerError(Exception):
    """The base of all exceptions of this package."""


class CallRejected(CircuitBreakerError):
    """The call was rejected, and the guarded function did not run: the base of both kinds of rejection."""

    @property
    def name(self) -> str:
        """The breaker's name."""
        raise NotImplementedError

    @property
    def retry_after(self) -> float:
        """Seconds after which the call may be tried again: always a number."""
        raise NotImplementedError

    @property
    def reason(self) -> RejectReason:
        """The reason for the rejection."""
        raise NotImplementedError

    @property
    def waits_for(self) -> str:
        """The event that must happen before the call may be admitted, in words."""
        return WAITS_FOR[self.reason]


_made_of: Callable[[BaseException], tuple[Any, ...]] = vars(BaseException)["args"].__get__
"""The arguments by which an exception was made, also if its class overrides `args`."""


class RejectingGate(Protocol):
    """The part of the gate that a rejection reads.

    until: the end of the wait; opened_at: when the breaker left CLOSED, both on the breaker's clock.
    last_failure: the kind of the last failure.
    """

    name: str
    state: State
    reason: RejectReason
    until: float
    opened_at: float | None
    last_failure: str | None


class _Facts(NamedTuple):
    name: str
    state: State = State.OPEN
    retry_after: float | None = None
    reason: RejectReason | None = None
    last_failure: str | None = None
    open_for: float | None = None


class CircuitOpenError(CallRejected):
    """The breaker rejected a call; the guarded function did not run.

    Made as `CircuitOpenError(name, state, retry_after, reason, last_failure, open_for)`; only the name is
    required. A breaker makes it from its gate and the time. The attributes are computed when they are read,
    because rejections are the hot path of an outage.
    """

    @property
    def args(self) -> tuple[Any, ...]:  # type: ignore[override]
        """The arguments by which an equal error is made."""
        return tuple(self._facts())

    @property
    def name(self) -> str:
        """The breaker's name."""
        return self._facts().name

    @property
    def state(self) -> State:
        """The state that rejected the call."""
        return State(self._facts().state)

    @property
    def retry_after(self) -> float:
        """Seconds after which the call may be tried again.

        OPEN: the rest of the wait. Probing: the rest of the probe's timeout, 1.0 at most. Ramp: the rest of
        the ramp. Forced open: 30.0.
        """
        wait = self._facts().retry_after
        return RETRY_AFTER.get(self.reason, RETRY_SOON) if wait is None or wait == NEVER else wait

    @property
    def reason(self) -> RejectReason:
        """The reason for the rejection: open, probing, ramp or forced."""
        facts = self._facts()
        return RejectReason(facts.reason or REASONS[facts.state])

    @property
    def last_failure(self) -> str | None:
        """The kind of the last failure that the breaker counted, as `Snapshot.last_failure`; None: none."""
        return self._facts().last_failure

    @property
    def open_for(self) -> float | None:
        """Seconds since the breaker left CLOSED; None if it is closed or the time is unknown."""
        return self._facts().open_for

    def __str__(self) -> str:
        open_for = "" if self.open_for is None else f" for {self.open_for:.3f} s"
        failure = "" if self.last_failure is None else f" (last failure: {self.last_failure})"
        return (
            f"circuit breaker {self.name!r} is {self.state.name}{open_for}{failure}, "
            f"waiting for {self.waits_for}; retry after {self.retry_after:.3f} s"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.args!r}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args, self.__dict__ or None

    def _facts(self) -> _Facts:
        made_of = _made_of(self)
        if not made_of or isinstance(made_of[0], str):
            facts = _Facts(*made_of)
            return facts if facts.reason is not None else facts._replace(reason=REASONS[State(facts.state)])
        gate: RejectingGate = made_of[0]
        now: float = made_of[1]
        open_for = None if gate.opened_at is None else now - gate.opened_at
        return _Facts(gate.name, gate.state, gate.until - now, gate.reason, gate.last_failure, open_for)


class BulkheadFullError(CallRejected):
    """The bulkhead and its queue are full; the guarded function did not run.

    Made as `BulkheadFullError(name, places)`; only the name is required.
    """

    args: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The breaker's name."""
        return str(self.args[0])

    @property
    def retry_after(self) -> float:
        """Always 1.0 s: the time at which a place becomes free is unknown."""
        return RETRY_SOON

    @property
    def reason(self) -> RejectReason:
        """Always bulkhead."""
        return RejectReason.BULKHEAD

    def __str__(self) -> str:
        running = f"{self.args[1]} calls are" if len(self.args) > 1 else "as many calls as are allowed are"
        return f"circuit breaker {self.name!r}: {running} running already"


class CallTimeout(CircuitBreakerError, TimeoutError):
    """The call ran into `call_timeout`: it was cancelled and counted as a failure.

    Made as `CallTimeout(name, timeout)`; only the name is required.
    """

    args: tuple[Any, ...]
    # OSError, the base of TimeoutError, takes its arguments for these.
    errno = None
    strerror = None

    @property
    def name(self) -> str:
        """The breaker's name."""
        return str(self.args[0])

    @property
    def timeout(self) -> float | None:
        """The `call_timeout`, seconds; None if it was made without one."""
        return float(self.args[1]) if len(self.args) > 1 else None

    def __str__(self) -> str:
        longer = "too long" if self.timeout is None else f"longer than {self.timeout:g} s"
        return f"circuit breaker {self.name!r}: the call took {longer}"


class PanelClosedError(CircuitBreakerError):
    """The panel that owns the breaker has closed, or is closing; or the breaker was removed from it."""


class PanelFailedError(CircuitBreakerError):
    """Breakers crashed more often than `max_restarts` in `restart_window`; the cause is chained."""
