"""Circuit breakers for trio, each an actor: one task that owns its state, without a lock."""

from actors.config import RETRY_AFTER_MAXIMUM, Backoff, CircuitBreakerConfig
from actors.errors import (
    BulkheadFullError,
    CallRejected,
    CallTimeout,
    CircuitBreakerError,
    CircuitOpenError,
    PanelClosedError,
    PanelFailedError,
)
from actors.guard import Guard
from actors.handle import CircuitBreaker
from actors.ledger import DURATION_BUCKETS
from actors.machine import Machine
from actors.named import NamedBreaker, breaker_named
from actors.panel import Panel, open_panel
from actors.rates import FailureRate, SlowCallRate
from actors.trip import AnyOf, ConsecutiveFailures, FailureCount, TripStrategy
from actors.window import LastCalls, LastSeconds
from protocols.breaker import (
    CallSettled,
    EventsLost,
    Outcome,
    Permit,
    Rejection,
    RejectReason,
    Snapshot,
    Source,
    State,
    Transition,
)

__all__ = [
    "DURATION_BUCKETS",
    "RETRY_AFTER_MAXIMUM",
    "AnyOf",
    "Backoff",
    "BulkheadFullError",
    "CallRejected",
    "CallSettled",
    "CallTimeout",
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitBreakerError",
    "CircuitOpenError",
    "ConsecutiveFailures",
    "EventsLost",
    "FailureCount",
    "FailureRate",
    "Guard",
    "LastCalls",
    "LastSeconds",
    "Machine",
    "NamedBreaker",
    "Outcome",
    "Panel",
    "PanelClosedError",
    "PanelFailedError",
    "Permit",
    "RejectReason",
    "Rejection",
    "SlowCallRate",
    "Snapshot",
    "Source",
    "State",
    "Transition",
    "TripStrategy",
    "breaker_named",
    "open_panel",
]
