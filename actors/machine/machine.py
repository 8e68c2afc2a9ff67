"""The rules of a circuit breaker, pure: no clock, no task, no I/O.

`now` is any float that never goes back. Each message first lets time pass (`wake`), then is
answered. A generation is one stay in one state; the result of a permit of an earlier one is late.
"""

from __future__ import annotations

from ..messages import UNRECORDED, Outcome, Permit, Rejection, RejectReason, Snapshot, Source, State
from ..policy.config import CircuitBreakerConfig
from .recovery import RecoveryState
from .shadow import ShadowBreaker, ShadowMachine
from .shared_lifecycle import SharedLifecycle
from .states import Closed, NextState, Open
from .statistics import Statistics


class Machine(SharedLifecycle):
    """One breaker's state and rules. `statistics` are its counters for observers."""

    __slots__ = ("_number",)

    def __init__(self, config: CircuitBreakerConfig, *, now: float = 0.0) -> None:
        super().__init__(config, Statistics(now))
        self._number = 0

    @classmethod
    def restored(
        cls,
        config: CircuitBreakerConfig,
        recovery_state: RecoveryState,
        statistics: Statistics,
        now: float,
        shadow: ShadowBreaker | None = None,
    ) -> Machine:
        """The successor of a machine that broke: same state, next generation, permits forgotten.

        shadow: that of the broken machine, which goes on.
        """
        machine = cls(config, now=now)
        machine.statistics = statistics
        machine._restore(recovery_state, now)
        machine.shadow = shadow or machine.shadow
        return machine

    def _make_shadow(self, policy: CircuitBreakerConfig, now: float) -> ShadowMachine:
        """A machine of its own for the OBSERVING state, or for a policy in shadow."""
        return Machine(policy, now=now)

    # Calls.

    def admit(
        self, now: float, *, is_active_probe: bool = False, source: Source | None = None
    ) -> Permit | Rejection:
        """A permit for one call, or a falsy Rejection.

        is_active_probe: it is for the policy's own `probe`. source: the client and route of the call; for a
        second after a probe failed or was cancelled, the next is kept for others.
        """
        self.wake(now)
        rejection = self._behavior.check_admission(now, is_active_probe, source)
        if rejection is not None:
            self.rejected(rejection.reason)
            return rejection
        if self.state is State.DISABLED:
            return Permit(self.generation, UNRECORDED)
        self._number += 1
        permit = Permit(self.generation, self._number, self.state is State.HALF_OPEN)
        self._behavior.admitted(permit.number, now, source)
        self.statistics.in_flight += 1
        if self.shadow is not None:
            permit = permit._replace(shadow=self.shadow.admit(now, source))
        return permit

    def rejected(self, reason: RejectReason, count: int = 1) -> None:
        """Count calls that weren't admitted, here or by a gate."""
        self.statistics.rejected(reason, count)
        # A bulkhead would have rejected them under any policy.
        if self.shadow is not None and count and reason is not RejectReason.BULKHEAD:
            self.shadow.missed(count)

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
        """Count the end of a permitted call; False if it came late and changed nothing.

        duration: seconds it took. retry_after: seconds the server asked to wait. error: for people.
        """
        self.wake(now)
        # The permit of a probe that timed out, or was settled before, is no longer outstanding.
        in_time = self.is_outstanding(permit)
        if permit.number == UNRECORDED:
            return in_time
        if in_time:
            if self._behavior.answered:
                self._behavior.answered.discard(permit)
            self._enter(self._behavior.settle(permit.number, outcome, now, duration), now, retry_after)
        # Counted last: an actor that crashes in the rules handles this message again.
        self.statistics.settled(outcome, error, late=not in_time)
        if self.shadow is not None and permit.shadow is not None:
            self.shadow.settle(permit.shadow, outcome, now, duration, retry_after)
        return in_time

    def answered(self, permit: Permit, now: float, duration: float | None = None) -> None:
        """The dependency has answered a call that goes on; changes nothing unless that is a probe.

        The answer is the probe's success, or its failure if it was slow. Once the breaker has closed, the
        call's end counts as that of any call of the new generation. duration: seconds until the answer.
        """
        self.wake(now)
        if permit.generation == self.generation and permit.number != UNRECORDED:
            self._enter(self._behavior.answer(permit, now, duration), now)
        if self.shadow is not None and permit.shadow is not None:
            self.shadow.answered(permit.shadow, now, duration)

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
            self._enter(self._behavior.fail_again(permit.number, now), now)
        self.statistics.in_flight += 1
        self.statistics.settled(Outcome.FAILURE, error, late=not in_time)
        if self.shadow is not None and permit.shadow is not None:
            self.shadow.fail_again(permit.shadow, now)
        return in_time

    def release(self, permit: Permit, now: float) -> None:
        """Take back the permit of a call that never began."""
        self.wake(now)
        if permit.number == UNRECORDED:
            return
        if permit.generation == self.generation:
            self._behavior.release(permit.number, now)
        self.statistics.in_flight -= 1
        if self.shadow is not None and permit.shadow is not None:
            self.shadow.release(permit.shadow, now)

    def fold(
        self,
        started: int,
        successes: int,
        ignored: int,
        cancelled: int,
        since: float,
        *,
        late: bool = False,
        shadow: Permit | Rejection | None = None,
    ) -> None:
        """Count the calls that callers counted on a gate since `since`: successes without a break.

        late: the gate is of an earlier generation. shadow: the shadow's answer to each of them.
        """
        self.statistics.folded(started, successes, ignored, cancelled, late=late)
        if successes and not late and isinstance(self._behavior, Closed):
            self._behavior.succeeded(successes, since)
        if self.shadow is not None and shadow is not None:
            self.shadow.fold(shadow, started, successes, ignored, cancelled, since)

    # Commands of operators.

    def trip(self, now: float, reason: str = "tripped by operator") -> None:
        """Open now, from any state. While it is open, the wait starts again."""
        self.wake(now)
        if self.state is State.OPEN:
            self._behavior = Open(now + self._wait(now, None), self._behavior.failed_route)
        else:
            self._enter(NextState(State.OPEN, reason), now)

    def reset(self, now: float, reason: str = "reset by operator") -> None:
        """Close now, from any state, with counters, ramp and backoff cleared.

        A new generation begins also while CLOSED: the results of running calls come late.
        """
        self.wake(now)
        if self.state is State.CLOSED:
            # No transition, but the results of earlier calls are about an earlier time: they come late.
            self.generation += 1
            self._behavior = self._closed(now)
        else:
            self._enter(NextState(State.CLOSED, reason), now)
        if self.shadow is not None:
            self.shadow.reset(now, reason)

    def end_wait(self, now: float) -> None:
        """The breaker's own probe has passed: become HALF_OPEN if it is OPEN, else do nothing.

        A breaker that is open for all instances waits for its lease.
        """
        self.wake(now)
        if self.state is State.OPEN and not self.waits_for_lease:
            self._enter(NextState(State.HALF_OPEN, "probe succeeded"), now)

    def hold(self, state: State, now: float, reason: str) -> None:
        """Stay FORCED_OPEN, DISABLED or OBSERVING until an operator's next command."""
        self.wake(now)
        if self.state is not state:
            self._attempt = 0
            self._enter(NextState(state, reason), now)

    def configure(self, config: CircuitBreakerConfig, now: float) -> None:
        """Take a new policy in place. State, generation and the running wait stay.

        The counts stay if the trip strategy still counts the same thing. Raises ValueError if the name
        differs.
        """
        self.wake(now)
        if config.name != self.config.name:
            raise ValueError(f"name must stay {self.config.name!r}, got {config.name!r}")
        if config.backoff != self.config.backoff:
            self._rng = None
        self._learn_on(config)
        self._behavior.configure(config, now)
        if isinstance(self._behavior, Closed) and config.strategy != self.config.strategy:
            self._behavior.learn_with(self._learning, now)
        self._follow_shadow(config, now)
        self.config = config
        self.wake(now)

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
            learned=self.learned,
            shadow=None if self.shadow is None else self.shadow.snapshot(now),
            **self.statistics.entries(),
        )
