"""The messages that a breaker's actor handles. Each is answered, as its docstring describes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from .messages import Outcome, Permit, Source, State
from .policy.config import CircuitBreakerConfig
from .policy.trip import TripEvidence


@dataclass(frozen=True, slots=True)
class Acquire:
    """Ask for a permit for one call. Answered by a Permit or a Rejection."""

    is_active_probe: bool = False
    source: Source | None = None


class Settle(NamedTuple):
    """A permitted call ended. Answered when it is counted: True, or False if it came late.

    duration, retry_after: seconds; None: not measured, not requested. error: the kind of the failure.
    """

    # A tuple: a frozen dataclass takes three times as long to make.

    permit: Permit
    outcome: Outcome
    duration: float | None = None
    retry_after: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The dependency has answered a call that goes on. Answered by None.

    duration: seconds until its answer, None if they weren't measured.
    """

    permit: Permit
    duration: float | None = None


@dataclass(frozen=True, slots=True)
class FailSettled:
    """A call that was settled as a success has failed later. Answered as Settle is."""

    permit: Permit
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ReleasePermit:
    """A permitted call never began. Answered by None."""

    permit: Permit


@dataclass(frozen=True, slots=True)
class Trip:
    """Open now. Answered by None."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reset:
    """Close now. Answered by None."""

    reason: str


@dataclass(frozen=True, slots=True)
class ForceState:
    """Stay FORCED_OPEN, DISABLED or OBSERVING. Answered by None."""

    state: State
    reason: str


@dataclass(frozen=True, slots=True)
class Configure:
    """Take a new policy in place. Answered by None."""

    config: CircuitBreakerConfig


@dataclass(frozen=True, slots=True)
class ProbePassed:
    """The open breaker's own probe `number` has passed. Answered by None."""

    number: int


@dataclass(frozen=True, slots=True)
class FindAdmission:
    """Find the time at which a call is admitted. Answered by an Admission."""


class Admission(NamedTuple):
    """The earliest time at which a call is admitted if nothing else happens; inf: only another event decides.

    changes: how often waiting tasks were woken, so that a waiter misses no change.
    """

    time: float
    changes: int


@dataclass(frozen=True, slots=True)
class Remove:
    """End the actor. Answered by None; every later message is answered by PanelClosedError."""


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """Take a snapshot. Answered by a Snapshot that includes every message sent before it."""


@dataclass(frozen=True, slots=True)
class AdoptOpen:
    """Be open as all instances are that share the breaker. Answered by None.

    wait: seconds until a holder of a lease may probe. attempt: the step of the backoff.
    """

    wait: float
    reason: str
    attempt: int


@dataclass(frozen=True, slots=True)
class AdoptClosed:
    """Close as all instances have that share the breaker. Answered by None."""

    reason: str


@dataclass(frozen=True, slots=True)
class GrantProbe:
    """Probe for all instances, for `within` seconds. Answered by None. attempt: the step of the backoff."""

    within: float
    attempt: int


@dataclass(frozen=True, slots=True)
class GiveBack:
    """End the probing for all instances if no probe runs. Answered by None."""


@dataclass(frozen=True, slots=True)
class TakeEvidence:
    """Answered by a LocalEvidence that includes every call that ended before it was sent."""


class LocalEvidence(NamedTuple):
    """What a breaker has to say to other instances.

    evidence: of the closed breaker's counts, or of those at its opening. successes, failures, rejections:
    calls since the start. waits_for_lease, has_lease: see Machine. is_probing: a probe runs. wants_probe: its
    policy has a `probe`, or tasks wait until it admits calls. first_wait: the policy's wait without backoff.
    """

    state: State
    generation: int
    evidence: TripEvidence | None
    successes: int
    failures: int
    rejections: int
    waits_for_lease: bool
    has_lease: bool
    is_probing: bool
    wants_probe: bool
    first_wait: float


@dataclass(frozen=True, slots=True)
class SetSubscribers:
    """Count a subscriber to settled calls more (`by` 1) or less (-1). Answered by None."""

    by: int


@dataclass(frozen=True, slots=True)
class Wake:
    """Look at the deadlines again: they have changed. Answered by None."""


Command: TypeAlias = (
    Acquire
    | Settle
    | Answered
    | FailSettled
    | ReleasePermit
    | Trip
    | Reset
    | ForceState
    | Configure
    | ProbePassed
    | FindAdmission
    | Remove
    | AdoptOpen
    | AdoptClosed
    | GrantProbe
    | GiveBack
    | TakeEvidence
    | TakeSnapshot
    | SetSubscribers
    | Wake
)
SHARING = (AdoptOpen, AdoptClosed, GrantProbe, GiveBack, TakeEvidence)
WITHOUT_CAUSE = (TakeSnapshot, Wake, FindAdmission, *SHARING)
"""Messages whose senders cause no transition."""
