"""The model's state: its memory, its transitions, and its snapshot."""

from __future__ import annotations

from typing import NamedTuple, Self

from actors import CircuitBreakerConfig, ConsecutiveFailures, Outcome, RejectReason, Source, State
from tests.actors.model.counting import CountedCall, failures, slow_calls, trips, window


class Admission(NamedTuple):
    """The permit of one call. answered: its dependency has answered, and the call goes on.

    passed: the answer has counted as a probe. failed_slow: that answer was too slow, so the probe has failed.
    """

    generation: int
    state: State
    began: float
    probe_ends: float = float("inf")
    slow_from: float | None = None
    source: Source | None = None
    answered: bool = False
    passed: bool = False
    failed_slow: bool = False


class Exclusion(NamedTuple):
    """The client or route that must not send the next probe, and until when."""

    whom: object = None
    until: float = 0.0

    def keeps_out(self, who: object, now: float) -> bool:
        return who is not None and who == self.whom and now < self.until


class ModelRejection(NamedTuple):
    """A rejection of the model. wait: seconds after which to try again."""

    reason: RejectReason
    wait: float


class ReferenceState:
    """`config` is the policy under test, read as data."""

    shadow: Self | None
    """The same rules under OBSERVING, where they reject no call."""

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self.config = config
        self.state = State.CLOSED
        self.generation = 1
        self.until: float | None = None
        self.attempt = 0
        self.heard: list[CountedCall] = []
        self.row = 0
        self.at_opening = self.slow_at_opening = 0
        self.passes: dict[int, Admission] = {}
        self.successes = self.probe_failures = 0
        self.failed_source: Source | None = None
        self.failed_route: object = None
        self.kept_route = self.kept_client = Exclusion()
        self.next_probe: float | None = None
        self.ramp: tuple[float, float] | None = None
        self.ramp_asked: list[float] = []
        self.shadow = None
        self.counts = dict.fromkeys(Outcome, 0)
        self.rejections = dict.fromkeys(RejectReason, 0)
        self.late = 0
        self.would_reject = 0

    def copy(self) -> Self:
        """A copy that shares nothing with this one."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        other.heard, other.ramp_asked, other.passes = self.heard[:], self.ramp_asked[:], self.passes.copy()
        other.counts, other.rejections = self.counts.copy(), self.rejections.copy()
        other.shadow = None if self.shadow is None else self.shadow.copy()
        return other

    def key(self) -> tuple[object, ...]:
        """Equal keys mean that two models behave the same from here on."""
        kept = (
            self.heard,
            self.ramp_asked,
            self.passes.items(),
            self.counts.values(),
            self.rejections.values(),
        )
        return (
            self.state,
            self.generation,
            self.until,
            self.attempt,
            self.row,
            self.at_opening,
            self.slow_at_opening,
            self.successes,
            self.probe_failures,
            self.failed_source,
            self.ramp,
            self.failed_route,
            self.kept_route,
            self.kept_client,
            self.next_probe,
            self.late,
            self.would_reject,
            id(self.config),
            self.shadow and self.shadow.key(),
            *map(tuple, kept),
        )

    # Readings.

    def failures(self, now: float) -> int:
        """The failures that count now, or that counted at the opening."""
        if self.state in (State.OPEN, State.HALF_OPEN, State.FORCED_OPEN):
            return self.at_opening
        if self.shadow is not None:
            return self.shadow.failures(now)
        return failures(self.config.strategy, self.heard, self.row, now)

    def slow(self, now: float) -> int:
        """The slow calls that count now, or that counted at the opening."""
        if self.state in (State.OPEN, State.HALF_OPEN, State.FORCED_OPEN):
            return self.slow_at_opening
        if self.shadow is not None:
            return self.shadow.slow(now)
        return slow_calls(self.config.strategy, self.heard, now) if self.state is State.CLOSED else 0

    def reading(self, now: float) -> dict[str, object]:
        """Everything that a snapshot shows of the rules."""
        self.wake(now)
        return {
            "state": self.state,
            "generation": self.generation,
            "failures": self.failures(now),
            "slow": self.slow(now),
            "retry_after": None if self.until is None else self.until - now,
            "counts": {outcome.value: count for outcome, count in self.counts.items()},
            "rejections": {reason.value: count for reason, count in self.rejections.items()},
            "late": self.late,
            "would_reject": self.would_reject,
            "in_flight": sum(each.state is not State.DISABLED for each in self.passes.values()),
        }

    # Transitions.

    def _open(self, now: float, server_wait: float | None) -> None:
        self._note_counts(now)
        self._enter(State.OPEN)
        self.failed_route = None
        self.until = now + self._wait(server_wait)
        self._probe_next(now)

    def _reopen(self, now: float, server_wait: float | None, source: Source | None) -> None:
        self.attempt += 1
        self._open(now, server_wait)
        self.failed_route = None if source is None else source.route

    def _half_open(self, now: float) -> None:
        self._enter(State.HALF_OPEN)
        self.kept_route = Exclusion(self.failed_route, now + 1)

    def _recover(self, now: float) -> None:
        recovered = self.generation
        self._enter(State.CLOSED)
        for number, each in self.passes.items():
            if each.passed and each.generation == recovered:
                self.passes[number] = each._replace(generation=self.generation)
        self._forget()
        self.ramp = None if self.config.ramp is None else (now, self.config.ramp)

    def _enter(self, state: State) -> None:
        self.state = state
        self.generation += 1
        self.until = self.next_probe = None
        self.kept_route = self.kept_client = Exclusion()
        self.successes = self.probe_failures = 0
        self.failed_source = None
        self.ramp = None
        self.ramp_asked = []
        self.shadow = None

    def _forget(self) -> None:
        self.heard = []
        self.row = 0
        self.attempt = 0
        self.ramp = None

    def _note_counts(self, now: float) -> None:
        self.at_opening, self.slow_at_opening = self.failures(now), self.slow(now)

    def _probe_next(self, now: float) -> None:
        interval = self.config.probe_interval
        self.next_probe = None if interval is None else now + interval

    def _wait(self, server_wait: float | None) -> float:
        wait = self.config.reset_timeout * self.config.backoff.factor**self.attempt
        longest = self.config.backoff.maximum
        if longest is not None:
            wait = min(wait, longest)
        if server_wait is None or not 0 < server_wait < 10**7:
            return wait
        return max(wait, min(server_wait, 600.0 if longest is None else longest))

    def _trips(self, now: float) -> bool:
        return trips(self.config.strategy, self.heard, self.row, now)

    def _row(self, now: float) -> int:
        return window(ConsecutiveFailures(1), self.heard, self.row, now)[1]

    def _running(self) -> list[Admission]:
        return [each for each in self.passes.values() if each.generation == self.generation]
