"""The behavior of a breaker in each state, with the data of that state. Pure, as the machine is.

A behavior decides about calls in its state and returns the next state; the machine makes the transition.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from ..messages import NEVER, RETRY_FORCED, Outcome, Permit, Rejection, RejectReason, Source, State
from ..policy.config import CircuitBreakerConfig
from ..policy.trip import SUCCESS, Call, Learning, TripCounter
from .ramp import Ramp
from .slow_start import SlowStart

NEUTRAL = (Outcome.IGNORED, Outcome.CANCELLED)


class NextState(NamedTuple):
    """The next state. recovery: this ends a recovery, so the backoff goes on or starts again.

    wait: seconds until it may be probed, if they aren't the policy's.
    """

    state: State
    reason: str
    recovery: bool = False
    wait: float | None = None


class StateBehavior:
    """The behavior during one stay in one state. This base is of a state that only commands change."""

    __slots__ = ()
    failure_count = 0
    slow_count = 0
    deadline: float | None = None
    # Probes that have answered and still go on, of this state and of the one before.
    answered: set[Permit] | None = None
    # The route of the last probe, if that failed.
    failed_route: Hashable | None = None

    def check_admission(
        self, now: float, is_active_probe: bool, source: Source | None = None
    ) -> Rejection | None:
        """The rejection of a call; None: it is admitted."""
        return None

    def admits_at(self, now: float) -> float:
        """The earliest time from `now` on at which a call is admitted; inf: only another event decides."""
        return now

    def admitted(self, number: int, now: float, source: Source | None = None) -> None:
        """Note that a call got permit `number`."""

    def is_outstanding(self, permit: Permit) -> bool:
        """Whether a permit of this generation is still outstanding."""
        return True

    def settle(self, number: int, outcome: Outcome, now: float, duration: float | None) -> NextState | None:
        """Count the end of a call with a permit; the next state, if it causes one."""
        return None

    def answer(self, permit: Permit, now: float, duration: float | None) -> NextState | None:
        """Note that the dependency has answered a call that goes on; the next state, if it causes one."""
        return None

    def release(self, number: int, now: float) -> None:
        """Take back the permit of a call that never began."""

    def fail_again(self, number: int, now: float) -> NextState | None:
        """Count one failure more of a call that was settled; the next state, if it causes one."""
        return None

    def wake(self, now: float) -> NextState | None:
        """Let time pass until `now`; the next state, if it causes one."""
        return None

    def configure(self, config: CircuitBreakerConfig, now: float) -> None:
        """Take a new policy in place."""


class Closed(StateBehavior):
    """Counts. After a recovery, `ramp_from` is when admission began to grow.

    answered: probes that have answered; their ends count here. counter: None: a fresh one of the strategy.
    learning: what a strategy that learns keeps; it gives the ramp unless the policy has one.
    """

    __slots__ = ("_config", "_learning", "_ramp", "_running", "_slow", "answered", "counter")

    def __init__(
        self,
        config: CircuitBreakerConfig,
        ramp_from: float | None = None,
        answered: set[Permit] | None = None,
        counter: TripCounter | None = None,
        learning: Learning | None = None,
    ) -> None:
        self._config = config
        self._learning = learning
        self.answered = answered
        self.counter = config.strategy.counter() if counter is None else counter
        self._ramp: Ramp | SlowStart | None = None
        if ramp_from is not None and config.ramp is not None:
            self._ramp = Ramp(ramp_from, config.ramp)
        elif ramp_from is not None and learning is not None:
            self._ramp = SlowStart(learning.tolerated, learning.break_even)
        # Only if running calls count (in_flight_slow): their starts, and the times of those found slow.
        self._running: dict[int, float] | None = None
        self._slow: dict[int, float] | None = None

    @property
    def failure_count(self) -> int:  # type: ignore[override]
        """The failures that the strategy counts now."""
        return self.counter.failure_count

    @property
    def slow_count(self) -> int:  # type: ignore[override]
        """The slow calls that the strategy counts now."""
        return self.counter.slow_count

    @property
    def admits_all(self) -> bool:
        """Whether every call is admitted without a message."""
        return self._ramp is None and not self._config.in_flight_slow

    @property
    def deadline(self) -> float | None:  # type: ignore[override]
        """The ramp's end, or when the oldest call becomes slow."""
        first = NEVER if self._ramp is None else self._ramp.end
        if self._running:
            first = min(first, next(iter(self._running.values())) + self._slow_after)
        return None if first == NEVER else first

    @property
    def _slow_after(self) -> float:
        threshold = self._config.strategy.slow_threshold
        return NEVER if threshold is None else threshold

    def check_admission(
        self, now: float, is_active_probe: bool, source: Source | None = None
    ) -> Rejection | None:
        """Only the ramp rejects calls."""
        if self._ramp is None or self._ramp.admit(now):
            return None
        return Rejection(State.CLOSED, RejectReason.RAMP, self._ramp.retry_after(now))

    def admits_at(self, now: float) -> float:
        """Now, or the next admission of the ramp."""
        return now if self._ramp is None else self._ramp.next_admission(now)

    def admitted(self, number: int, now: float, source: Source | None = None) -> None:
        """Note the call's start, if a slow call counts before it ends, or the ramp counts it."""
        if self._ramp is not None:
            self._ramp.started(number, now)
        if self._config.in_flight_slow:
            self._running = self._running if self._running is not None else {}
            self._running[number] = now

    def settle(self, number: int, outcome: Outcome, now: float, duration: float | None) -> NextState | None:
        """Count the call, unless it is neutral. The next state, if that trips."""
        if self._running is not None:
            self._running.pop(number, None)
        if self._ramp is not None and self._ramp.ended(number, outcome):
            self._end_ramp(now)
        slow_from = None if self._slow is None else self._slow.pop(number, None)
        if outcome in NEUTRAL:
            return None
        self.counter.record(Call(outcome is Outcome.FAILURE, duration, slow_from), now)
        return self._judge(now)

    def succeeded(self, count: int, since: float) -> None:
        """Count successes that callers counted on the gate: none of them trips."""
        self.counter.record(SUCCESS, since, count)

    def release(self, number: int, now: float) -> None:
        """Forget the call."""
        if self._running is not None:
            self._running.pop(number, None)
        if self._ramp is not None:
            self._ramp.ended(number, Outcome.CANCELLED)

    def fail_again(self, number: int, now: float) -> NextState | None:
        """Count one failure more. The next state, if that trips."""
        self.counter.record(Call(failed=True), now)
        return self._judge(now)

    def wake(self, now: float) -> NextState | None:
        """Move the window, end the ramp, count running calls that have become slow."""
        self.counter.advance(now)
        if self._ramp is not None and self._ramp.wake(now):
            self._end_ramp(now)
        for number, start in list((self._running or {}).items()):
            if now < start + self._slow_after:
                break
            assert self._running is not None
            del self._running[number]
            self._slow = self._slow if self._slow is not None else {}
            self._slow[number] = now - start
            self.counter.record_slow_in_flight(now, now - start)
            if next_state := self._judge(now):
                return next_state
        return None

    def configure(self, config: CircuitBreakerConfig, now: float) -> None:
        """Take a new policy. The counts stay if its strategy still counts the same thing."""
        if config.strategy != self._config.strategy:
            older, self.counter = self.counter, config.strategy.counter()
            self.counter.inherit_from(older)
        self._config = config

    def _end_ramp(self, now: float) -> None:
        self._ramp = None
        if self._learning is not None:
            self._learning.unlimited(now)

    def learn_with(self, learning: Learning | None, now: float) -> None:
        """Count for what a new strategy learns. A ramp that an older one gave ends."""
        self._learning = learning
        if learning is not None:
            self.counter = learning.counter(now, recovered=False)
        if isinstance(self._ramp, SlowStart):
            self._ramp = None

    def _judge(self, now: float) -> NextState | None:
        return NextState(State.OPEN, self.counter.reason) if self.counter.tripped(now) else None


class Open(StateBehavior):
    """Rejects every call until the wait is over."""

    __slots__ = ("deadline", "failed_route")

    def __init__(self, until: float, failed_route: Hashable | None = None) -> None:
        self.deadline = until
        self.failed_route = failed_route

    def check_admission(
        self, now: float, is_active_probe: bool, source: Source | None = None
    ) -> Rejection | None:
        """Reject every call, with the time left."""
        assert self.deadline is not None
        return Rejection(State.OPEN, RejectReason.OPEN, self.deadline - now)

    def admits_at(self, now: float) -> float:
        """Never by itself: the state after the wait decides."""
        return NEVER

    def wake(self, now: float) -> NextState | None:
        """HALF_OPEN when the wait is over."""
        assert self.deadline is not None
        return NextState(State.HALF_OPEN, "attempting recovery") if now >= self.deadline else None


class SharedOpen(Open):
    """Open for all instances that share the breaker: one of them probes, by a lease.

    deadline: the end of the shared wait, or of the time for which the last news of it is good, if that is
        later. Without more news by then this instance recovers as one that shares nothing.
    own_until: the end of the wait that this instance began by itself; None: it was opened by the others.
    """

    __slots__ = ("own_until",)

    def __init__(
        self, until: float, failed_route: Hashable | None = None, own_until: float | None = None
    ) -> None:
        super().__init__(until, failed_route)
        self.own_until = own_until


class Forced(StateBehavior):
    """Rejects every call until an operator's command."""

    __slots__ = ()

    def check_admission(
        self, now: float, is_active_probe: bool, source: Source | None = None
    ) -> Rejection | None:
        """Reject every call: only an operator's command ends this."""
        return Rejection(State.FORCED_OPEN, RejectReason.FORCED, RETRY_FORCED)

    def admits_at(self, now: float) -> float:
        """Never by itself: only an operator's command ends this."""
        return NEVER


class Disabled(StateBehavior):
    """Admits everything and records nothing."""

    __slots__ = ()
