"""The breaker's vocabulary: states, outcomes, permits, events and snapshots.

Times are seconds. `time` and `opened_at` are on the breaker's own clock (trio's, which may be a
MockClock); only fields named `unix_…` can be compared with a wall clock.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

NUMERIC = tuple("bcdeEfFgGnoxX%")
"""Last characters of format specs for numbers."""


class State(IntEnum):
    """The state of a breaker: it decides about the next call.

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


ADMITTING = (State.CLOSED, State.DISABLED, State.OBSERVING)
"""The states that admit calls and are no part of an outage."""


class Outcome(StrEnum):
    """The end of an admitted call, as the breaker counts it."""

    SUCCESS = "success"
    FAILURE = "failure"
    IGNORED = "ignored"
    CANCELLED = "cancelled"


class RejectReason(StrEnum):
    """The reason for which a call was not admitted."""

    OPEN = "open"
    PROBING = "probing"
    RAMP = "ramp"
    BULKHEAD = "bulkhead"
    FORCED = "forced"


UNSEEN = "unseen"
"""Beside the outcomes: how a call ended that the breaker rejected, as its shadow counts it."""

UNRECORDED = -1
"""The number of every permit of a disabled breaker, which records nothing."""

NEVER = float("inf")
"""The time of what no clock brings about."""
RETRY_SOON = 1.0
"""Seconds after which a rejected call may be tried again if no better time is known."""
RETRY_FORCED = 30.0
"""The same if an operator holds the breaker open."""


class Permit(NamedTuple):
    """Permission to make one call. A permit of an earlier generation never changes the state.

    generation: the generation that admitted the call. number: the call's number; 0 if it was counted on the
    gate. probe: it is a probe of a half-open breaker. shadow: the answer of the shadow policy to the same
    call; None without one.
    """

    # A tuple: a frozen dataclass takes three times as long to make.

    generation: int
    number: int
    probe: bool = False
    shadow: Permit | Rejection | None = None


class Source(NamedTuple):
    """The client and the route that a call comes from. None: of no particular one."""

    client: Hashable = None
    route: Hashable = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """Answer that a call is not admitted; falsy, so that `if permit:` reads well.

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

    observed: True if an observing breaker only reports what it would have done.
    context: values of the caller that caused the transition, such as a request's id, as
        `open_panel(transition_context=…)` returned them. Empty for timer-driven transitions.
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
    context: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def bound(self) -> Mapping[str, Any]:
        """The former name of `context`."""
        return self.context


SHADOW_STATES = (State.CLOSED, State.HALF_OPEN, State.OPEN)
"""The states of a shadow: operators' commands don't reach it."""


@dataclass(frozen=True, slots=True)
class ShadowTransition:
    """A shadow policy would have left one state for another. The breaker itself is as it was."""

    name: str
    old: State
    new: State
    reason: str
    time: float
    unix_time: float = 0.0


@dataclass(frozen=True, slots=True)
class CallSettled:
    """One admitted call ended. duration: seconds, None if not measured. late: of an earlier generation."""

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
    """One observation with labels to look it up by, such as a trace's id. unix_time: when it was made."""

    value: float
    labels: Mapping[str, str]
    unix_time: float


@dataclass(frozen=True, slots=True)
class HistogramSnapshot:
    """Observations by upper bound (not cumulative); the last count is of those above all bounds.

    exemplars: the last one of each bucket that has one, by the bucket's index in `counts`.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float
    exemplars: Mapping[int, Exemplar] = field(default_factory=dict)


class Learned(NamedTuple):
    """What an adaptive breaker has learned. None: not known yet.

    usual: the share of calls that usually fail. traffic: the usual calls a second. evidence: the failures
    that speak for opening now, less what the successes between them weigh. threshold: what opens.
    """

    usual: float | None
    traffic: float | None
    evidence: float
    threshold: float


@dataclass(frozen=True, slots=True)
class ShadowSnapshot:
    """What a breaker with the shadow policy would have done, as far as the real calls show it.

    state, reason, failure_count, retry_after, transitions, learned: as in Snapshot.
    calls: by what the shadow would have done with a call (`admitted`, `rejected`), and by how the call
        ended: an Outcome, or UNSEEN if the breaker rejected it, so that it was never made.
    stopped: the exception that the shadow's strategy raised; it counts nothing since. None: it works.
    """

    state: State
    reason: str | None
    failure_count: int
    retry_after: float | None
    transitions: Mapping[tuple[State, State], int]
    calls: Mapping[str, Mapping[str, int]]
    learned: Learned | None = None
    stopped: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One breaker at one moment.

    failure_count: the failures that the trip strategy counts now: in a row, or in its window.
    slow_count: slow calls in the window, also successful ones; 0 unless the strategy uses durations.
    opened_at: when it last left CLOSED, on the breaker's clock; None while closed.
    retry_after: seconds until the next probe; None unless OPEN.
    counts: calls by outcome since the start, `rejected` among them.
    rejections: calls not admitted, by RejectReason.
    late: results of an earlier generation; each is in `counts` too, and changed nothing else.
    would_reject: calls an observing breaker would have rejected.
    transitions: how often, by (old, new).
    bulkhead_limit: the calls that may run at once now; None: no limit.
    learned: None unless the trip strategy learns.
    shadow: None unless the policy has a shadow.
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
    bulkhead_limit: int | None = None
    learned: Learned | None = None
    shadow: ShadowSnapshot | None = None
