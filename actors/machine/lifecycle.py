"""The present state of a breaker, its generation and backoff, and the transitions. Pure."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod

from ..messages import NEVER, Learned, Permit, State, Transition
from ..policy.config import CircuitBreakerConfig
from ..policy.trip import TripEvidence
from .half_open import HalfOpen
from .observing import Observing, shadow_policy
from .recovery import RecoveryState
from .shadow import ShadowBreaker, ShadowMachine
from .states import Closed, Disabled, Forced, NextState, Open, SharedOpen, StateBehavior
from .statistics import Statistics

NOT_ADMITTING = (State.OPEN, State.HALF_OPEN, State.FORCED_OPEN)


class Lifecycle(ABC):
    """The present state, with its data, and the transition to the next one.

    generation: the number of the present stay in one state, from 1. opened_at: when the breaker left CLOSED;
    None while it is in no outage. statistics: the counters for observers. shadow: runs the policy's shadow;
    None without one.
    """

    __slots__ = (
        "_attempt",
        "_behavior",
        "_events",
        "_evidence_at_opening",
        "_failures_at_opening",
        "_learning",
        "_rng",
        "_slow_at_opening",
        "config",
        "generation",
        "opened_at",
        "shadow",
        "state",
        "statistics",
    )

    def __init__(self, config: CircuitBreakerConfig, statistics: Statistics) -> None:
        self.config = config
        self.state = State.CLOSED
        self.generation = 1
        self.opened_at: float | None = None
        self.statistics = statistics
        self._learning = config.strategy.learning()
        self._behavior: StateBehavior = self._closed(statistics.changed_at)
        self._events: list[Transition] | None = None
        # The source of the backoff's jitter; made when it is first needed.
        self._rng: random.Random | None = None
        self._attempt = 0
        self._failures_at_opening = self._slow_at_opening = 0
        self._evidence_at_opening: TripEvidence | None = None
        self.shadow: ShadowBreaker | None = None
        self._follow_shadow(config, statistics.changed_at)

    @abstractmethod
    def _make_shadow(self, policy: CircuitBreakerConfig, now: float) -> ShadowMachine:
        """A machine of its own for the OBSERVING state, or for a policy in shadow."""

    def _follow_shadow(self, config: CircuitBreakerConfig, now: float) -> None:
        """Run the shadow of a new policy. It goes on as it is if its own policy is the same."""
        policy = config.shadow_config
        if policy is None:
            self.shadow = None
        elif self.shadow is None:
            self.shadow = ShadowBreaker(self._make_shadow(policy, now))
        elif policy != self.config.shadow_config:
            if self.shadow.failure is None:
                self.shadow.configure(policy, now)
            else:
                self.shadow = ShadowBreaker(self._make_shadow(policy, now))

    # Carrying on after a crash.

    def recovery_state(self) -> RecoveryState:
        """The state that the successor of this machine needs after a crash."""
        behavior = self._behavior
        return RecoveryState(
            self.state,
            self.generation,
            behavior.deadline if self.state is State.OPEN else None,
            self._attempt,
            self.failure_count,
            self.slow_count,
            behavior.counter.consecutive_failures if isinstance(behavior, Closed) else 0,
            self.opened_at,
        )

    def _restore(self, recovery_state: RecoveryState, now: float) -> None:
        """Carry on in the same state and the next generation. Permits are forgotten."""
        self.state, self.generation = recovery_state.state, recovery_state.generation + 1
        self._attempt = recovery_state.attempt
        self.opened_at = recovery_state.opened_at
        self._failures_at_opening, self._slow_at_opening = recovery_state.failures, recovery_state.slow
        self._behavior = self._new_behavior(recovery_state.state, now, recovery_state.until)
        if isinstance(self._behavior, Closed):
            self._behavior.counter.restore(recovery_state.consecutive_failures)

    # For observers and for the actor.

    @property
    def deadline(self) -> float | None:
        """When `wake` next changes something by itself; None: only messages do."""
        first = self._behavior.deadline
        if self.shadow is None or (shadows := self.shadow.deadline()) is None:
            return first
        return shadows if first is None else min(first, shadows)

    @property
    def has_lease(self) -> bool:
        """Whether this instance probes for all that share the breaker."""
        return isinstance(self._behavior, HalfOpen) and self._behavior.lease_end is not None

    @property
    def is_probing(self) -> bool:
        """Whether a probe of the half-open breaker runs."""
        return isinstance(self._behavior, HalfOpen) and self._behavior.is_probing

    @property
    def waits_for_lease(self) -> bool:
        """Whether the breaker is open for all instances, and only a lease lets this one probe."""
        return isinstance(self._behavior, SharedOpen)

    @property
    def admits_all(self) -> bool:
        """Whether every call is admitted without a message."""
        behavior = self._behavior
        if isinstance(behavior, Closed):
            return behavior.admits_all and (self.shadow is None or self.shadow.admits_all())
        return self.state is State.DISABLED

    @property
    def batches_successes(self) -> bool:
        """Whether callers may count successes of this generation on the gate in place of settling them."""
        behavior = self._behavior
        if not (isinstance(behavior, Closed) and behavior.counter.can_batch_successes()):
            return False
        return self.shadow is None or self.shadow.batches_successes()

    def next_roll(self, now: float) -> float | None:
        """When batched successes must be folded, so that a time window stays right; None: never."""
        behavior = self._behavior
        roll = behavior.counter.next_roll(now) if isinstance(behavior, Closed) else None
        if self.shadow is None or (shadows := self.shadow.next_roll(now)) is None:
            return roll
        return shadows if roll is None else min(roll, shadows)

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

    @property
    def learned(self) -> Learned | None:
        """What the trip strategy has learned; None unless it learns."""
        return None if self._learning is None else self._learning.learned()

    @property
    def evidence(self) -> TripEvidence | None:
        """What the counts say against the dependency; while open, those at its opening. None: nothing."""
        if self.state is State.OPEN:
            return self._evidence_at_opening
        return self._behavior.counter.evidence() if isinstance(self._behavior, Closed) else None

    def admits_at(self, now: float) -> float:
        """The earliest time from `now` on at which a call is admitted; inf: only another event decides."""
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

    # Transitions.

    def wake(self, now: float) -> None:
        """Let time pass until `now`. At exactly its moment a deadline has come."""
        self._enter(self._behavior.wake(now), now)
        if self.shadow is not None:
            self.shadow.wake(now)

    def _enter(self, next_state: NextState | None, now: float, retry_after: float | None = None) -> None:
        """Make a transition; None: stay. retry_after: seconds that the server asked to wait."""
        if next_state is None:
            return
        until = None
        if self.state is not State.OPEN:
            self._failures_at_opening, self._slow_at_opening = self.failure_count, self.slow_count
            self._evidence_at_opening = self.evidence
        if next_state.state is State.OPEN:
            self._attempt += next_state.recovery
            if self._learning is not None and self.state is not State.HALF_OPEN:
                self._learning.opened(now)
            until = now + (self._wait(now, retry_after) if next_state.wait is None else next_state.wait)
        elif next_state.state is State.CLOSED:
            self._attempt = 0
        old, self.state = self.state, next_state.state
        self.generation += 1
        self._behavior = self._new_behavior(next_state.state, now, until, recovery=next_state.recovery)
        self._note_outage(now)
        self.statistics.moved(old, next_state.state, now, next_state.reason)
        self._record_transition(
            Transition(
                self.config.name,
                old,
                next_state.state,
                next_state.reason,
                self.generation,
                now,
                retry_after=None if until is None else until - now,
            )
        )

    def _new_behavior(
        self, state: State, now: float, until: float | None, *, recovery: bool = False
    ) -> StateBehavior:
        """The behavior of the next state. recovery: it comes at the end of a recovery."""
        match state:
            case State.CLOSED if recovery:
                return self._closed(now, now, self._behavior.answered)
            case State.CLOSED:
                return self._closed(now)
            case State.OPEN:
                assert until is not None
                route = self._behavior.failed_route if recovery else None
                return SharedOpen(until, route) if self.has_lease else Open(until, route)
            case State.HALF_OPEN:
                least = 1 if self._learning is None else self._learning.successes_to_close
                return HalfOpen(self.config, now, self._behavior.failed_route, least)
            case State.FORCED_OPEN:
                return Forced()
            case State.DISABLED:
                return Disabled()
            case State.OBSERVING:  # pragma: no branch - there is no other
                shadow = self._make_shadow(shadow_policy(self.config), now)
                return Observing(shadow, self.statistics, self._record_transition)

    def _closed(
        self, now: float, ramp_from: float | None = None, answered: set[Permit] | None = None
    ) -> Closed:
        counter = None
        if self._learning is not None:
            counter = self._learning.counter(now, recovered=ramp_from is not None)
        return Closed(self.config, ramp_from, answered, counter, self._learning)

    def _learn_on(self, config: CircuitBreakerConfig) -> None:
        """Carry what was learned over to the strategy of a new policy."""
        if config.strategy == self.config.strategy:
            return
        older, self._learning = self._learning, config.strategy.learning()
        if self._learning is not None and older is not None:
            self._learning.inherit_from(older)

    def _record_transition(self, event: Transition) -> None:
        if self._events is None:
            self._events = []
        self._events.append(event)

    def _wait(self, now: float, retry_after: float | None) -> float:
        backoff = self.config.backoff
        if self._rng is None and backoff.jitter:
            seed = backoff.seed
            self._rng = random.Random() if seed is None else random.Random(f"{seed} {self.config.name}")
        if self._learning is not None:
            return backoff.wait(self._learning.wait(now), 0, self._rng, retry_after)
        return backoff.wait(self.config.reset_timeout, self._attempt, self._rng, retry_after)

    def _note_outage(self, now: float) -> None:
        if self.state in (State.OPEN, State.FORCED_OPEN):
            self.opened_at = now if self.opened_at is None else self.opened_at
        elif self.state is not State.HALF_OPEN:
            if self.state is State.CLOSED and self.opened_at is not None:
                self.statistics.recovered(now - self.opened_at)
            self.opened_at = None
