"""The breaker's vocabulary: states, outcomes, commands, replies and events.

Times are seconds. `time` and `opened_at` are on the breaker's own clock (trio's, which may be a
MockClock); only fields named `unix_…` can be compared with a wall clock.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

ConfigT = TypeVar("ConfigT")

NUMERIC = tuple("bcdeEfFgGnoxX%")
"""How a format spec for numbers ends."""


class State(IntEnum):
    """What a breaker does with the next call.

    A number in arithmetic, in JSON and in metrics; its name in text. `f"{State.OPEN}"` is `OPEN`, and
    `f"{State.OPEN:d}"` is `2`. Compare with `==`.
    """

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2
    FORCED_OPEN = 3
    DISABLED = 4
    OBSERVING = 5

    def __str__(self) -> str:
        return self.name

    def __format__(self, spec: str) -> str:
        return int.__format__(self, spec) if spec.endswith(NUMERIC) else format(self.name, spec)

    if TYPE_CHECKING:
        # Without an __eq__ of its own, mypy takes `assert breaker.state == State.OPEN` as true for ever, and
        # rejects a second assertion. At run time int's comparison stays: calls compare states.
        def __eq__(self, other: object) -> bool: ...
        def __hash__(self) -> int: ...


class Outcome(StrEnum):
    """How an admitted call ended, as the breaker counts it."""

    SUCCESS = "success"
    FAILURE = "failure"
    IGNORED = "ignored"
    CANCELLED = "cancelled"


class RejectReason(StrEnum):
    """Why a call was not admitted."""

    OPEN = "open"
    PROBING = "probing"
    RAMP = "ramp"
    BULKHEAD = "bulkhead"
    FORCED = "forced"


UNRECORDED = -1
"""The number of every permit of a disabled breaker, which records nothing."""

RETRY_SOON = 1.0
"""Seconds after which a rejected call may be tried again if no time is known."""
RETRY_FORCED = 30.0
"""The same where an operator holds the breaker open."""


class Permit(NamedTuple):
    """Leave to make one call. A permit of an earlier generation never changes the state.

    A tuple, as Settle is: a frozen dataclass takes three times as long to make.
    """

    generation: int
    number: int
    probe: bool = False


class Source(NamedTuple):
    """Where a call comes from. A part that is None is nobody's in particular."""

    client: Hashable = None
    route: Hashable = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """No leave to make a call; falsy, so that `if permit:` reads well.

    retry_after: seconds after which the call may be tried again. OPEN: the rest of the wait. Probing: the
        rest of the probe's timeout, RETRY_SOON at most. Ramp: the rest of the ramp. Forced: RETRY_FORCED.
    """

    state: State
    reason: RejectReason
    retry_after: float

    def __bool__(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Transition:
    """A breaker left one state for another.

    observed: True where an observing breaker only tells what it would have done.
    bound: what `open_panel(bound=…)` found where it was brought about, such as a request's id; empty where it
        was time alone.
    """

    name: str
    old: State
    new: State
    reason: str
    generation: int
    time: float
    unix_time: float = 0.0
    retry_after: float | None = None
    observed: bool = False
    bound: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class CallSettled:
    """One admitted call ended. duration: seconds, None where it was not measured."""

    name: str
    outcome: Outcome
    generation: int
    time: float
    duration: float | None = None
    late: bool = False


@dataclass(frozen=True, slots=True)
class EventsLost:
    """A subscriber was too slow: `count` of its oldest events were dropped at this point."""

    count: int


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One observation that somebody can look up, such as by its trace's id. unix_time: when it was made."""

    value: float
    labels: Mapping[str, str]
    unix_time: float


@dataclass(frozen=True, slots=True)
class HistogramSnapshot:
    """Observations by upper bound (not cumulative); the last count is of those above all bounds.

    exemplars: the last one of each bucket that had any, by the bucket's place.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float
    exemplars: Mapping[int, Exemplar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One breaker at one moment.

    failure_count: what the trip strategy counts now: failures in a row, or in its window.
    slow_count: slow calls in the window, successes among them; 0 unless the strategy asks for durations.
    opened_at: when it last left CLOSED, on the breaker's clock; None while closed.
    retry_after: seconds until the next probe; None unless OPEN.
    counts: calls by outcome since the start, `rejected` among them.
    rejections: calls not admitted, by RejectReason.
    late: results of an earlier generation; each is in `counts` too, and changed nothing else.
    would_reject: calls an observing breaker would have rejected.
    transitions: how often, by (old, new).
    """

    name: str
    state: State
    generation: int
    failure_count: int
    opened_at: float | None
    retry_after: float | None
    last_failure: str | None
    last_reason: str | None
    in_flight: int
    counts: Mapping[str, int]
    rejections: Mapping[str, int]
    late: int
    would_reject: int
    transitions: Mapping[tuple[State, State], int]
    changed_at: float
    unix_changed_at: float = 0.0
    unix_opened_at: float = 0.0
    restarts: int = 0
    recovery: HistogramSnapshot | None = None
    durations: HistogramSnapshot | None = None
    slow_count: int = 0


# Commands: what the breaker's actor is asked. Each is answered; the answer stands beside it.


@dataclass(frozen=True, slots=True)
class Acquire:
    """May a call be made? Answered by a Permit or a Rejection."""

    is_active_probe: bool = False
    source: Source | None = None


class Settle(NamedTuple):
    """A permitted call ended. Answered when it is counted: True, or False where it came late."""

    permit: Permit
    outcome: Outcome
    duration: float | None = None
    retry_after: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The dependency has answered a call that goes on. Answered by None.

    duration: seconds until its answer, None where they weren't measured.
    """

    permit: Permit
    duration: float | None = None


@dataclass(frozen=True, slots=True)
class FailSettled:
    """A call that was settled as a success broke later. Answered as Settle is."""

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
class Configure(Generic[ConfigT]):
    """Take a new policy in place. Answered by None."""

    config: ConfigT


@dataclass(frozen=True, slots=True)
class ProbePassed:
    """The open breaker's own probe `number` has passed. Answered by None."""

    number: int


@dataclass(frozen=True, slots=True)
class FindAdmission:
    """When is a call admitted? Answered by an Admission."""


class Admission(NamedTuple):
    """The earliest time at which a call is admitted if nothing else happens; inf if only an event can tell.

    changes: how often that has changed, so that a waiter misses no change.
    """

    time: float
    changes: int


@dataclass(frozen=True, slots=True)
class Remove:
    """End for good. Answered by None; every message after it is answered by PanelClosedError."""


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """Answered by a Snapshot that includes every message sent before it."""


@dataclass(frozen=True, slots=True)
class SetSubscribers:
    """Somebody wants each settled call as an event (`by` 1), or no longer (-1). Answered by None."""

    by: int


@dataclass(frozen=True, slots=True)
class Wake:
    """Deadlines have changed: look at them again. Answered by None."""
