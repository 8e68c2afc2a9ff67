"""The rules of a circuit breaker, pure: no clock, no task, no I/O.

`now` is any float that never goes back. Each message first lets time pass (`wake`), then is
answered. A generation is one stay in one state; what a permit of an earlier one brings is late.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from actors.config import CircuitBreakerConfig
from actors.ledger import Ledger
from actors.ramp import Ramp
from actors.trip import SUCCESS, Call
from protocols.breaker import Outcome, Permit, Rejection, RejectReason, Snapshot, State, Transition

NEVER = float("inf")
UNRECORDED = -1
"""The number of every permit of a disabled breaker, which records nothing."""


class Memory(NamedTuple):
    """What a crashed actor's successor carries on with; windows start empty."""

    state: State
    generation: int
    until: float | None
    attempt: int
    failures: int
    row: int
    opened_at: float | None


class Machine:
    """One breaker's state and rules. `ledger` is what it counts for others."""

    def __init__(self, config: CircuitBreakerConfig, *, now: float = 0.0) -> None:
        self.config = config
        self.state = State.CLOSED
        self.generation = 1
        self.opened_at: float | None = None
        self.ledger = Ledger(now)
        self._events: list[Transition] = []
        self._chance = _chance(config)
        self._number = 0
        self._until: float | None = None
        self._attempt = 0
        self._successes = 0
        self._probes: dict[int, float] = {}
        self._running: dict[int, float] = {}
        self._slow: dict[int, float] = {}
        self._ramp: Ramp | None = None
        self._shadow: Machine | None = None
        self._shadow_permits: dict[int, Permit] = {}
        self._counter = config.strategy.counter()
        self._failures_at_opening = 0

    @classmethod
    def restored(cls, config: CircuitBreakerConfig, memory: Memory, ledger: Ledger, now: float) -> Machine:
        """The successor of a machine that broke: same state, next generation, permits forgotten."""
        machine = cls(config, now=now)
        machine.ledger = ledger
        machine.state, machine.generation = memory.state, memory.generation + 1
        machine._until, machine._attempt = memory.until, memory.attempt
        machine.opened_at, machine._failures_at_opening = memory.opened_at, memory.failures
        machine._counter.restore(memory.row)
        if memory.state is State.OBSERVING:
            machine._shadow = cls(config, now=now)
        return machine

    def memory(self) -> Memory:
        """What `restored` needs."""
        return Memory(
            self.state,
            self.generation,
            self._until,
            self._attempt,
            self.failure_count,
            self._counter.row,
            self.opened_at,
        )

    # What callers ask.

    def admit(self, now: float, *, own_probe: bool = False) -> Permit | Rejection:
        """A permit for one call, or a falsy Rejection. own_probe: the breaker's own `probe` asks."""
        self.wake(now)
        rejection = self._rejection(now, own_probe)
        if rejection is not None:
            self.ledger.rejections[rejection.reason] += 1
            return rejection
        if self.state is State.DISABLED:
            return Permit(self.generation, UNRECORDED)
        self._number += 1
        permit = Permit(self.generation, self._number, self.state is State.HALF_OPEN)
        self._note_admitted(permit.number, now)
        self.ledger.in_flight += 1
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
        in_time = self._is_current(permit)
        if permit.number == UNRECORDED:
            return in_time
        if in_time:
            self._apply(permit, outcome, now, duration, retry_after)
        # Counted last: an actor that crashes in the rules is handed this message again.
        self.ledger.settled(outcome, error, late=not in_time)
        return in_time

    def fail_again(self, permit: Permit, now: float, error: str | None = None) -> bool:
        """One failure more of a call that was settled before its end, such as a stream that broke."""
        self.wake(now)
        in_time = permit.generation == self.generation
        if permit.number == UNRECORDED:
            return in_time
        if in_time and self.state is State.HALF_OPEN:
            self._settle_probe(Outcome.FAILURE, now, None, None)
        elif in_time and self.state is State.CLOSED:
            self._settle_closed(permit.number, Outcome.FAILURE, now, None, None)
        self.ledger.in_flight += 1
        self.ledger.settled(Outcome.FAILURE, error, late=not in_time)
        return in_time

    def give_back(self, permit: Permit, now: float) -> None:
        """Take back a permit whose call never began."""
        self.wake(now)
        if permit.number == UNRECORDED:
            return
        self.ledger.in_flight -= 1
        if permit.generation == self.generation:
            self._probes.pop(permit.number, None)
            self._running.pop(permit.number, None)
            self._settle_observed(permit.number, Outcome.CANCELLED, now, None)

    def fold(
        self, started: int, successes: int, ignored: int, cancelled: int, since: float, *, late: bool = False
    ) -> None:
        """Count what callers tallied since `since`: successes in one run. late: in another generation."""
        self.ledger.folded(started, successes, ignored, cancelled, late=late)
        if successes and not late and self.state is State.CLOSED:
            self._counter.record(SUCCESS, since, successes)

    # What time does.

    @property
    def deadline(self) -> float | None:
        """When `wake` next changes something by itself; None where only messages do."""
        first: float | None = None
        match self.state:
            case State.OPEN:
                first = self._until
            case State.HALF_OPEN:
                first = min(self._probes.values(), default=None)
            case State.CLOSED:
                first = self._closed_deadline()
            case State.OBSERVING if self._shadow is not None:
                first = self._shadow.deadline
        return None if first == NEVER else first

    def wake(self, now: float) -> None:
        """Let time pass until `now`. At exactly its moment a deadline has come."""
        self._counter.advance(now)
        if self._shadow is not None:
            self._shadow._counter.advance(now)
        deadline = self.deadline
        if deadline is None or now < deadline:
            return
        match self.state:
            case State.OPEN:
                self._enter(State.HALF_OPEN, now, "attempting recovery")
            case State.HALF_OPEN:
                self._reopen(now, "recovery timed out", None)
            case State.CLOSED:
                self._wake_closed(now)
            case State.OBSERVING if self._shadow is not None:
                self._shadow.wake(now)
                self._tell_observed()

    # What operators ask.

    def trip(self, now: float, reason: str = "tripped by operator") -> None:
        """Open now, from any state. While it is open, the wait starts again."""
        self.wake(now)
        if self.state is State.OPEN:
            self._until = now + self._wait(None)
        else:
            self._open(now, reason, None)

    def reset(self, now: float, reason: str = "reset by operator") -> None:
        """Close now, from any state, with counters, ramp and backoff cleared."""
        self.wake(now)
        if self.state is State.CLOSED:
            self._clear()
        else:
            self._close(now, reason)

    def hold(self, state: State, now: float, reason: str) -> None:
        """Stay FORCED_OPEN, DISABLED or OBSERVING until told otherwise."""
        self.wake(now)
        if self.state is state:
            return
        self._failures_at_opening = self.failure_count
        self._clear()
        self._enter(state, now, reason)
        if state is State.OBSERVING:
            self._shadow = Machine(self.config, now=now)

    def configure(self, config: CircuitBreakerConfig, now: float) -> None:
        """Take a new policy in place. State, generation and the running wait stay.

        What was counted stays where the trip strategy still counts the same thing. Raises ValueError
        where the name differs.
        """
        self.wake(now)
        if config.name != self.config.name:
            raise ValueError(f"name must stay {self.config.name!r}, got {config.name!r}")
        if config.strategy != self.config.strategy:
            older, self._counter = self._counter, config.strategy.counter()
            self._counter.resume(older)
        if config.backoff != self.config.backoff:
            self._chance = _chance(config)
        self.config = config
        if self._shadow is not None:
            self._shadow.configure(config, now)

    # What is seen.

    @property
    def admits_all(self) -> bool:
        """Whether every call is admitted without asking."""
        if self.state is State.CLOSED:
            return self._ramp is None and not self.config.in_flight_slow
        return self.state is State.DISABLED

    @property
    def tallies(self) -> bool:
        """Whether callers may tally successes of this generation in place of settling them."""
        return self.state is State.CLOSED and self._counter.quiet()

    def next_roll(self, now: float) -> float | None:
        """When tallied successes must be folded, so that a time window stays right; None: never."""
        return self._counter.next_roll(now) if self.state is State.CLOSED else None

    @property
    def failure_count(self) -> int:
        """What the trip strategy counts now; while open, what it counted when it opened."""
        if self.state in (State.OPEN, State.HALF_OPEN, State.FORCED_OPEN):
            return self._failures_at_opening
        return self._shadow.failure_count if self._shadow is not None else self._counter.failure_count

    @property
    def until(self) -> float:
        """Before when callers are rejected without asking; in the past where they aren't."""
        if self.state is State.FORCED_OPEN:
            return NEVER
        return -NEVER if self._until is None else self._until

    def drain(self) -> list[Transition]:
        """The transitions since it was last asked, oldest first."""
        events, self._events = self._events, []
        return events

    def snapshot(self, now: float) -> Snapshot:
        """Everything at `now`; time passes until then first."""
        self.wake(now)
        ledger = self.ledger
        return Snapshot(
            name=self.config.name,
            state=self.state,
            generation=self.generation,
            failure_count=self.failure_count,
            opened_at=self.opened_at,
            retry_after=None if self._until is None else self._until - now,
            last_failure=ledger.last_failure,
            last_reason=ledger.last_reason,
            in_flight=ledger.in_flight,
            counts=ledger.outcomes(),
            rejections={reason.value: count for reason, count in ledger.rejections.items()},
            late=ledger.late,
            would_reject=ledger.would_reject,
            transitions=dict(ledger.transitions),
            changed_at=ledger.changed_at,
            recovery=ledger.recovery.histogram(),
        )

    # Rules: admission.

    def _rejection(self, now: float, own_probe: bool) -> Rejection | None:
        match self.state:
            case State.OPEN:
                assert self._until is not None
                return Rejection(self.state, RejectReason.OPEN, self._until - now)
            case State.FORCED_OPEN:
                return Rejection(self.state, RejectReason.FORCED, None)
            case State.HALF_OPEN if self.config.probe is not None and not own_probe:
                return Rejection(self.state, RejectReason.PROBING, None)
            case State.HALF_OPEN if len(self._probes) >= self.config.half_open_max_calls:
                return Rejection(self.state, RejectReason.PROBING, None)
            case State.CLOSED if self._ramp is not None and not self._ramp.admit(now):
                return Rejection(self.state, RejectReason.RAMP, self._ramp.end - now)
        return None

    def _note_admitted(self, number: int, now: float) -> None:
        match self.state:
            case State.HALF_OPEN:
                timeout = self.config.half_open_timeout
                self._probes[number] = NEVER if timeout is None else now + timeout
            case State.OBSERVING if self._shadow is not None:
                answer = self._shadow.admit(now)
                if isinstance(answer, Permit):
                    self._shadow_permits[number] = answer
                else:
                    self.ledger.would_reject += 1
                self._tell_observed()
            case State.CLOSED if self.config.in_flight_slow:
                self._running[number] = now

    # Rules: outcomes.

    def _is_current(self, permit: Permit) -> bool:
        """A probe that timed out, or was settled before, has no permit any more."""
        if permit.generation != self.generation:
            return False
        return not permit.probe or permit.number in self._probes

    def _apply(
        self, permit: Permit, outcome: Outcome, now: float, duration: float | None, retry_after: float | None
    ) -> None:
        if self.state is State.OBSERVING:
            self._settle_observed(permit.number, outcome, now, duration)
        elif permit.probe:
            del self._probes[permit.number]
            self._settle_probe(outcome, now, duration, retry_after)
        elif self.state is State.CLOSED:
            self._settle_closed(permit.number, outcome, now, duration, retry_after)

    def _settle_closed(
        self, number: int, outcome: Outcome, now: float, duration: float | None, retry_after: float | None
    ) -> None:
        self._running.pop(number, None)
        slow_from = self._slow.pop(number, None)
        if outcome in (Outcome.IGNORED, Outcome.CANCELLED):
            return
        self._counter.record(Call(outcome is Outcome.FAILURE, duration, slow_from), now)
        if self._counter.tripped(now):
            self._open(now, self._counter.reason, retry_after)

    def _settle_probe(
        self, outcome: Outcome, now: float, duration: float | None, retry_after: float | None
    ) -> None:
        if outcome in (Outcome.IGNORED, Outcome.CANCELLED):
            return
        if outcome is Outcome.FAILURE or self._is_slow(duration):
            self._reopen(now, "recovery failed", retry_after)
            return
        self._successes += 1
        if self._successes >= self.config.successes_to_close:
            self._close(now, "recovery successful")
            if self.config.ramp is not None:
                self._ramp = Ramp(now, self.config.ramp)

    def _settle_observed(self, number: int, outcome: Outcome, now: float, duration: float | None) -> None:
        permit = self._shadow_permits.pop(number, None)
        if self._shadow is not None and permit is not None:
            self._shadow.settle(permit, outcome, now, duration)
            self._tell_observed()

    def _is_slow(self, duration: float | None) -> bool:
        threshold = self.config.strategy.slow_threshold
        return threshold is not None and duration is not None and duration >= threshold

    # Rules: time while closed.

    def _closed_deadline(self) -> float | None:
        ends = [] if self._ramp is None else [self._ramp.end]
        threshold = self.config.strategy.slow_threshold
        if self._running and threshold is not None:
            ends.append(next(iter(self._running.values())) + threshold)
        return min(ends, default=None)

    def _wake_closed(self, now: float) -> None:
        if self._ramp is not None and now >= self._ramp.end:
            self._ramp = None
        threshold = self.config.strategy.slow_threshold
        for number, start in list(self._running.items()):
            if threshold is None or now < start + threshold:
                break
            del self._running[number]
            self._slow[number] = now - start
            self._counter.running_slow(now, now - start)
            if self._counter.tripped(now):
                self._open(now, self._counter.reason, None)
                break

    # Transitions.

    def _wait(self, retry_after: float | None) -> float:
        backoff = self.config.backoff
        if retry_after is not None:
            return retry_after if backoff.maximum is None else min(retry_after, backoff.maximum)
        return backoff.wait(self.config.reset_timeout, self._attempt, self._chance)

    def _open(self, now: float, reason: str, retry_after: float | None) -> None:
        self._failures_at_opening = self.failure_count
        self._enter(State.OPEN, now, reason, now + self._wait(retry_after))

    def _reopen(self, now: float, reason: str, retry_after: float | None) -> None:
        self._attempt += 1
        self._open(now, reason, retry_after)

    def _close(self, now: float, reason: str) -> None:
        self._clear()
        self._enter(State.CLOSED, now, reason)

    def _clear(self) -> None:
        self._attempt = 0
        self._ramp = None
        self._counter = self.config.strategy.counter()

    def _enter(self, state: State, now: float, reason: str, until: float | None = None) -> None:
        old, self.state, self._until = self.state, state, until
        self.generation += 1
        self._successes = 0
        self._probes.clear()
        self._running.clear()
        self._slow.clear()
        self._shadow = None
        self._shadow_permits.clear()
        self._ramp = None
        self._note_outage(now)
        self.ledger.moved(old, state, now, reason)
        wait = None if until is None else until - now
        self._events.append(
            Transition(self.config.name, old, state, reason, self.generation, now, retry_after=wait)
        )

    def _note_outage(self, now: float) -> None:
        if self.state in (State.OPEN, State.FORCED_OPEN):
            self.opened_at = now if self.opened_at is None else self.opened_at
        elif self.state is not State.HALF_OPEN:
            if self.state is State.CLOSED and self.opened_at is not None:
                self.ledger.recovery.observe(now - self.opened_at)
            self.opened_at = None

    def _tell_observed(self) -> None:
        if self._shadow is not None:
            for event in self._shadow.drain():
                self._events.append(
                    Transition(
                        event.name,
                        event.old,
                        event.new,
                        event.reason,
                        self.generation,
                        event.time,
                        retry_after=event.retry_after,
                        observed=True,
                    )
                )


def _chance(config: CircuitBreakerConfig) -> random.Random:
    seed = config.backoff.seed
    return random.Random() if seed is None else random.Random(f"{seed} {config.name}")
