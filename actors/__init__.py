"""Circuit breakers for trio, each an actor: one task that owns its state, without a lock."""

from .call.guard import Guard
from .circuit_breaker import CircuitBreaker
from .errors import (
    BulkheadFullError,
    CallRejected,
    CallTimeout,
    CircuitBreakerError,
    CircuitOpenError,
    PanelClosedError,
    PanelFailedError,
)
from .machine.machine import Machine
from .machine.statistics import DURATION_BUCKETS
from .messages import (
    CallSettled,
    EventsLost,
    Learned,
    Outcome,
    Permit,
    Rejection,
    RejectReason,
    ShadowSnapshot,
    ShadowTransition,
    Snapshot,
    Source,
    State,
    Transition,
)
from .panel.named import NamedBreaker, breaker_named
from .panel.opening import open_panel
from .panel.panel import Panel
from .policy.adaptive import Adaptive
from .policy.adaptive_limit import AdaptiveLimit
from .policy.any_of import AnyOf
from .policy.backoff import RETRY_AFTER_MAXIMUM, Backoff
from .policy.config import CircuitBreakerConfig
from .policy.failure_counts import ConsecutiveFailures, FailureCount
from .policy.rates import FailureRate, SlowCallRate
from .policy.shadow import SAME, ShadowPolicy
from .policy.trip import TripStrategy
from .policy.window import LastCalls, LastSeconds

__version__ = "0.1.0"

__all__ = [
    "DURATION_BUCKETS",
    "RETRY_AFTER_MAXIMUM",
    "SAME",
    "Adaptive",
    "AdaptiveLimit",
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
    "Learned",
    "Machine",
    "NamedBreaker",
    "Outcome",
    "Panel",
    "PanelClosedError",
    "PanelFailedError",
    "Permit",
    "RejectReason",
    "Rejection",
    "ShadowPolicy",
    "ShadowSnapshot",
    "ShadowTransition",
    "SlowCallRate",
    "Snapshot",
    "Source",
    "State",
    "Transition",
    "TripStrategy",
    "breaker_named",
    "open_panel",
]
