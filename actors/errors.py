"""What a breaker raises by itself. The exceptions of the calls it guards come out untouched."""

from __future__ import annotations

from typing import Any

from protocols.breaker import RejectReason, State

NEVER = float("inf")


class CircuitBreakerError(Exception):
    """The base of all that this package raises on its own account."""


class CircuitOpenError(CircuitBreakerError):
    """The breaker rejected a call; the guarded function did not run.

    Made as `CircuitOpenError(name, state, retry_after, reason)`. The attributes are read from
    `args`: a rejection is the hot path of an outage, and a Python-level `__init__` doubles its price.
    """

    args: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The breaker's name."""
        return str(self.args[0])

    @property
    def state(self) -> State:
        """The state that rejected the call."""
        return State(self.args[1])

    @property
    def retry_after(self) -> float | None:
        """Seconds until a call may be admitted; None where nobody can say (forced open, probing)."""
        value: float | None = self.args[2]
        return None if value == NEVER else value

    @property
    def reason(self) -> RejectReason:
        """Why: open, probing, ramp or forced."""
        return RejectReason(self.args[3])

    def __str__(self) -> str:
        wait = "" if self.retry_after is None else f", retry after {self.retry_after:.3f} s"
        return f"circuit breaker {self.name!r} is {self.state.name} ({self.reason}{wait})"


class BulkheadFullError(CircuitBreakerError):
    """All places for calls at once, and for waiting, are taken. We are full; they aren't broken."""

    args: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The breaker's name."""
        return str(self.args[0])

    @property
    def retry_after(self) -> float | None:
        """Always None: nobody knows when a place comes free."""
        return None

    @property
    def reason(self) -> RejectReason:
        """Always bulkhead."""
        return RejectReason.BULKHEAD

    def __str__(self) -> str:
        return f"circuit breaker {self.name!r}: {self.args[1]} calls are running already"


class CallTimeout(CircuitBreakerError):
    """The call ran into `call_timeout`: it was cancelled and counted as a failure."""

    args: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The breaker's name."""
        return str(self.args[0])

    @property
    def timeout(self) -> float:
        """The `call_timeout`, seconds."""
        return float(self.args[1])

    def __str__(self) -> str:
        return f"circuit breaker {self.name!r}: the call took longer than {self.timeout:g} s"


class PanelClosedError(CircuitBreakerError):
    """The panel that owns the breaker has closed, or is closing."""


class PanelFailedError(CircuitBreakerError):
    """Breakers crashed more often than `max_restarts` in `restart_window`; the cause is chained."""
