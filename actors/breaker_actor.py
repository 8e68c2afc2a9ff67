"""The breaker's actor: the only writer of one machine, and the only publisher of its gate."""

from __future__ import annotations

from typing import Any, assert_never

from .call.in_flight import InFlightCall
from .commands import (
    Acquire,
    Admission,
    AdoptClosed,
    AdoptOpen,
    Answered,
    Command,
    Configure,
    FailSettled,
    FindAdmission,
    ForceState,
    GiveBack,
    GrantProbe,
    LocalEvidence,
    ProbePassed,
    ReleasePermit,
    Remove,
    Reset,
    SetSubscribers,
    Settle,
    TakeEvidence,
    TakeSnapshot,
    Trip,
    Wake,
)
from .machine.machine import Machine
from .messages import NEVER, CallSettled, State
from .publishing_actor import PublishingActor


class BreakerActor(PublishingActor):
    """One breaker's task: it folds the gate's counts, handles a message, and publishes the changes."""

    __slots__ = ()

    # The actor.

    def receive(self, message: Command, now: float) -> Any:
        """Fold the gate's counts, handle one message, publish the changes."""
        self._fold(now)
        answer = self._dispatch(message, now)
        self._publish(now)
        self._recovery_state = self._machine.recovery_state()
        return self._snapshot(now) if isinstance(message, TakeSnapshot) else answer

    def wake(self, now: float) -> None:
        """Handle the deadlines that have passed: the machine's, and those of running calls."""
        self._fold(now)
        self._machine.wake(now)
        if self._accounting.in_flight_calls is not None:
            for call in self._accounting.in_flight_calls.take_overdue(now):
                if (settle := call.time_out()) is not None:
                    self._settle_for(call, settle, now)
        self._publish(now)
        self._recovery_state = self._machine.recovery_state()

    def _settle_for(self, call: InFlightCall, settle: Settle, now: float) -> None:
        """Count a call that the actor has ended. Its caller is the cause of a transition."""
        self._causing_context = call.context
        try:
            self._settle(settle, now)
            self._publish(now)
        finally:
            self._causing_context = None

    def may_catch_up(self, now: float) -> bool:
        """Not after a lease: since its end other instances probe, and know more than a late success."""
        return not self._machine.is_lease_over(now)

    def deadline(self, now: float) -> float:
        """The first of the machine's deadline, a window's roll and a call's timeout."""
        machine, in_flight_calls = self._machine, self._accounting.in_flight_calls
        first = NEVER if in_flight_calls is None else in_flight_calls.next_deadline
        for moment in (machine.deadline, machine.next_roll(now)):
            if moment is not None and moment < first:
                first = moment
        return first

    def crashed(self, crash: Exception) -> None:
        """Carry on with the state last published, in a new generation."""
        policy = self._accounting.policy
        self._panel.note_crash(policy.name, crash)
        now = self.clock()
        self.restarts += 1
        recovery_state = self._recovery_state or Machine(policy).recovery_state()
        broken = self._machine
        self._machine = Machine.restored(policy, recovery_state, broken.statistics, now, broken.shadow)
        self._fold(now)
        self._publish(now)

    def close(self) -> None:
        """End: answer every pending message, and publish a gate that admits no call."""
        super().close()
        if self._active_probe is not None:
            self._active_probe.end()
        for call in self._accounting.in_flight_calls or ():
            call.keep_own_timeout()
        self._accounting.publish_end()

    def note_use(self, since: float) -> None:
        """Update `idle_since`. since: the time of the last call of this method."""
        accounting, statistics = self._accounting, self._machine.statistics
        gate = accounting.gate
        usage = statistics.admitted_or_rejected + gate.started + gate.rejected + gate.full
        if usage != self._usage or statistics.in_flight or gate.running() or accounting.is_watched:
            self._usage, self.idle_since = usage, since

    @property
    def may_be_removed(self) -> bool:
        """Whether its removal loses neither a wait after an outage nor an operator's command."""
        return self._machine.state in (State.CLOSED, State.HALF_OPEN)

    # Commands.

    def _dispatch(self, message: Command, now: float) -> Any:  # noqa: C901 - a case for each command
        machine = self._machine
        match message:
            case Acquire(is_active_probe, source):
                return machine.admit(now, is_active_probe=is_active_probe, source=source)
            case Settle():
                return self._settle(message, now)
            case Answered(permit, duration):
                return machine.answered(permit, now, duration)
            case FailSettled(permit, error):
                return machine.fail_again(permit, now, error)
            case ReleasePermit(permit):
                return machine.release(permit, now)
            case Trip(reason):
                if self._active_probe is not None:
                    self._active_probe.start_anew()
                return machine.trip(now, reason)
            case Reset(reason):
                return machine.reset(now, reason)
            case ForceState(state, reason):
                return machine.hold(state, now, reason)
            case Configure(config):
                machine.configure(config, now)
                return self._accounting.apply_policy(config)
            case ProbePassed():
                if self._active_probe is not None and self._active_probe.is_current(message):
                    machine.end_wait(now)
                return None
            case SetSubscribers(by):
                self._subscribers += by
                return None
            case FindAdmission():
                machine.wake(now)
                return Admission(machine.admits_at(now), self._accounting.admission_changes)
            case Remove():
                self.ended = True
                self.mailbox.farewell = f"circuit breaker {machine.config.name!r} was removed from its panel"
                return None
            case AdoptOpen(wait, reason, attempt):
                return machine.adopt_open(now, wait, reason, attempt)
            case AdoptClosed(reason):
                return machine.adopt_closed(now, reason)
            case GrantProbe(within, attempt):
                return machine.grant_probe(now, within, attempt)
            case GiveBack():
                return machine.give_back(now)
            case TakeEvidence():
                machine.wake(now)
                return self._evidence()
            case TakeSnapshot() | Wake():
                return machine.wake(now)
        assert_never(message)  # pragma: no cover - type checkers see that every command has a case

    def _evidence(self) -> LocalEvidence:
        machine, statistics = self._machine, self._machine.statistics
        return LocalEvidence(
            machine.state,
            machine.generation,
            machine.evidence,
            statistics.success,
            statistics.failure,
            statistics.rejections,
            machine.waits_for_lease,
            machine.has_lease,
            machine.is_probing,
            machine.config.probe is not None or self._accounting.is_waited_for,
            machine.config.reset_timeout,
        )

    def _settle(self, message: Settle, now: float) -> bool:
        permit, machine = message.permit, self._machine
        machine.wake(now)
        # A probe that has answered counts in the generation that it caused.
        generation = machine.generation if machine.is_outstanding(permit) else permit.generation
        in_time = machine.settle(
            permit,
            message.outcome,
            now,
            message.duration,
            retry_after=message.retry_after,
            error=message.error,
        )
        if self._subscribers:
            name, outcome = machine.config.name, message.outcome
            self._accounting.emit(CallSettled(name, outcome, generation, now, message.duration, not in_time))
        return in_time
