"""The rules of a circuit breaker, pure: no clock, no task, no I/O.

`now` is any float that never goes back. Each message first lets time pass (`wake`), then is
answered. A generation is one stay in one state; what a permit of an earlier one brings is late.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from ..messages import UNRECORDED, Outcome, Permit, Rejection, Snapshot, Source, State, Transition
from ..policy.config import CircuitBreakerConfig
from .half_open import HalfOpen
from .observing import Observing, shadow_policy
from .states import NEVER, Closed, Disabled, Forced, NextState, Open, StateBehavior
from .statistics import Statistics

NOT_ADMITTING = (State.OPEN, State.HALF_OPEN, State.FORCED_OPEN)


class RecoveryState(NamedTuple):
    """The state that a crashed actor's successor carries on with; windows start empty."""

    state: State
    generation: int
    until: float | None
    attempt: int
    failures: int
    slow: int
    consecutive_failures: int
    opened_at: float | None


class Machine:
    """One breaker's state and rules. `statistics` is what it counts for others."""

    __slots__ = (
        "_attempt",
        "_behavior",
        "_chance",
        "_events",
        "_failures_at_opening",
        "_number",
        "_slow_at_opening",
        "config",
        "generation",
        "opened_at",
        "state",
        "statistics",
    )

    def __init__(self, config: CircuitBreakerConfig, *, now: float = 0.0) -> None:
        self.config = config
        self.state = State.CLOSED
        self.generation = 1
        self.opened_at: float | None = None
        self.statistics = Statistics(now)
        self._behavior: StateBehavior = Closed(config)
        self._events: list[Transition] | None = None
        self._chance: random.Random | None = None
        self._number = 0
        self._attempt = 0
        self._failures_at_opening = self._slow_at_opening = 0

    @classmethod
    def restored(
        cls, config: CircuitBreakerConfig, recovery_state: RecoveryState, statistics: Statistics, now: float
    ) -> Machine:
        """The successor of a machine that broke: same state, next generation, permits forgotten."""
        machine = cls(config, now=now)
        machine.statistics = statistics
        machine.state, machine.generation = recovery_state.state, recovery_state.generation + 1
        machine._attempt = recovery_state.attempt
        machine.opened_at = recovery_state.opened_at
        machine._failures_at_opening, machine._slow_at_opening = recovery_state.failures, recovery_state.slow
        machine._behavior = machine._new_behavior(recovery_state.state, now, recovery_state.until)
        if isinstance(machine._behavior, Closed):
            machine._behavior.counter.restore(recovery_state.consecutive_failures)
        return machine

    def recovery_state(self) -> RecoveryState:
        """The argument for `restored`."""
        stay = self._behavior
        return RecoveryState(
            self.state,
            self.generation,
            stay.deadline if self.state is State.OPEN else None,
            self._attempt,
            self.failure_count,
            self.slow_count,
            stay.counter.consecutive_failures if isinstance(stay, Closed) else 0,
            self.opened_at,
        )

    # What callers ask.

    def admit(
        self, now: float, *, is_active_probe: bool = False, source: Source | None = None
    ) -> Permit | Rejection:
        """A permit for one call, or a falsy Rejection.

        own_probe: the breaker's own `probe` asks. source: where the call comes from; for a second after a
        probe failed or was cancelled, the next is kept for others.
        """
        self.wake(now)
        rejection = self._behavior.check_admission(now, is_active_probe, source)
        if rejection is not None:
            self.statistics.rejected(rejection.reason)
            return rejection
        if self.state is State.DISABLED:
            return Permit(self.generation, UNRECORDED)
        self._number += 1
        permit = Permit(self.generation, self._number, self.state is State.HALF_OPEN)
        self._behavior.admitted(permit.number, now, source)
        self.statistics.in_flight += 1
        return permit

    def settle(
        self,
        permit: Permit,
        outcome: Outcome,
        now: float,
        duration: float | None = None,
        *,
        retry_after: float | None = None,
        error: str | None = None,
    ) -> bool:
        """Count how a permitted call ended; False where it came late and changed nothing.

        duration: seconds it took. retry_after: seconds the server asked to wait. error: for people.
        """
        self.wake(now)
        # A probe that timed out, or was settled before, has no permit any more.
        in_time = self.is_outstanding(permit)
        if permit.number == UNRECORDED:
            return in_time
        if in_time:
            if self._behavior.answered:
                self._behavior.answered.discard(permit)
            self._go(self._behavior.settle(permit.number, outcome, now, duration), now, retry_after)
        # Counted last: an actor that crashes in the rules is handed this message again.
        self.statistics.settled(outcome, error, late=not in_time)
        return in_time

    def answered(self, permit: Permit, now: float, duration: float | None = None) -> None:
        """The dependency has answered a call that goes on; changes nothing unless that is a probe.

        The answer is the probe's success, or its failure where it was slow. Once the breaker has closed, the
        call's end counts as that of any call of the new generation. duration: seconds until the answer.
        """
        self.wake(now)
        if permit.generation == self.generation and permit.number != UNRECORDED:
            self._go(self._behavior.answer(permit, now, duration), now)

    def is_outstanding(self, permit: Permit) -> bool:
        """Whether the end of a call would count now: its permit is neither settled nor late."""
        answered = self._behavior.answered
        if answered is not None and permit in answered:
            return True
        return permit.generation == self.generation and self._behavior.is_outstanding(permit)

    def fail_again(self, permit: Permit, now: float, error: str | None = None) -> bool:
        """One failure more of a call that was settled before its end, such as a stream that broke."""
        self.wake(now)
        in_time = permit.generation == self.generation
        if permit.number == UNRECORDED:
            return in_time
        if in_time:
            self._go(self._behavior.fail_again(permit.number, now), now)
        self.statistics.in_flight += 1
        self.statistics.settled(Outcome.FAILURE, error, late=not in_time)
        return in_time

    def give_back(self, permit: Permit, now: float) -> None:
        """Take back a permit whose call never began."""
        self.wake(now)
        if permit.number == UNRECORDED:
            return
        if permit.generation == self.generation:
            self._behavior.release(permit.number, now)
        self.statistics.in_flight -= 1

    def fold(
        self, started: int, successes: int, ignored: int, cancelled: int, since: float, *, late: bool = False
    ) -> None:
        """Count what callers tallied since `since`: successes in one run. late: in another generation."""
        self.statistics.folded(started, successes, ignored, cancelled, late=late)
        if successes and not late and isinstance(self._behavior, Closed):
            self._behavior.succeeded(successes, since)

    # What time does.

    @property
    def deadline(self) -> float | None:
        """When `wake` next changes something by itself; None: only messages do."""
        return self._behavior.deadline

    def wake(self, now: float) -> None:
        """Let time pass until `now`. At exactly its moment a deadline has come."""
        self._go(self._behavior.wake(now), now)

    # What operators ask.

    def trip(self, now: float, reason: str = "tripped by operator") -> None:
        """Open now, from any state. While it is open, the wait starts again."""
        self.wake(now)
        if self.state is State.OPEN:
            self._behavior = Open(now + self._wait(None), self._behavior.failed_route)
        else:
            self._go(NextState(State.OPEN, reason), now)

    def reset(self, now: float, reason: str = "reset by operator") -> None:
        """Close now, from any state, with counters, ramp and backoff cleared.

        A new generation begins also while CLOSED: calls that run come late.
        """
        self.wake(now)
        if self.state is State.CLOSED:
            # No transition, yet what began before speaks of another time: it comes late.
            self.generation += 1
            self._behavior = Closed(self.config)
        else:
            self._go(NextState(State.CLOSED, reason), now)

    def end_wait(self, now: float) -> None:
        """The breaker's own probe has passed: become HALF_OPEN if it is OPEN, else do nothing."""
        self.wake(now)
        if self.state is State.OPEN:
            self._go(NextState(State.HALF_OPEN, "probe succeeded"), now)

    def hold(self, state: State, now: float, reason: str) -> None:
        """Stay FORCED_OPEN, DISABLED or OBSERVING until an operator's next command."""
        self.wake(now)
        if self.state is not state:
            self._attempt = 0
            self._go(NextState(state, reason), now)

    def configure(self, config: CircuitBreakerConfig, now: float) -> None:
        """Take a new policy in place. State, generation and the running wait stay.

        What was counted stays where the trip strategy still counts the same thing. Raises ValueError
        where the name differs.
        """
        self.wake(now)
        if config.name != self.config.name:
            raise ValueError(f"name must stay {self.config.name!r}, got {config.name!r}")
        if config.backoff != self.config.backoff:
            self._chance = None
        self._behavior.configure(config, now)
        self.config = config
        self.wake(now)

    # What is seen.

    @property
    def admits_all(self) -> bool:
        """Whether every call is admitted without asking."""
        stay = self._behavior
        return stay.admits_all if isinstance(stay, Closed) else self.state is State.DISABLED

    @property
    def batches_successes(self) -> bool:
        """Whether callers may tally successes of this generation in place of settling them."""
        stay = self._behavior
        return isinstance(stay, Closed) and stay.counter.can_batch_successes()

    def next_roll(self, now: float) -> float | None:
        """When tallied successes must be folded, so that a time window stays right; None: never."""
        stay = self._behavior
        return stay.counter.next_roll(now) if isinstance(stay, Closed) else None

    @property
    def failure_count(self) -> int:
        """The failures that the trip strategy counts now; while open, those at its opening."""
        if self.state in NOT_ADMITTING:
            return self._failures_at_opening
        return self._behavior.failure_count

    @property
    def slow_count(self) -> int:
        """The slow calls that the trip strategy counts now; while open, those at its opening."""
        return self._slow_at_opening if self.state in NOT_ADMITTING else self._behavior.slow_count

    def admits_at(self, now: float) -> float:
        """The earliest time from `now` on at which a call is admitted; inf: only another event can tell."""
        return self._behavior.admits_at(now)

    @property
    def until(self) -> float:
        """The time until which calls are rejected without consulting the actor; -inf if they are not."""
        if self.state is State.FORCED_OPEN:
            return NEVER
        return self._behavior.deadline or -NEVER if self.state is State.OPEN else -NEVER

    def drain(self) -> list[Transition]:
        """The transitions since the last call of this method, oldest first."""
        if not self._events:
            return []
        events, self._events = self._events, None
        return events

    def snapshot(self, now: float) -> Snapshot:
        """Everything at `now`; time passes until then first."""
        self.wake(now)
        return Snapshot(
            name=self.config.name,
            state=self.state,
            generation=self.generation,
            failure_count=self.failure_count,
            slow_count=self.slow_count,
            opened_at=self.opened_at,
            retry_after=self.until - now if self.state is State.OPEN else None,
            **self.statistics.entries(),
        )

    # Transitions.

    def _go(self, move: NextState | None, now: float, retry_after: float | None = None) -> None:
        if move is None:
            return
        until = None
        if self.state is not State.OPEN:
            self._failures_at_opening, self._slow_at_opening = self.failure_count, self.slow_count
        if move.state is State.OPEN:
            self._attempt += move.recovery
            until = now + self._wait(retry_after)
        elif move.state is State.CLOSED:
            self._attempt = 0
        old, self.state = self.state, move.state
        self.generation += 1
        self._behavior = self._new_behavior(move.state, now, until, recovery=move.recovery)
        self._note_outage(now)
        self.statistics.moved(old, move.state, now, move.reason)
        wait = None if until is None else until - now
        self._tell(
            Transition(self.config.name, old, move.state, move.reason, self.generation, now, retry_after=wait)
        )

    def _new_behavior(
        self, state: State, now: float, until: float | None, *, recovery: bool = False
    ) -> StateBehavior:
        """The stay after the present one. recovery: it is the end of one."""
        match state:
            case State.CLOSED if recovery:
                return Closed(self.config, now, self._behavior.answered)
            case State.CLOSED:
                return Closed(self.config)
            case State.OPEN:
                assert until is not None
                return Open(until, self._behavior.failed_route if recovery else None)
            case State.HALF_OPEN:
                return HalfOpen(self.config, now, self._behavior.failed_route)
            case State.FORCED_OPEN:
                return Forced()
            case State.DISABLED:
                return Disabled()
            case State.OBSERVING:  # pragma: no branch - there is no other
                return Observing(Machine(shadow_policy(self.config)), self.statistics, self._tell)

    def _tell(self, event: Transition) -> None:
        if self._events is None:
            self._events = []
        self._events.append(event)

    def _wait(self, retry_after: float | None) -> float:
        backoff = self.config.backoff
        if self._chance is None and backoff.jitter:
            seed = backoff.seed
            self._chance = random.Random() if seed is None else random.Random(f"{seed} {self.config.name}")
        return backoff.wait(self.config.reset_timeout, self._attempt, self._chance, retry_after)

    def _note_outage(self, now: float) -> None:
        if self.state in (State.OPEN, State.FORCED_OPEN):
            self.opened_at = now if self.opened_at is None else self.opened_at
        elif self.state is not State.HALF_OPEN:
            if self.state is State.CLOSED and self.opened_at is not None:
                self.statistics.recovered(now - self.opened_at)
            self.opened_at = None
